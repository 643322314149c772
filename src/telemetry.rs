//! What the daemon says about itself: its books, their Prometheus page, and its log.
//!
//! - [`books`]: counters that the data path writes; the single truth.
//! - [`catalogue`]: every metric once, with name, labels and meaning.
//! - [`exporter`]: copies the books onto a Prometheus page when asked, and holds the histograms.
//! - [`log`]: the `tracing` subscriber, its writer thread and rate limiting.

pub mod books;
pub mod catalogue;
pub mod exporter;
pub mod log;
