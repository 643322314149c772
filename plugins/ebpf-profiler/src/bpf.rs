//! The kernel: loading programs, reading maps, perf events. All `unsafe` code is here.
#![allow(
    unsafe_code,
    reason = "system calls and memory shared with the kernel; everything else is safe"
)]

pub mod layout;
pub mod programs;
mod shared;
