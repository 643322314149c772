//! Tests of the configuration as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Config, ConfigErrors, EMBEDDED, Host, Source};

mod access;
mod broken;
mod capture;
mod golden;
mod own;
mod placeholders;
mod warnings;

const HOST: Host = Host {
    memory_limit: Some(2 << 30),
    cores: 2,
};

fn load(text: &str) -> Result<Config, ConfigErrors> {
    load_with(text, &BTreeMap::new())
}

fn load_with(text: &str, variables: &BTreeMap<String, String>) -> Result<Config, ConfigErrors> {
    let environment = |name: &str| variables.get(name).cloned();
    Config::parse(text, Source::Embedded, &environment, &HOST)
}

/// The configuration, or a failed test that shows every error.
fn good(text: &str) -> Config {
    load(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A file of one client, one server and these pipes.
fn with_pipes(pipes: &str) -> String {
    format!(
        "sharing:\n  clients:\n    - plugin_name: grpc-client\n  servers:\n    \
         - plugin_name: grpc-server\npipes:\n{pipes}"
    )
}

/// The stock file of Satellite and what Satellite makes of it; `None` where they are not at hand.
fn fixture(name: &str) -> Option<String> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures");
    let root = std::env::var_os("PERIGEE_FIXTURES").map_or_else(|| default.into(), PathBuf::from);
    let path = root.join("satellite").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: no {}; set PERIGEE_FIXTURES", path.display());
    }
    text
}
