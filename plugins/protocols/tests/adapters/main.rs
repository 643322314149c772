//! Adapters: whatever becomes of the queued messages, an OAP makes of them what it would have made
//! of the client's own call.
//!
//! Models of OAP's receivers, written from what `protocols.md` says of them, read what leaves.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod any_bytes;
mod bounds;
mod ebpf;
mod envoy;
mod events;
mod go_profiles;
mod keyed;
mod logs;
mod meters;
mod otlp_metrics;
mod queue;
mod recorded;
