//! Defaults, our own keys, and what `check` shows of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use perigee_plugin_api::protocol::Origin;
use perigee_plugin_api::queue::WhenFull;

use super::{EMBEDDED, HOST, good, load, with_pipes};
use crate::config::host::memory_limit;
use crate::config::keys;
use crate::config::settings::{Balance, LogFormat};
use crate::config::tree::{Scalar, Style};
use crate::config::{Config, reference};
use crate::limit::cgroup::recorded;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_embedded_file_makes_satellites_pipes_and_the_built_in_ones() {
    let settings = good(EMBEDDED).settings;
    let origins: Vec<_> = settings
        .pipes
        .iter()
        .map(|pipe| pipe.protocol.origin)
        .collect();
    assert_eq!(origins[..18], [Origin::Satellite; 18]);
    assert!(origins.len() > 18);
    assert!(
        origins[18..]
            .iter()
            .all(|origin| *origin == Origin::BuiltIn)
    );
    for pipe in &settings.pipes {
        assert_eq!(pipe.name, pipe.protocol.pipe);
    }
    for pipe in &settings.pipes[18..] {
        let listed = EMBEDDED.lines().any(|line| {
            line.starts_with(&format!("# {} ", pipe.name)) && line.ends_with(pipe.protocol.receiver)
        });
        assert!(listed, "{} is missing at the end of the file", pipe.name);
    }
    let cds = &settings.pipes[5];
    assert_eq!((cds.name.as_str(), cds.queue), ("cdspipe", None));
    assert_eq!(cds.sender.flush_time, Duration::from_secs(1));
    assert_eq!(settings.pipes[1].sender.max_buffer_size, 20);
    assert_eq!(settings.pipes[17].routing.label_keys[3], "service.name");
    assert_eq!(settings.server.address.to_string(), "[::]:11800");
    assert_eq!(settings.limits.memory_bytes, 1 << 30);
    assert_eq!(settings.limits.workers, HOST.cores);
}

#[test]
fn absent_keys_have_their_defaults() {
    let settings = good(&with_pipes(
        "  - gatherer: {receiver: {plugin_name: grpc-native-tracing-receiver}}\n",
    ))
    .settings;
    assert_eq!(settings.logger.format, LogFormat::Text);
    assert_eq!(settings.server.max_recv_msg_size, 50 << 20);
    assert_eq!(settings.server.max_concurrent_streams, 1_024);
    assert!(settings.server.forward_unknown_methods);
    assert_eq!(settings.server.max_cpu_percent, 75);
    assert_eq!(settings.server.max_connections, 4_000);
    assert_eq!(settings.server.max_connections_per_source, None);
    assert_eq!(settings.client.servers[0].host, "localhost");
    assert_eq!(settings.client.balance, Balance::RoundRobin);
    assert_eq!(settings.client.max_in_flight, 4);
    assert!(settings.client.tls.is_none());
    let pipe = &settings.pipes[0];
    let queue = pipe.queue.expect("a queue");
    assert_eq!((queue.event_buffer_size, queue.partition), (5_000, 1));
    assert_eq!(queue.when_full, WhenFull::Block);
    assert_eq!(pipe.sender.linger_time, Duration::from_millis(10));
    assert_eq!(pipe.sender.max_batch_bytes, 512 << 10);
    assert_eq!(pipe.retry.max_attempts, None);
    assert_eq!(pipe.retry.max_age, Duration::from_secs(300));
    assert_eq!(pipe.routing.cache_ttl, Duration::from_secs(180));
}

#[test]
fn our_own_keys_are_read() {
    let path = Path::new(ROOT).join("config/examples/three-nodes-weighted.yaml");
    let config = Config::load(Some(&path), &|_| None).expect("valid");
    let settings = &config.settings;
    let weights: Vec<_> = settings
        .client
        .servers
        .iter()
        .map(|server| server.weight)
        .collect();
    assert_eq!(weights, [2, 1, 1]);
    assert_eq!(settings.client.balance, Balance::LeastInFlight);
    assert_eq!(settings.client.max_in_flight, 8);
    assert_eq!(settings.server.max_connections_per_source, Some(50));
    assert_eq!(settings.limits.memory_bytes, 1 << 30);
    assert_eq!(
        settings.pipes[0].queue.expect("a queue").when_full,
        WhenFull::DropOldest
    );
    assert_eq!(settings.pipes[1].retry.max_age, Duration::from_secs(3_600));
    assert_eq!(
        settings.pipes[1].sender.linger_time,
        Duration::from_millis(50)
    );
    assert!(settings.pipes.iter().all(|pipe| pipe.name != "browserpipe"));
    assert_eq!(
        config.flat()["sharing.clients[0].server_addr[1].address"],
        "oap-1.example:11800"
    );
}

#[test]
fn timer_fallbacker_has_satellites_defaults() {
    let text = with_pipes(
        "  - gatherer: {receiver: {plugin_name: grpc-native-tracing-receiver}}
    sender: {fallbacker: {plugin_name: timer-fallbacker, max_attempts: 9}}
",
    );
    let retry = good(&text).settings.pipes[0].retry;
    assert_eq!(retry.max_attempts, Some(9));
    assert_eq!(retry.first_pause, Duration::from_secs(2));
    assert_eq!(retry.max_pause, Duration::from_secs(5));
}

