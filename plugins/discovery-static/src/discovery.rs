//! Publishes the list, names looked up.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use perigee_plugin_api::discovery::{Discovery, Endpoint, EndpointSet, Publish};
use tokio::task::JoinSet;
use tokio::time::{self, Instant};
use tracing::{info, warn};

use crate::{Resolve, Server};

/// Shortest time between two warnings about one name.
pub const WARNING_PERIOD: Duration = Duration::from_secs(60);

/// A lookup that takes longer has failed: the system's own limit can be half a minute.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// How long the names of a round are waited for before those that have been found are published
/// without the others. Usually all of them arrive together, and the readers see one set.
const GATHERING: Duration = Duration::from_secs(1);

/// Shortest time between two rounds of lookups.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// A [`Discovery`] of a fixed list.
pub struct StaticDiscovery {
    entries: Vec<Entry>,
    refresh: Duration,
    resolver: Arc<dyn Resolve>,
    published: EndpointSet,
}

/// An entry of the list and what is known about it.
struct Entry {
    server: Server,
    host: Arc<str>,
    is_name: bool,
    addresses: Vec<SocketAddr>,
    failures: Failures,
}

/// What a lookup has found, for the entry of this index.
type Answer = (usize, io::Result<Vec<SocketAddr>>);

impl StaticDiscovery {
    /// Publishes `servers`, looking their names up every `refresh`; less than a second counts as
    /// one. Of entries with the same address the first counts.
    pub fn new(servers: Vec<Server>, refresh: Duration, resolver: Arc<dyn Resolve>) -> Self {
        Self {
            entries: servers.into_iter().map(Entry::new).collect(),
            refresh: refresh.max(SHORTEST_REFRESH),
            resolver,
            published: EndpointSet::default(),
        }
    }

    async fn keep_publishing(mut self, mut publish: Publish) {
        if !self.publish_changes(&mut publish) {
            return;
        }
        if !self.entries.iter().any(|entry| entry.is_name) {
            return;
        }
        let mut rounds = time::interval(self.refresh);
        rounds.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if !self.look_up_names(&mut publish).await {
                return;
            }
        }
    }

    /// One round: looks up all names at once. Returns whether anybody listens still.
    async fn look_up_names(&mut self, publish: &mut Publish) -> bool {
        // Dropped with this future, which ends the lookups.
        let mut lookups = self.start_lookups();
        let gathered = Instant::now() + GATHERING;
        while let Ok(Some(answer)) = time::timeout_at(gathered, lookups.join_next()).await {
            self.take(answer);
        }
        if !self.publish_changes(publish) {
            return false;
        }
        while let Some(answer) = lookups.join_next().await {
            self.take(answer);
            if !self.publish_changes(publish) {
                return false;
            }
        }
        true
    }

    fn start_lookups(&self) -> JoinSet<Answer> {
        let mut lookups = JoinSet::new();
        let names = self.entries.iter().enumerate();
        for (index, Entry { server, .. }) in names.filter(|(_, entry)| entry.is_name) {
            let lookup = self.resolver.resolve(&server.host, server.port);
            lookups.spawn(async move {
                let answer = time::timeout(LOOKUP_LIMIT, lookup).await;
                (index, answer.unwrap_or_else(|late| Err(late.into())))
            });
        }
        lookups
    }

    fn take(&mut self, answer: Result<Answer, tokio::task::JoinError>) {
        match answer {
            Ok((index, answer)) => {
                if let Some(entry) = self.entries.get_mut(index) {
                    entry.take(answer);
                }
            }
            Err(error) => warn!(%error, "name lookup ended early"),
        }
    }

    /// Publishes the set if it is another than before. Returns whether anybody listens still.
    fn publish_changes(&mut self, publish: &mut Publish) -> bool {
        let set: EndpointSet = self.entries.iter().flat_map(Entry::endpoints).collect();
        if set == self.published {
            return true;
        }
        self.published = set.clone();
        publish(set)
    }
}

impl Discovery for StaticDiscovery {
    fn run(self: Box<Self>, publish: Publish) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.keep_publishing(publish))
    }
}

impl Entry {
    fn new(server: Server) -> Self {
        let literal = server.literal();
        Self {
            host: server.host.as_str().into(),
            is_name: literal.is_none(),
            addresses: Vec::from_iter(literal.map(|ip| SocketAddr::new(ip, server.port))),
            failures: Failures::default(),
            server,
        }
    }

    fn take(&mut self, answer: io::Result<Vec<SocketAddr>>) {
        let host = &self.host;
        let error = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                if std::mem::take(&mut self.failures).count > 0 {
                    info!(%host, "name lookup works again");
                }
                self.addresses = addresses;
                return;
            }
            Ok(_) => io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
            Err(error) => error,
        };
        if let Some(failures) = self.failures.another(Instant::now()) {
            let kept_addresses = self.addresses.len();
            warn!(%host, %error, failures, kept_addresses, "name lookup failed");
        }
    }

    fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        self.addresses.iter().map(|address| Endpoint {
            address: *address,
            host: Arc::clone(&self.host),
            weight: self.server.weight.max(1),
        })
    }
}

/// Lookups of one name that failed in a row.
#[derive(Default)]
struct Failures {
    count: u64,
    warned: Option<Instant>,
}

impl Failures {
    /// Counts one more; returns how many there are when it is time to say so.
    fn another(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let is_due = |warned| now.duration_since(warned) >= WARNING_PERIOD;
        if !self.warned.is_none_or(is_due) {
            return None;
        }
        self.warned = Some(now);
        Some(self.count)
    }
}

#[cfg(test)]
mod tests;
