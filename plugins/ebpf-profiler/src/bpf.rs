//! The kernel: loading programs, reading maps, perf events. All `unsafe` code is here.
