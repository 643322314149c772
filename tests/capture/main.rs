//! The capture's agent towards an OAP, through the gateway: everything but the kernel is real.
//!
//! - `kernel`: a stand-in for what captures. `bench`: a sink, a gateway before it, an agent.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod connection;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod tasks;
