//! Perigee, a telemetry gateway for Apache SkyWalking.

pub mod admin;
pub mod balance;
pub mod config;
pub mod engine;
pub mod pipe;
pub mod telemetry;
pub mod upstream;
