//! The OAP nodes as one worker sees them: a connection to each, and which may be used now.
//!
//! Every worker has its own connections and its own [`Balancer`]; nothing here is shared between
//! threads. A node is *ready* when its connection is up and it is not held back. There is no state
//! for the cluster as a whole: one node's trouble is that node's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perigee_plugin_api::discovery::EndpointSet;
use tokio::sync::watch;

use crate::balance::{Balancer, Condition, NodeId, Request, View};
use crate::engine::Channel;
use crate::engine::tls::Current;
use crate::telemetry::books::Books;

mod node;

pub use node::{Failure, LAG, Node};

/// Longest wait after the start for nodes that have not been tried.
const SETTLING: Duration = Duration::from_millis(500);

/// How connections are made.
#[derive(Clone)]
pub struct ConnectOptions {
    /// TLS, or plain text.
    pub tls: Option<Current<rustls::ClientConfig>>,
    /// Longest time until a node has spoken.
    pub timeout: Duration,
}

/// The nodes of one worker.
pub struct Upstream {
    balancer: RefCell<Balancer>,
    nodes: RefCell<HashMap<NodeId, Rc<Node>>>,
    connect: ConnectOptions,
    books: Arc<Books>,
    /// Counts changes of readiness and of free slots that somebody waits for.
    changes: watch::Sender<u64>,
    waiting: Cell<usize>,
    started: Instant,
    settled: Cell<bool>,
}

/// A node that has been chosen, with the connection to use.
#[derive(Clone)]
pub struct Picked {
    /// Its name with the balancer.
    pub id: NodeId,
    /// The node.
    pub node: Rc<Node>,
    /// Its connection at this moment.
    pub channel: Channel,
}

/// How many batches one sender has at each node.
#[derive(Debug, Default)]
pub struct Slots {
    used: RefCell<HashMap<NodeId, usize>>,
    limit: usize,
}

impl Slots {
    /// At most `limit` batches a node.
    pub fn new(limit: usize) -> Self {
        Self {
            used: RefCell::default(),
            limit,
        }
    }

    fn is_free(&self, node: NodeId) -> bool {
        self.used.borrow().get(&node).copied().unwrap_or(0) < self.limit
    }
}

/// Nodes that are ready and not lagging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// How many.
    pub nodes: usize,
    /// Batches of the asking sender that are there.
    pub used: usize,
}

/// A slot in use; free again when dropped.
pub struct Slot {
    slots: Rc<Slots>,
    upstream: Rc<Upstream>,
    node: NodeId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(used) = self.slots.used.borrow_mut().get_mut(&self.node) {
            *used -= 1;
        }
        if self.upstream.waiting.get() > 0 {
            self.upstream.announce();
        }
    }
}

impl Upstream {
    /// No nodes yet.
    pub fn new(balancer: Balancer, connect: ConnectOptions, books: Arc<Books>) -> Rc<Self> {
        Rc::new(Self {
            balancer: RefCell::new(balancer),
            nodes: RefCell::default(),
            connect,
            books,
            changes: watch::Sender::new(0),
            waiting: Cell::new(0),
            started: Instant::now(),
            settled: Cell::new(false),
        })
    }

    /// Whether every node has been tried, or enough time has passed since the start. Before that
    /// the first node to be connected would get everything that agents have been holding.
    pub fn has_settled(&self) -> bool {
        if self.settled.get() {
            return true;
        }
        let nodes = self.nodes.borrow();
        let all_tried = !nodes.is_empty() && nodes.values().all(|node| node.is_tried());
        self.settled
            .set(all_tried || self.started.elapsed() > SETTLING);
        self.settled.get()
    }

