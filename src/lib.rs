//! Perigee, a telemetry gateway for Apache SkyWalking.

pub mod config;
pub mod engine;
