//! The kernel: loading programs, reading maps, perf events. All `unsafe` code is here.
#![expect(
    unsafe_code,
    reason = "the one place in the workspace that may have any"
)]

pub mod errno;
pub mod file;
pub mod layout;
pub mod perf;
pub mod programs;
pub mod refusal;
mod shared;
pub mod trial;
pub mod truncation;
