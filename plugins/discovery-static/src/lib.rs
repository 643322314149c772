//! Discovery from a fixed list of addresses and names.
//!
//! The list is Satellite's `server_addr`: `10.0.0.1:11800, oap.example:11800, [::1]:11800`, which
//! [`parse_list`] reads. [`StaticDiscovery`] publishes it as endpoints:
//!
//! - Literal addresses are published at once, without waiting for any name.
//! - A name stands for *all* its addresses (Satellite connects to one of them), is looked up again
//!   at every refresh, and becomes [`Endpoint::host`] of each.
//! - A name that cannot be looked up keeps the addresses it had. The warning about it names the
//!   name and the error and is repeated once in [`WARNING_PERIOD`] at most.
//! - Only a set that differs from the last one is published.
//!
//! [`Endpoint::host`]: perigee_plugin_api::discovery::Endpoint::host

mod discovery;
mod list;
mod resolve;

pub use discovery::{StaticDiscovery, WARNING_PERIOD};
pub use list::{ListError, Server, parse_list};
pub use resolve::{Lookup, Resolve, SystemResolver};
