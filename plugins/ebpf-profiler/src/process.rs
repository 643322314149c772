//! What the kernel says of processes: mappings, starts, ends.
//!
//! [`table::Processes`] remembers it, also of processes that have ended: their samples are named later
//! than they were taken. Files that are mapped are opened once ([`modules`]) and stay open, so that they
//! can be read when process and file are gone. All of it is asked of `/proc`, where a process may vanish
//! between two reads, and much of it is written by processes that may mean harm: nothing here trusts a
//! path, a size or a line.

pub mod command;
pub mod elf;
#[cfg(test)]
pub(crate) mod fixture;
pub mod foreign;
pub mod maps;
pub mod modules;
pub mod perf_map;
pub mod proc;
pub mod table;
