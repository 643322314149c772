//! The books of one upstream node.

use super::count::{Count, Gauge};

/// What went to one OAP node. "Batch" is one upstream call of a queued pipe.
#[derive(Debug, Default)]
pub struct NodeBooks {
    /// Messages that the node confirmed.
    pub delivered: Count,
    /// Batches that the node confirmed.
    pub batches: Count,
    /// Batches that the node refused or that got lost with the connection.
    pub failed_batches: Count,
    /// Messages sent to the node that had been sent to some node before.
    pub resent: Count,
    /// Batches and passthrough calls that wait for the node's answer.
    pub in_flight: Gauge,
    /// Connections that take calls.
    pub ready_connections: Gauge,
    /// How often the node was set aside because its calls failed.
    pub ejections: Count,
    /// Attempts to connect.
    pub connects: Count,
    /// Attempts to connect that failed.
    pub failed_connects: Count,
}

impl NodeBooks {
    /// Whether any connection takes calls.
    pub fn is_ready(&self) -> bool {
        self.ready_connections.value() > 0
    }
}
