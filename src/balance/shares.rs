//! Weighted round robin in messages.
//!
//! Every node has a virtual time: the messages assigned to it, divided by its weight. The free
//! node that is furthest behind is next, so batches of unequal size still give even shares
//! (Satellite counts batches, and sent 850, 25 and 25 of 900 messages).
//!
//! What a node missed while it was away is not made up for: a node that joins, is ready again, or
//! has lagged, starts no earlier than the others are. What it missed because its slots were in use
//! is: the others wait once they are [`AHEAD`] of it.

use std::cmp::Ordering;

use super::{Condition, Node, NodeId};

/// How far, in messages a weight unit, a free node may be ahead of a busy one before batches wait
/// for the busy one instead: without it, whoever answers a little faster would get everything that
/// the others have no slot for.
pub const AHEAD: u64 = 256;

/// The shares of all nodes of one kind of data.
#[derive(Clone, Debug)]
pub struct Shares {
    shares: Vec<Share>,
    /// Index (modulo their number) of the node that wins the next tie.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    node: NodeId,
    time: VirtualTime,
    /// Not ready or lagging when last seen, or never seen.
    away: bool,
}

impl Shares {
    /// No nodes yet; the first tie goes to the node at `offset`, modulo their number.
    pub fn new(offset: usize) -> Self {
        Self {
            shares: Vec::new(),
            turn: offset,
        }
    }

    /// Takes over a new set, in its order. Nodes that stay keep what they were assigned.
    pub fn set_nodes(&mut self, nodes: &[Node]) {
        let before = std::mem::take(&mut self.shares);
        self.shares.extend(nodes.iter().map(|node| {
            let mut share = before
                .iter()
                .find(|share| share.node == node.id)
                .copied()
                .unwrap_or(Share {
                    node: node.id,
                    time: VirtualTime::zero(node.weight()),
                    away: true,
                });
            share.time = share.time.with_weight(node.weight());
            share
        }));
    }

    /// The free node that is furthest behind; ties go round. Never `avoid`. `None` also when all
    /// free nodes are far ahead of a busy one.
    pub fn pick(
        &mut self,
        condition: impl Fn(NodeId) -> Condition,
        avoid: Option<NodeId>,
    ) -> Option<NodeId> {
        self.see(&condition);
        let count = self.shares.len();
        let mut best: Option<usize> = None;
        for step in 0..count {
            let index = (self.turn % count + step) % count;
            let share = &self.shares[index];
            if Some(share.node) == avoid || condition(share.node) != Condition::Free {
                continue;
            }
            if best.is_none_or(|best| share.time < self.shares[best].time) {
                best = Some(index);
            }
        }
        let best = best?;
        let furthest_behind = self
            .shares
            .iter()
            .filter(|share| matches!(condition(share.node), Condition::Free | Condition::Busy))
            .map(|share| share.time)
            .min()?;
        if furthest_behind < self.shares[best].time.less(AHEAD) {
            return None;
        }
        self.turn = best + 1;
        Some(self.shares[best].node)
    }

    /// Charges messages to a node; nothing happens when it has left.
    pub fn assign(&mut self, node: NodeId, count: u32) {
        if let Some(share) = self.shares.iter_mut().find(|share| share.node == node) {
            share.time.messages = share.time.messages.saturating_add(u64::from(count));
        }
    }

    /// Notes who is away, and lets those who are back start where the others are.
    fn see(&mut self, condition: impl Fn(NodeId) -> Condition) {
        let present =
            |share: &Share| matches!(condition(share.node), Condition::Free | Condition::Busy);
        let stayed = self
            .shares
            .iter()
            .filter(|share| !share.away && present(share));
        let smallest = stayed.map(|share| share.time).min();
        for share in &mut self.shares {
            let is_away = !present(share);
            let was_away = std::mem::replace(&mut share.away, is_away);
            if was_away
                && !share.away
                && let Some(smallest) = smallest
            {
                share.time.advance_to(smallest);
            }
        }
    }
}

/// Messages divided by weight, as a fraction: no rounding that would make ties uneven.
#[derive(Clone, Copy, Debug)]
struct VirtualTime {
    messages: u64,
    weight: u32,
}

impl VirtualTime {
    fn zero(weight: u32) -> Self {
        Self {
            messages: 0,
            weight,
        }
    }

    /// The same time, or just after, as a fraction of another weight.
    fn with_weight(self, weight: u32) -> Self {
        if self.weight == weight {
            return self;
        }
        let scaled = u128::from(self.messages) * u128::from(weight);
        let messages = scaled.div_ceil(u128::from(self.weight));
        Self {
            messages: u64::try_from(messages).unwrap_or(u64::MAX),
            weight,
        }
    }

    fn less(self, messages_per_weight: u64) -> Self {
        let less = messages_per_weight.saturating_mul(u64::from(self.weight));
        Self {
            messages: self.messages.saturating_sub(less),
            weight: self.weight,
        }
    }

    fn advance_to(&mut self, other: Self) {
        if *self < other {
            *self = other.with_weight(self.weight);
        }
    }
}

impl Ord for VirtualTime {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u128::from(self.messages) * u128::from(other.weight);
        let right = u128::from(other.messages) * u128::from(self.weight);
        left.cmp(&right)
    }
}

impl PartialOrd for VirtualTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for VirtualTime {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for VirtualTime {}

#[cfg(test)]
mod tests;
