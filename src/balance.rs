//! Which node gets a batch.
//!
//! Unkeyed batches are spread by [`Shares`] (round robin in messages) or by [`least_in_flight`];
//! keyed ones stay where [`Sticky`] has put them. [`Balancer`] ties them together and numbers the
//! nodes.
//!
//! Pure: no I/O, no clock, no task. Time and randomness are handed in, and nothing here is shared:
//! each worker thread has its own balancer and asks it before every batch. Workers need not talk
//! to each other, because shares that are even on each worker are even in the sum, and because
//! the ring places a key by address alone.

pub mod backoff;
pub mod least_in_flight;
pub mod ring;
pub mod shares;
pub mod sticky;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use fastrand::Rng;
use perigee_plugin_api::discovery::{Endpoint, EndpointSet};

use least_in_flight::Candidate;
use shares::Shares;
use sticky::Sticky;

/// Names a node within one [`Balancer`]: stable while address and host stay in the set, and never
/// used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

/// How unkeyed batches are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Even shares of messages, by weight.
    #[default]
    RoundRobin,
    /// The one of two random nodes with less in flight.
    LeastInFlight,
}

/// What can be asked of a node now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Not connected, or held back: nothing goes there.
    NotReady,
    /// Has answered none of its batches for a while: gets no more, and nobody waits for it.
    Lagging,
    /// Would take a batch, but all its slots are in use.
    Busy,
    /// Takes a batch at once.
    Free,
}

/// What the caller knows about the nodes; implemented by whatever holds the connections.
pub trait View {
    /// What can be asked of the node now; [`Condition::NotReady`] for one that is not known.
    fn condition(&self, node: NodeId) -> Condition;

    /// Messages sent to the node and not answered.
    fn in_flight(&self, node: NodeId) -> u64;
}

/// What decides where a batch may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// Any node with a free slot.
    Any,
    /// The node of this key.
    Key(&'a [u8]),
}

/// A batch that looks for a node.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Shares are kept for each pipe apart: several interleaved kinds of data would else be even
    /// in their sum only. Any small number, the pipe's index.
    pub pipe: usize,
    /// What decides where it may go.
    pub route: Route<'a>,
    /// How many messages; a live call counts as one.
    pub count: u32,
    /// The node that has just failed with this batch: not taken while another one is ready. A key
    /// that moves because of it stays moved, so that what follows goes the same way.
    pub avoid: Option<NodeId>,
}

/// How a [`Balancer`] works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How unkeyed batches are spread.
    pub strategy: Strategy,
    /// Where round robin begins. Workers count up from 0, so that their first batches do not all
    /// hit the same node.
    pub offset: usize,
    /// Keys that are remembered; the least recently used goes first. Default 5000, as Satellite.
    pub sticky_keys: NonZeroUsize,
    /// How long a key that is not used is remembered. Default 180 s, as Satellite.
    pub sticky_time: Duration,
}

const STICKY_KEYS: NonZeroUsize = NonZeroUsize::new(5000).expect("not zero");

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            offset: 0,
            sticky_keys: STICKY_KEYS,
            sticky_time: Duration::from_secs(180),
        }
    }
}

/// What a new set changed: which connections to open and to close.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New nodes.
    pub joined: Vec<NodeId>,
    /// Nodes that are gone.
    pub left: Vec<NodeId>,
}

/// A node as the parts of this module see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name here.
    pub id: NodeId,
    /// Where it is.
    pub endpoint: Endpoint,
}

impl Node {
    /// Its relative share, at least 1.
    pub fn weight(&self) -> u32 {
        self.endpoint.weight.max(1)
    }
}

/// Chooses nodes for the batches of one worker.
#[derive(Debug)]
pub struct Balancer {
    settings: Settings,
    rng: Rng,
    /// In the set's order.
    nodes: Vec<Node>,
    next_id: u32,
    /// By pipe, grown on use.
    shares: Vec<Shares>,
    sticky: Sticky,
    /// Kept for its allocation only.
    candidates: Vec<Candidate>,
}

