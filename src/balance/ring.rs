//! Where a key belongs when nothing is remembered about it.
//!
//! Consistent hashing over the whole discovered set, ready or not: replicas that see the same set
//! agree, and a set that changes by one node moves that node's keys only. Whoever asks walks from
//! the key's point to the first node that is ready.
//!
//! # Placement
//!
//! This is a contract between replicas and versions, pinned by a test:
//! - A node has [`POINTS`] points for each unit of its weight. Point `i` is at
//!   `xxh3_64("<address>#<i>")`, e.g. of `10.0.0.1:11800#17`; the address is `SocketAddr`'s text.
//! - A key is at `xxh3_64(key)`, seed 0.
//! - A key belongs to the first point at its own or a larger hash, round the end; of several
//!   points at one hash to that of the smallest address text.
//!
//! # Decisions
//!
//! `consistent_hash` walks the points; the hash is ours, because `std::hash::Hash` does not
//! specify which bytes it feeds. Its lookup allocates once, which does not matter here: the ring is
//! asked only for keys that [`super::sticky`] does not know.

use std::hash::{Hash, Hasher};

use consistent_hash::{RingHash, StaticHashRing};
use xxhash_rust::xxh3::Xxh3Default;

use super::{Node, NodeId};

/// Points on the ring for each unit of a node's weight.
pub const POINTS: usize = 160;

/// Weights above this count as this: a point is 16 bytes.
pub const LARGEST_WEIGHT: u32 = 100;

/// Consistent placement of keys over a set of nodes.
#[derive(Debug)]
pub struct Ring {
    // Owns its nodes: `'static` says that the address texts borrow from nobody.
    points: StaticHashRing<'static, AddressText, NodeId, PointHash>,
}

impl Ring {
    /// A ring over these nodes, whatever their order.
    pub fn new(nodes: &[Node]) -> Self {
        let nodes = nodes.iter().map(|node| consistent_hash::Node {
            key: AddressText(node.endpoint.address.to_string()),
            value: node.id,
            quantity: POINTS * node.weight().min(LARGEST_WEIGHT) as usize,
        });
        Self {
            points: StaticHashRing::new(PointHash, nodes),
        }
    }

    /// All nodes, the key's own first, then in the order in which the ring is walked.
    pub fn candidates(&self, key: &[u8]) -> impl Iterator<Item = NodeId> + use<'_> {
        let candidates = self.points.calc_candidates(&KeyBytes(key));
        candidates.map(|node| node.value)
    }
}

/// An address whose hash is that of its bytes and nothing else.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AddressText(String);

impl Hash for AddressText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

/// A key whose hash is that of its bytes and nothing else.
struct KeyBytes<'a>(&'a [u8]);

impl Hash for KeyBytes<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

#[derive(Debug)]
struct PointHash;

impl RingHash for PointHash {
    fn hash_item<T: Hash>(&self, item: &T) -> u64 {
        let mut hasher = Xxh3Default::new();
        item.hash(&mut hasher);
        hasher.digest()
    }

    fn hash_vnode<K: Hash>(&self, address: &K, point: usize) -> u64 {
        let mut hasher = Xxh3Default::new();
        address.hash(&mut hasher);
        hasher.update(format!("#{point}").as_bytes());
        hasher.digest()
    }
}

#[cfg(test)]
mod tests;
