//! Unwind tables against what made them: gimli's own rows, Go's `.debug_frame`, and stacks of processes
//! whose chain of calls is known.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]
#![expect(
    clippy::print_stdout,
    reason = "a skipped test says so, and figures are for the reader"
)]

mod build;
mod dwarf;
mod go;
mod oracle;
mod process;
mod walk;
