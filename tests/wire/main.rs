//! The gateway on the wire: real sockets, agents that behave and agents that do not, OAP nodes that
//! answer, stall and vanish.
//!
//! - `gateway`: a gateway with its nodes. `client`: calls by the h2 crate, for what a gRPC library
//!   hides. `raw`: single frames, for what the h2 crate refuses to send. `node`: a bare node that
//!   records what reaches it. `messages`: what agents say.

#[cfg(test)]
mod access;
#[cfg(test)]
mod bad_frames;
#[cfg(test)]
mod bad_messages;
#[cfg(test)]
mod bystander;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod client;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod held;
#[cfg(test)]
mod large;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod live;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod methods;
#[cfg(test)]
mod node;
#[cfg(test)]
mod passthrough;
#[cfg(test)]
mod pressure;
#[cfg(test)]
mod queued;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod traps;
#[cfg(test)]
mod uploads;
