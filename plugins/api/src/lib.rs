//! The contracts between the Perigee daemon and its plugins.
//!
//! This crate holds plain data and traits. It does no I/O, starts no task and depends on no other
//! crate of the workspace, so that every plugin can depend on it and on nothing else of ours.
//!
//! - [`protocol`]: what a row of the protocol table says about one gRPC method.
//! - [`queue`]: the contract of a queue between the front and the senders.
//! - [`budget`]: the process-wide byte budget that every queue and every half-read message is
//!   charged to.
//! - [`gate`]: the counting gate with waiters that budget and queues are built from.
//! - [`discovery`]: where upstream endpoints come from.

pub mod budget;
pub mod discovery;
pub mod framing;
pub mod gate;
pub mod protocol;
pub mod queue;
