//! What stands between the adapters in both directions: a queue that cuts and mixes as it likes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use perigee_plugin_api::protocol::Adapter;
use perigee_protocols::adapter::{Inbound, Lane, Loss, Options, Outbox, inbound, outbound};
use proptest::prelude::*;

/// A message in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) lane: Lane,
    /// With its prefix.
    pub(crate) framed: Bytes,
}

impl Queued {
    pub(crate) fn message(&self) -> &[u8] {
        &self.framed[5..]
    }
}

/// A call on its way through an adapter.
pub(crate) struct Call {
    inbound: Box<dyn Inbound>,
    pub(crate) now: Instant,
    pub(crate) queued: Vec<Queued>,
    pub(crate) losses: Vec<(Loss, u32)>,
    /// Messages of the client that queued ones stand for.
    pub(crate) stood_for: u32,
}

impl Call {
    pub(crate) fn new(adapter: Adapter) -> Self {
        Self::with_labels(adapter, &[])
    }

    pub(crate) fn with_labels(adapter: Adapter, labels: &[&str]) -> Self {
        let options = Options {
            label_keys: labels.iter().map(|&label| label.to_owned()).collect(),
        };
        Self {
            inbound: inbound(adapter, &Arc::new(options)).unwrap(),
            now: Instant::now(),
            queued: Vec::new(),
            losses: Vec::new(),
            stood_for: 0,
        }
    }

    pub(crate) fn take(&mut self, message: &[u8]) {
        self.step(|inbound, now, out| inbound.take(message, now, out));
    }

    /// So much later. What was due meanwhile happens when it was due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.inbound.due().filter(|due| *due <= end) {
            self.now = due;
            self.step(|inbound, now, out| inbound.tick(now, out));
        }
        self.now = end;
    }

    pub(crate) fn end(mut self) -> Self {
        self.step(|inbound, now, out| inbound.end(now, out));
        assert_eq!(self.held(), 0, "kept after the end");
        self
    }

    pub(crate) fn release(&mut self) {
        self.step(|inbound, _, out| inbound.release(out));
    }

    pub(crate) fn held(&self) -> u64 {
        self.inbound.held()
    }

    pub(crate) fn complaint(&self) -> Option<&'static str> {
        self.inbound.complaint()
    }

    /// All messages of all losses.
    pub(crate) fn lost(&self) -> u32 {
        self.losses.iter().map(|(_, count)| count).sum()
    }

    fn step(&mut self, step: impl FnOnce(&mut dyn Inbound, Instant, &mut Outbox)) {
        let mut out = Outbox::default();
        step(&mut *self.inbound, self.now, &mut out);
        for run in out.runs() {
            let before = self.queued.len();
            self.queued
                .extend(split(out.bytes(run)).map(|framed| Queued {
                    lane: run.lane.clone(),
                    framed: Bytes::copy_from_slice(framed),
                }));
            assert_eq!(self.queued.len() - before, run.count as usize);
            self.stood_for += run.count + run.merged;
        }
        self.losses.extend(out.take_losses());
    }
}

/// What a call leaves in the queue.
pub(crate) fn taken(adapter: Adapter, messages: &[Vec<u8>]) -> Call {
    let mut call = Call::new(adapter);
    for message in messages {
        call.take(message);
    }
    call.end()
}

/// The messages of a call that carries these queued ones.
pub(crate) fn sent(adapter: Adapter, queued: &[Queued]) -> Vec<Vec<u8>> {
    let chunks: Vec<Bytes> = queued.iter().map(|one| one.framed.clone()).collect();
    call_of(adapter, &chunks)
}

fn call_of(adapter: Adapter, chunks: &[Bytes]) -> Vec<Vec<u8>> {
    let call = outbound(adapter, chunks).unwrap_or_else(|| chunks.to_vec());
    let messages = call.iter().flat_map(|chunk| split(chunk));
    messages.map(|framed| framed[5..].to_vec()).collect()
}

/// Whole messages with their prefixes.
pub(crate) fn split(mut framed: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = framed.get(1..5)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let (message, rest) = framed.split_at(5 + length);
        framed = rest;
        Some(message)
    })
}

/// How a queue mixes and cuts.
#[derive(Clone, Debug)]
pub(crate) struct Cuts(Vec<u8>);

pub(crate) fn cuts() -> impl Strategy<Value = Cuts> {
    prop::collection::vec(any::<u8>(), 1..40).prop_map(Cuts)
}

impl Cuts {
    /// The upstream calls of what some calls have left in the queue: mixed by the way, cut
    /// anywhere within the lanes. A half of a batch is a batch like any other.
    pub(crate) fn upstream_calls(&self, adapter: Adapter, calls: &[Call]) -> Vec<Vec<Vec<u8>>> {
        let mut dice = self.0.iter().cycle().map(|&byte| usize::from(byte));
        let mut dice = move || dice.next().unwrap();
        let mut rest: Vec<&[Queued]> = calls.iter().map(|call| call.queued.as_slice()).collect();
        let mut lanes: Vec<(Lane, Vec<Queued>)> = Vec::new();
        loop {
            rest.retain(|queued| !queued.is_empty());
            if rest.is_empty() {
                break;
            }
            let place = dice() % rest.len();
            let (first, others) = rest[place].split_first().unwrap();
            rest[place] = others;
            match lanes.iter_mut().find(|(lane, _)| *lane == first.lane) {
                Some((_, queued)) => queued.push(first.clone()),
                None => lanes.push((first.lane.clone(), vec![first.clone()])),
            }
        }
        let mut upstream = Vec::new();
        for (_, queued) in lanes {
            let mut queued = queued.as_slice();
            while !queued.is_empty() {
                let (batch, others) = queued.split_at(1 + dice() % queued.len());
                queued = others;
                upstream.push(call_of(adapter, &chunks(batch, &mut dice)));
            }
        }
        upstream
    }
}

/// A queue's chunks hold one or several messages.
fn chunks(batch: &[Queued], dice: &mut impl FnMut() -> usize) -> Vec<Bytes> {
    let mut chunks: Vec<Vec<u8>> = vec![Vec::new()];
    for queued in batch {
        if dice().is_multiple_of(3) {
            chunks.push(Vec::new());
        }
        chunks.last_mut().unwrap().extend_from_slice(&queued.framed);
    }
    chunks.into_iter().map(Bytes::from).collect()
}