#[test]
fn a_file_may_override_a_built_in_pipe() {
    let text = with_pipes(
        "  - common_config: {pipe_name: rum}
    gatherer: {receiver: {plugin_name: grpc-native-browser-receiver}, queue: {partition: 2}}
",
    );
    let pipes = good(&text).settings.pipes;
    let named = pipes
        .iter()
        .filter(|pipe| pipe.protocol.pipe == "browserpipe");
    assert_eq!(
        named.map(|pipe| pipe.name.as_str()).collect::<Vec<_>>(),
        ["rum"]
    );
}

#[test]
fn a_pipe_that_is_switched_off_leaves_its_protocol_to_another() {
    let tracing = "gatherer: {receiver: {plugin_name: grpc-native-tracing-receiver}}";
    let text = with_pipes(&format!(
        "  - {{enabled: false, {tracing}}}\n  - {{{tracing}}}\n"
    ));
    let pipes = good(&text).settings.pipes;
    let count = pipes
        .iter()
        .filter(|pipe| pipe.protocol.pipe == "tracingpipe")
        .count();
    assert_eq!(count, 1);
}

#[test]
fn the_effective_file_loads_to_the_same_settings() {
    for text in files()
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("readable"))
    {
        let first = good(&text);
        let yaml = first.to_yaml();
        let second = load(&yaml).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"));
        assert_eq!(
            format!("{:?}", second.settings),
            format!("{:?}", first.settings)
        );
        assert_eq!(second.to_yaml(), yaml);
    }
}

#[test]
fn odd_shapes_are_written_too() {
    let odd = "odd: [{}, [], [[1], {a: ~}], {b: {}}, '${X}', '1', '', \"a\\nb\"]\n";
    let yaml = good(&format!("{odd}{}", with_pipes(""))).to_yaml();
    let again = good(&yaml);
    assert_eq!(again.to_yaml(), yaml);
    assert_eq!(again.flat()["odd[7]"], "a\nb");
}

#[test]
fn secrets_are_shown_by_json_only() {
    let text = with_pipes("").replace("grpc-client", "grpc-client\n      authentication: 's3cret'");
    let config = good(&text);
    assert_eq!(config.flat()["sharing.clients[0].authentication"], "s3cret");
    assert!(!config.to_yaml().contains("s3cret"));
    assert!(config.to_yaml().contains("authentication: \"(hidden)\""));
}

#[test]
fn every_file_of_the_directory_is_valid_without_warnings() {
    let files = files();
    assert!(files.len() >= 3, "{files:?}");
    // Where it is missing, calls are not checked, which is worth a warning.
    let token = |name: &str| (name == "PERIGEE_AGENT_TOKEN").then(|| "secret".to_owned());
    for path in files {
        let config = Config::load(Some(&path), &token).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.warnings, [], "{}", path.display());
    }
}

#[test]
fn the_example_with_a_token_lets_nobody_in_without() {
    let path = Path::new(ROOT).join("config/examples/tls-and-token.yaml");
    let token = |name: &str| (name == "PERIGEE_AGENT_TOKEN").then(|| "secret".to_owned());
    let server = Config::load(Some(&path), &token)
        .expect("valid")
        .settings
        .server;
    assert!(server.tls.is_some_and(|tls| tls.client_ca.is_some()));
    assert_eq!(server.authentication.expect("a check").token, "secret");
    let warnings = Config::load(Some(&path), &|_| None)
        .expect("valid")
        .warnings;
    let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert!(
        shown
            .iter()
            .any(|line| line.contains("calls are not checked")),
        "{shown:?}"
    );
}

fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in ["config", "config/examples"] {
        let entries = std::fs::read_dir(Path::new(ROOT).join(directory)).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "yaml")));
    }
    files.sort();
    files
}

#[test]
fn every_default_of_the_table_is_allowed() {
    for key in keys::all().filter(|key| !matches!(key.default, "" | "auto")) {
        let default = Scalar::new(key.default, Style::Plain);
        assert!(key.kind.accepts(&default), "{}: {}", key.path, key.default);
    }
    let paths: std::collections::BTreeSet<_> = keys::all().map(|key| key.path).collect();
    assert_eq!(paths.len(), keys::all().count(), "a path stands twice");
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(ROOT).join("config/README.md");
    let page = reference();
    if std::env::var_os("PERIGEE_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &page).expect("writable");
    }
    let found = std::fs::read_to_string(&path).expect("readable");
    assert!(
        found == page,
        "out of date: run this test with PERIGEE_WRITE_REFERENCE=1"
    );
}

#[test]
fn the_memory_limit_is_the_tightest_of_our_group_and_those_around_it() {
    let limit = |machine: recorded::Machine| memory_limit(&machine.groups());
    assert_eq!(limit(recorded::unified()), Some(1 << 30));
    assert_eq!(limit(recorded::namespaced()), Some(256 << 20));
    assert_eq!(limit(recorded::version_1()), Some(512 << 20));
    assert_eq!(limit(recorded::hybrid()), None);
}
