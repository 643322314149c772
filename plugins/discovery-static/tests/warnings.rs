//! What is logged about names, in a process of its own: `tracing` remembers for the whole process
//! whether anybody wants an event, and a test on another thread that wants none may ask first.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perigee_discovery_static::{Lookup, Resolve, StaticDiscovery, parse_list};
use perigee_plugin_api::discovery::Discovery;

const REFRESH: Duration = Duration::from_secs(30);

/// Finds two addresses, but not at lookups 2 to 5.
#[derive(Default)]
struct FailsForAWhile(AtomicU32);

impl Resolve for FailsForAWhile {
    fn resolve(&self, _host: &str, port: u16) -> Lookup {
        let lookup = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move {
            if (2..=5).contains(&lookup) {
                return Err(io::Error::other("no such host"));
            }
            Ok([1, 2]
                .map(|host| SocketAddr::from(([10, 0, 0, host], port)))
                .to_vec())
        })
    }
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::to_owned).collect()
    }

    fn collect(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || log.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_name_is_warned_about_once_in_a_while_and_its_recovery_told() {
    let log = Log::default();
    let _collecting = log.collect();
    let servers = parse_list("oap:11800").unwrap();
    let resolver = Arc::new(FailsForAWhile::default());
    let discovery = StaticDiscovery::new(servers, REFRESH, resolver);
    let run = Box::new(discovery).run(Box::new(|_| true));
    let six_lookups = REFRESH * 5 + REFRESH / 2;
    let ended = tokio::time::timeout(six_lookups, run).await;
    assert!(ended.is_err(), "runs until it is dropped");
    let warning = |failures| {
        format!(
            " WARN name lookup failed host=oap error=no such host failures={failures} \
             kept_addresses=2"
        )
    };
    let recovery = " INFO name lookup works again host=oap".to_owned();
    assert_eq!(log.lines(), [warning(1), warning(3), recovery]);
}
