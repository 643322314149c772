//! Where upstream endpoints come from.
//!
//! A discovery publishes whole sets: a reader never sees half a cluster.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// One address of an OAP node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// The name that the address was found under, without the port: `:authority`'s host and the
    /// TLS server name. For a literal address the address itself.
    pub host: Arc<str>,
    /// Relative share of unkeyed messages; at least 1.
    pub weight: u32,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)
    }
}

/// A set of endpoints, sorted by address and without repetition, so that every replica numbers
/// them alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSet {
    endpoints: Vec<Endpoint>,
}

impl EndpointSet {
    /// Sorts and removes repeated addresses; the first of each stays.
    pub fn new(mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        Self { endpoints }
    }

    /// The endpoints in order.
    pub fn as_slice(&self) -> &[Endpoint] {
        &self.endpoints
    }
}

impl FromIterator<Endpoint> for EndpointSet {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        Self::new(endpoints.into_iter().collect())
    }
}

/// Takes each new set. Returns `false` when nobody listens any more and the discovery should end.
pub type Publish = Box<dyn FnMut(EndpointSet) -> bool + Send>;

/// A source of endpoints.
pub trait Discovery: Send {
    /// Publishes the first set as soon as it is known and another at every change, until the
    /// future is dropped or nobody listens. A failure is logged and tried again; it never empties
    /// the set.
    fn run(self: Box<Self>, publish: Publish)
    -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
}
