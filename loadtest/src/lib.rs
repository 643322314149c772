//! Load generator, counting sink, byte relay, and the processes of end-to-end tests.
//!
//! The load parts speak a minimal HTTP/2 of their own: they share the machine with what they
//! measure, so they must cost far less than it. Nothing here links the gateway; it is run as a
//! process, as an operator would.

pub mod bench;
pub mod generate;
pub mod http2;
pub mod link;
pub mod payload;
pub mod process;
pub mod relay;
pub mod scenario;
pub mod sink;

pub use payload::segment;
