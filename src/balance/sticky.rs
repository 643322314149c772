//! Keeps a key where it is.
//!
//! What a node knows about a key (meters being summed up, the metadata of an ALS stream) is lost
//! when the key moves, so a key stays with its node as long as that is ready, even where the ring
//! would now place it elsewhere. Only for keys it does not know it asks the [`Ring`].
//!
//! - Each use keeps an entry for another full time.
//! - A node that leaves discovery loses its entries at once.
//! - A node that is not ready loses a key when the key is used: it goes to the first ready node on
//!   the ring and stays there. The node gets keys back as those entries expire.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use xxhash_rust::xxh3::xxh3_128;

use super::ring::Ring;
use super::{Node, NodeId};

/// A [`Ring`] with a memory.
#[derive(Debug)]
pub struct Sticky {
    ring: Ring,
    /// By 128-bit hash: clients choose the keys, which may be long, and two keys that collide
    /// would merely share a node.
    entries: LruCache<u128, Entry>,
    time: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    node: NodeId,
    used: Instant,
}

impl Sticky {
    /// No nodes yet; remembers `keys` keys for `time` after their last use.
    pub fn new(keys: NonZeroUsize, time: Duration) -> Self {
        Self {
            ring: Ring::new(&[]),
            entries: LruCache::new(keys),
            time,
        }
    }

    /// Takes over a new set and forgets what is with nodes that are not in it.
    pub fn set_nodes(&mut self, nodes: &[Node]) {
        self.ring = Ring::new(nodes);
        self.entries
            .retain(|_, entry| nodes.iter().any(|node| node.id == entry.node));
    }

    /// The node of a key: the remembered one if it is ready, else the first ready one on the ring.
    /// `None` when none is ready; what is remembered then stays.
    pub fn place(
        &mut self,
        key: &[u8],
        now: Instant,
        is_ready: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        let hash = xxh3_128(key);
        if let Some(entry) = self.entries.get_mut(&hash)
            && now.saturating_duration_since(entry.used) < self.time
            && is_ready(entry.node)
        {
            entry.used = now;
            return Some(entry.node);
        }
        let node = self.ring.candidates(key).find(|node| is_ready(*node))?;
        self.entries.put(hash, Entry { node, used: now });
        Some(node)
    }

    /// Keys that are remembered, expired ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests;
