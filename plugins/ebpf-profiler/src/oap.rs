//! What the OAP is told and asks for: processes, keep-alives, profiling tasks.
//!
//! [`Agent`] is Rover's part towards an OAP, spoken to the gateway on loopback like any agent. Three loops
//! in one task, each the only owner of its state: `presence` reports processes, a poll asks for tasks,
//! `runner` carries them out.
//!
//! - [`link`]: the connection. `presence`, [`report`]: which processes are known by which id; `roll`
//!   is what the log says of them.
//! - [`task`]: commands. [`schedule`]: what runs when. `sessions`: what captures. [`upload`]: what is sent.

use std::sync::Arc;
use std::time::Duration;

use perigee_proto::skywalking::v3::{Command, EbpfProfilingTaskQuery};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::discovery::Entity;
use crate::engine::Capture;

pub mod link;
mod presence;
pub mod report;
mod roll;
mod runner;
pub mod schedule;
mod sessions;
pub mod task;
pub mod upload;

use link::{Connection, Link, LinkError, Route};
use presence::Presence;
use runner::Runner;
use schedule::Known;

/// How an agent works. The defaults are Rover's, where Rover has them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub connection: Connection,
    /// Whether processes are offered for profiling (`support_ebpf_profiling`). Default true.
    pub profilable: bool,
    /// Time between two heartbeats. Default 20 s; an OAP takes a process for dead after 5 minutes.
    pub heartbeat: Duration,
    /// Every so many heartbeats all processes are reported again. Default 10.
    pub full_report: u32,
    /// Least time between two reports; doubled with each failure, up to a heartbeat. Default 1 s.
    pub pause: Duration,
    /// Time between two questions for tasks. Default 10 s.
    pub poll: Duration,
    /// Time between two uploads of a task. Default 5 s.
    pub flush: Duration,
    /// Time between two samples of an on-CPU task. Default 9 ms, Rover's `dump_period`.
    pub period: Duration,
    /// Shorter waits of an off-CPU task are not counted. Default 0.
    pub minimum: Duration,
    /// How long samples of an ended task are kept that nobody takes. Default 5 minutes.
    pub patience: Duration,
    /// Bytes that the stacks of all tasks together may take until they are sent. Default 16 MiB, a
    /// quarter of what [an engine](crate::engine::Settings::memory_bytes) may take by default.
    pub memory: usize,
    /// How long ending may take. Default 5 s.
    pub farewell: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection: Connection::default(),
            profilable: true,
            heartbeat: Duration::from_secs(20),
            full_report: 10,
            pause: Duration::from_secs(1),
            poll: Duration::from_secs(10),
            flush: Duration::from_secs(5),
            period: Duration::from_millis(9),
            minimum: Duration::ZERO,
            patience: Duration::from_secs(300),
            memory: upload::MEMORY,
            farewell: Duration::from_secs(5),
        }
    }
}

/// Reports what runs here, and does what an OAP asks for.
pub struct Agent {
    settings: Settings,
    id: String,
    route: Route,
    capture: Arc<dyn Capture>,
    entities: watch::Receiver<Arc<[Entity]>>,
}

impl Agent {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The settings of the connection are wrong.
    pub fn new(
        settings: Settings,
        capture: Arc<dyn Capture>,
        entities: watch::Receiver<Arc<[Entity]>>,
    ) -> Result<Self, LinkError> {
        crate::metrics::describe();
        Ok(Self {
            route: Route::new(&settings.connection)?,
            settings,
            id: random_id(),
            capture,
            entities,
        })
    }

    /// What it calls itself towards an OAP: another at each start.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs until `shutdown` resolves, then ends its captures and sends what they held. Needs a tokio
    /// runtime with time, I/O and blocking threads.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            settings,
            id,
            route,
            capture,
            entities,
        } = self;
        let link = route.link();
        let (stopping, stop) = watch::channel(false);
        let stop = Stop(stop);
        let (known_sender, known) = watch::channel(Arc::new(Known::new()));
        let (latest_sender, latest_update) = watch::channel(0);
        let (commands_sender, commands) = mpsc::channel(1);
        let presence = Presence::new(&settings, link.clone(), &id, entities, known_sender);
        let poll = Poll {
            link: link.clone(),
            agent: id,
            period: settings.poll,
            known: known.clone(),
            latest_update,
            commands: commands_sender,
        };
        let runner = Runner::new(&settings, link, capture, known, latest_sender);
        tokio::join!(
            async {
                shutdown.await;
                stopping.send_replace(true);
            },
            presence.run(stop.clone()),
            poll.run(stop.clone()),
            runner.run(commands, stop),
        );
    }
}

/// Asks for tasks, as soon as an OAP knows a process of ours.
struct Poll {
    link: Link,
    agent: String,
    period: Duration,
    known: watch::Receiver<Arc<Known>>,
    latest_update: watch::Receiver<i64>,
    commands: mpsc::Sender<Vec<Command>>,
}

impl Poll {
    async fn run(mut self, mut stop: Stop) {
        tokio::select! {
            biased;
            () = stop.asked() => {}
            () = self.ask() => {}
        }
    }

    async fn ask(&mut self) {
        if self
            .known
            .wait_for(|known| !known.is_empty())
            .await
            .is_err()
        {
            return;
        }
        let mut polls = interval_at(Instant::now(), self.period);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            let query = EbpfProfilingTaskQuery {
                rover_instance_id: self.agent.clone(),
                latest_update_time: *self.latest_update.borrow(),
            };
            // That it fails the link has said.
            let commands = self.link.query(query).await.unwrap_or_default();
            if !commands.is_empty() && self.commands.send(commands).await.is_err() {
                return;
            }
        }
    }
}

/// Whether it is time to end.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    /// cancel-safe: yes.
    async fn asked(&mut self) {
        // Without a sender there is nobody left to run for.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// A UUID of version 4.
fn random_id() -> String {
    let random = fastrand::u128(..);
    let bits = random & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_4_and_no_two_are_alike() {
        let (one, other) = (random_id(), random_id());
        assert_ne!(one, other);
        for id in [one, other] {
            let parts: Vec<_> = id.split('-').collect();
            let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert!(parts[2].starts_with('4'), "{id}");
            assert!(
                matches!(parts[3].as_bytes()[0], b'8' | b'9' | b'a' | b'b'),
                "{id}"
            );
        }
    }
}
