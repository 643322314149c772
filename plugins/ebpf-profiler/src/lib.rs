//! Where CPU time goes on a node and where threads wait, by eBPF: for a flame graph on the spot and for
//! SkyWalking's profiling tasks.
//!
//! [`engine`] samples; [`access`] says whom, not to look at others; [`profile`] is what it yields; [`output`] writes it to files; [`discovery`] says
//! which processes are which services; [`oap`] does what the OAP asks for. The programs in the kernel are
//! `bpf/*.bpf.c`. All `unsafe` code is in [`bpf`].
#![cfg(target_os = "linux")]

pub mod access;
pub mod bpf;
pub mod discovery;
pub mod doctor;
pub mod engine;
pub mod metrics;
pub mod oap;
pub mod output;
pub mod process;
pub mod profile;
pub mod symbol;
pub mod tier;
pub mod unwind;
