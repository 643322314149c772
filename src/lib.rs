//! Placeholder.
pub mod admin;
pub mod telemetry;
