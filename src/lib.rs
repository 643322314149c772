//! Placeholder.

pub mod balance;
