#![doc = include_str!("README.md")]

pub mod admin;
pub mod app;
pub mod balance;
pub mod capture;
pub mod cli;
pub mod config;
pub mod demo;
pub mod engine;
pub mod gateway;
mod limit;
mod listener;
pub mod pipe;
pub mod profile;
mod signals;
pub mod sink;
pub mod start;
pub mod telemetry;
pub mod upstream;
mod worker;