    /// Follows discovery: opens and closes connections as the set changes.
    pub async fn follow(self: Rc<Self>, mut endpoints: watch::Receiver<EndpointSet>) {
        let settling = Rc::clone(&self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(SETTLING).await;
            settling.announce();
        });
        loop {
            let set = endpoints.borrow_and_update().clone();
            self.apply(&set);
            if endpoints.changed().await.is_err() {
                return;
            }
        }
    }

    fn apply(self: &Rc<Self>, set: &EndpointSet) {
        let changes = self.balancer.borrow_mut().set_nodes(set);
        for id in changes.left {
            if let Some(node) = self.nodes.borrow_mut().remove(&id) {
                node.leave();
                let address = node.endpoint().address;
                if set
                    .as_slice()
                    .iter()
                    .all(|endpoint| endpoint.address != address)
                {
                    self.books.forget_node(address);
                }
            }
        }
        for id in changes.joined {
            let Some(endpoint) = self.balancer.borrow().endpoint(id).cloned() else {
                continue;
            };
            let books = self.books.node(endpoint.address);
            let node = Rc::new(Node::new(endpoint, books));
            self.nodes.borrow_mut().insert(id, Rc::clone(&node));
            tokio::task::spawn_local(node.keep_connected(Rc::clone(self)));
        }
        self.announce();
    }

    /// The nodes that take batches now, with the slots that are used there.
    pub fn usable(&self, slots: &Slots) -> Usable {
        let now = Instant::now();
        let used = slots.used.borrow();
        let mut usable = Usable::default();
        for (id, node) in &*self.nodes.borrow() {
            if node.is_ready(now) && !node.is_lagging(now) {
                usable.nodes += 1;
                usable.used += used.get(id).copied().unwrap_or(0);
            }
        }
        usable
    }

    /// Chooses a node for a batch; `None`: ask again after a change.
    pub fn pick(
        self: &Rc<Self>,
        request: &Request<'_>,
        slots: &Rc<Slots>,
    ) -> Option<(Picked, Slot)> {
        let now = Instant::now();
        let nodes = self.nodes.borrow();
        let view = WorkerView {
            nodes: &nodes,
            slots,
            now,
        };
        let id = self.balancer.borrow_mut().pick(request, &view, now)?;
        let node = Rc::clone(nodes.get(&id)?);
        let channel = node.channel()?;
        *slots.used.borrow_mut().entry(id).or_default() += 1;
        let slot = Slot {
            slots: Rc::clone(slots),
            upstream: Rc::clone(self),
            node: id,
        };
        Some((Picked { id, node, channel }, slot))
    }

    /// Waits for a node. cancel-safe: nothing is held before it is ready.
    pub async fn pick_when_ready(
        self: &Rc<Self>,
        request: &Request<'_>,
        slots: &Rc<Slots>,
    ) -> (Picked, Slot) {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(picked) = self.pick(request, slots) {
                return picked;
            }
            let _waiting = Counted::new(&self.waiting);
            // A node becomes lagging by the passing of time alone, which nobody announces.
            let _looked_again = tokio::time::timeout(LAG, changes.changed()).await;
        }
    }

    /// Tells whoever waits that something has changed.
    pub(crate) fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// A view on changes, for senders that adapt to the number of ready nodes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How connections are made.
    pub(crate) fn connect_options(&self) -> &ConnectOptions {
        &self.connect
    }
}

/// One more until dropped.
pub(crate) struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    pub(crate) fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

struct WorkerView<'a> {
    nodes: &'a HashMap<NodeId, Rc<Node>>,
    slots: &'a Slots,
    now: Instant,
}

impl View for WorkerView<'_> {
    fn condition(&self, id: NodeId) -> Condition {
        match self.nodes.get(&id) {
            Some(node) if !node.is_ready(self.now) => Condition::NotReady,
            Some(node) if node.is_lagging(self.now) => Condition::Lagging,
            Some(_) if self.slots.is_free(id) => Condition::Free,
            Some(_) => Condition::Busy,
            None => Condition::NotReady,
        }
    }

    fn in_flight(&self, id: NodeId) -> u64 {
        self.nodes.get(&id).map_or(0, |node| node.in_flight())
    }
}
