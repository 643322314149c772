//! The books: what became of every message.
//!
//! Plain atomics, written by the data path and read by the exporter, the admin server and tests.
//! There is no second place that counts.
//!
//! # Invariant
//!
//! For every pipe, at rest:
//!
//! `received = delivered + queued + in flight + merged + sum of dropped by reason`
//!
//! A message is received once and leaves once: delivered, merged into a later one, or dropped for
//! one reason. Resends, attempts and passthrough calls are counted beside and are no part of it.
//! `queued + in flight` is what the queue itself says ([`Level`](perigee_plugin_api::queue::Level));
//! [`PipeSnapshot::outstanding`] is the same number from the books' side.

mod capture;
mod certificates;
mod count;
mod cpu;
mod front;
mod node;
mod pipe;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

pub use capture::CaptureBooks;
pub use certificates::{CertificateBooks, Reload, TlsSide};
pub use count::{Count, Gauge, Measure};
pub use cpu::CpuBooks;
pub use front::{ConnectionError, FrontBooks, Refusal};
pub use node::NodeBooks;
pub use pipe::{DropReason, PipeBooks, PipeSnapshot};

/// The books of one gateway.
#[derive(Debug)]
pub struct Books {
    /// Towards agents.
    pub front: FrontBooks,
    /// Certificates that have changed.
    pub certificates: CertificateBooks,
    /// The child that captures.
    pub capture: CaptureBooks,
    pipes: Vec<Arc<PipeBooks>>,
    nodes: Mutex<BTreeMap<SocketAddr, Arc<NodeBooks>>>,
}

impl Books {
    /// Empty books for pipes, each given by its name and the `type` of Satellite's metrics, in the
    /// order of the settings.
    pub fn new<N: Into<String>>(pipes: impl IntoIterator<Item = (N, &'static str)>) -> Self {
        let pipes = pipes
            .into_iter()
            .map(|(name, sniff_type)| Arc::new(PipeBooks::new(name, sniff_type)))
            .collect();
        Self {
            front: FrontBooks::default(),
            certificates: CertificateBooks::default(),
            capture: CaptureBooks::default(),
            pipes,
            nodes: Mutex::default(),
        }
    }

    /// The books of one pipe.
    ///
    /// # Panics
    ///
    /// If there is no pipe of that index.
    pub fn pipe(&self, index: usize) -> &Arc<PipeBooks> {
        &self.pipes[index]
    }

    /// The books of every pipe, in the order of the settings.
    pub fn pipes(&self) -> &[Arc<PipeBooks>] {
        &self.pipes
    }

    /// The books of one upstream node, new ones if it has none. Keep them: this takes a lock.
    pub fn node(&self, address: SocketAddr) -> Arc<NodeBooks> {
        Arc::clone(self.nodes.lock().entry(address).or_default())
    }

    /// The books of every node, by address.
    pub fn nodes(&self) -> Vec<(SocketAddr, Arc<NodeBooks>)> {
        let nodes = self.nodes.lock();
        nodes
            .iter()
            .map(|(address, node)| (*address, Arc::clone(node)))
            .collect()
    }

    /// Stops exporting a node that left discovery, so that changing addresses do not pile up.
    pub fn forget_node(&self, address: SocketAddr) {
        self.nodes.lock().remove(&address);
    }

    /// The sum over all pipes.
    pub fn totals(&self) -> PipeSnapshot {
        self.pipes.iter().map(|pipe| pipe.snapshot()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books() -> Books {
        Books::new([
            ("tracepipe", "TracingType"),
            ("managementpipe", "ManagementType"),
        ])
    }

    #[test]
    fn what_left_the_books_is_no_longer_outstanding() {
        let books = books();
        let pipe = books.pipe(0);
        pipe.received(10, 1000);
        pipe.acknowledged(10);
        assert_eq!(pipe.snapshot().outstanding(), 10);
        pipe.delivered(4);
        pipe.merged(1);
        pipe.dropped(DropReason::Expired, 2);
        pipe.dropped(DropReason::QueueFull, 1);
        pipe.resent(4);
        let snapshot = pipe.snapshot();
        assert_eq!(
            snapshot.outstanding(),
            2,
            "resends are no part of the balance"
        );
        assert_eq!(snapshot.dropped_in_all(), 3);
        assert_eq!(snapshot.dropped_for(DropReason::Expired), 2);
        assert_eq!(snapshot.received_bytes, 1000);
    }

    #[test]
    fn totals_are_the_sum_over_pipes() {
        let books = books();
        books.pipe(0).received(3, 30);
        books.pipe(1).received(4, 40);
        books.pipe(1).delivered(1);
        books.pipe(0).dropped(DropReason::Attempts, 1);
        let totals = books.totals();
        assert_eq!((totals.received, totals.received_bytes), (7, 70));
        assert_eq!(totals.outstanding(), 5);
    }

    #[test]
    fn a_node_keeps_its_books_until_it_is_forgotten() {
        let books = books();
        let address: SocketAddr = "127.0.0.1:11800".parse().unwrap();
        books.node(address).delivered.add(7);
        assert_eq!(books.node(address).delivered.value(), 7);
        assert_eq!(books.nodes().len(), 1);
        books.forget_node(address);
        assert!(books.nodes().is_empty());
    }

    #[test]
    fn a_reader_never_sees_more_leave_than_arrived() {
        const MESSAGES: u64 = 20_000;
        let books = books();
        let (arrived, taken) = crossbeam_channel::bounded(64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..MESSAGES {
                    books.pipe(0).received(1, 1);
                    arrived.send(()).unwrap();
                }
                drop(arrived);
            });
            scope.spawn(|| taken.iter().for_each(|()| books.pipe(0).delivered(1)));
            loop {
                let seen = books.pipe(0).snapshot();
                assert!(seen.delivered <= seen.received, "{seen:?}");
                if seen.delivered == MESSAGES {
                    break;
                }
            }
        });
        assert_eq!(books.pipe(0).snapshot().outstanding(), 0);
    }
}