impl Balancer {
    /// A balancer without nodes.
    pub fn new(settings: Settings, rng: Rng) -> Self {
        Self {
            settings,
            rng,
            nodes: Vec::new(),
            next_id: 0,
            shares: Vec::new(),
            sticky: Sticky::new(settings.sticky_keys, settings.sticky_time),
            candidates: Vec::new(),
        }
    }

    /// Takes over a new set. A node whose weight changed stays; one whose host changed leaves and
    /// joins, because its connection was made under the other name.
    pub fn set_nodes(&mut self, set: &EndpointSet) -> Changes {
        let before = std::mem::take(&mut self.nodes);
        let mut changes = Changes::default();
        for endpoint in set.as_slice() {
            let known = before.iter().find(|node| {
                node.endpoint.address == endpoint.address && node.endpoint.host == endpoint.host
            });
            let id = known.map_or_else(
                || {
                    let id = NodeId(self.next_id);
                    self.next_id += 1;
                    changes.joined.push(id);
                    id
                },
                |node| node.id,
            );
            let endpoint = endpoint.clone();
            self.nodes.push(Node { id, endpoint });
        }
        let nodes = &self.nodes;
        let left = before.iter().map(|node| node.id);
        changes.left = left
            .filter(|id| nodes.iter().all(|node| node.id != *id))
            .collect();
        if before != *nodes {
            for shares in &mut self.shares {
                shares.set_nodes(nodes);
            }
            self.sticky.set_nodes(nodes);
        }
        changes
    }

    /// The nodes in the set's order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where a node is; `None` when it has left.
    pub fn endpoint(&self, node: NodeId) -> Option<&Endpoint> {
        let node = self.nodes.iter().find(|known| known.id == node)?;
        Some(&node.endpoint)
    }

    /// Chooses the node of a batch and, for [`Route::Any`], charges the batch to its share.
    /// `None`: nothing suitable now; ask again when a node has changed.
    ///
    /// An unkeyed batch goes to a node that is [`Condition::Free`]. A keyed one goes to the node
    /// of its key as long as that is *ready*, so the answer may well be [`Condition::Busy`]: then
    /// wait for a slot there. Going elsewhere because of a moment's load would tear keys apart.
    pub fn pick(
        &mut self,
        request: &Request<'_>,
        view: &impl View,
        now: Instant,
    ) -> Option<NodeId> {
        let avoid = request.avoid.filter(|avoid| {
            let mut others = self.nodes.iter().filter(|node| node.id != *avoid);
            others.any(|node| view.condition(node.id) != Condition::NotReady)
        });
        match (request.route, self.settings.strategy) {
            (Route::Key(key), _) => self.sticky.place(key, now, |node| {
                Some(node) != avoid && view.condition(node) != Condition::NotReady
            }),
            (Route::Any, Strategy::RoundRobin) => {
                let shares = self.shares(request.pipe);
                let node = shares.pick(|node| view.condition(node), avoid)?;
                shares.assign(node, request.count);
                Some(node)
            }
            (Route::Any, Strategy::LeastInFlight) => self.pick_least_in_flight(avoid, view),
        }
    }

    fn shares(&mut self, pipe: usize) -> &mut Shares {
        while self.shares.len() <= pipe {
            // Pipes are staggered like workers: each may have but one batch to send.
            let offset = self.settings.offset.wrapping_add(self.shares.len());
            let mut shares = Shares::new(offset);
            shares.set_nodes(&self.nodes);
            self.shares.push(shares);
        }
        &mut self.shares[pipe]
    }

    fn pick_least_in_flight(&mut self, avoid: Option<NodeId>, view: &impl View) -> Option<NodeId> {
        let free = self
            .nodes
            .iter()
            .filter(|node| Some(node.id) != avoid && view.condition(node.id) == Condition::Free);
        self.candidates.clear();
        self.candidates.extend(free.map(|node| Candidate {
            node: node.id,
            weight: node.weight(),
            in_flight: view.in_flight(node.id),
        }));
        least_in_flight::pick(&self.candidates, &mut self.rng)
    }
}

#[cfg(test)]
mod tests;
