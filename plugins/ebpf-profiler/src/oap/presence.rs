//! Keeps the OAP told of what runs here.
//!
//! A report goes out at once when processes come or change, the first of all as soon as there are any, but
//! not more often than every [`pause`](super::Settings::pause). With every heartbeat all are said to live,
//! and what was not answered is reported again; with every tenth everything is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::link::Link;
use super::report::Processes;
use super::roll::Roll;
use super::schedule::Known;
use super::{Settings, Stop};
use crate::discovery::Entity;
use crate::metrics::{ENTITIES, REPORTS};

pub(super) struct Presence {
    link: Link,
    entities: watch::Receiver<Arc<[Entity]>>,
    known: watch::Sender<Arc<Known>>,
    processes: Processes,
    roll: Roll,
    heartbeat: Duration,
    full_report: u32,
    pause: Duration,
    failures: u32,
    next_report: Instant,
}

impl Presence {
    pub(super) fn new(
        settings: &Settings,
        link: Link,
        agent: &str,
        entities: watch::Receiver<Arc<[Entity]>>,
        known: watch::Sender<Arc<Known>>,
    ) -> Self {
        Self {
            link,
            entities,
            known,
            processes: Processes::new(agent.to_owned(), settings.profilable),
            roll: Roll::new(Instant::now()),
            heartbeat: settings.heartbeat,
            full_report: settings.full_report.max(1),
            pause: settings.pause,
            failures: 0,
            next_report: Instant::now(),
        }
    }

    pub(super) async fn run(mut self, mut stop: Stop) {
        tokio::select! {
            biased;
            () = stop.asked() => {}
            () = self.keep_told() => {}
        }
    }

    async fn keep_told(&mut self) {
        let mut beats = interval_at(Instant::now() + self.heartbeat, self.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = 0_u32;
        self.look();
        loop {
            let has_news = self.processes.has_news();
            let due = self.roll.due();
            tokio::select! {
                biased;
                () = changed(&mut self.entities) => self.look(),
                () = sleep_until(due.unwrap_or(self.next_report)), if due.is_some() => self.say(),
                _ = beats.tick() => {
                    beat = beat.wrapping_add(1);
                    self.heartbeat(beat).await;
                }
                () = sleep_until(self.next_report), if has_news => self.report().await,
            }
        }
    }

    /// Takes over what discovery has found.
    fn look(&mut self) {
        let entities = Arc::clone(&self.entities.borrow_and_update());
        self.processes.set(&entities);
        self.roll.set(&entities);
        ENTITIES.gauge(&[]).set(self.processes.len() as f64);
        self.publish();
    }

    fn say(&mut self) {
        let said = self.roll.say(Instant::now());
        tracing::info!(processes = said.processes, services = %said.services, "processes are reported");
    }

    async fn heartbeat(&mut self, beat: u32) {
        if beat.is_multiple_of(self.full_report) {
            self.processes.report_all();
        }
        if self.processes.has_unanswered() {
            self.report().await;
        }
        self.ping().await;
    }

    async fn report(&mut self) {
        for report in self.processes.reports() {
            match self.link.report(report.clone()).await {
                Ok(answer) => {
                    counted("reportProcesses", "ok");
                    let unanswered = self.processes.answered(&report, &answer);
                    if unanswered > 0 {
                        tracing::debug!(unanswered, "processes without an id; asking again");
                    }
                    self.failures = 0;
                }
                Err(_) => {
                    counted("reportProcesses", "failed");
                    self.failures = self.failures.saturating_add(1);
                    break;
                }
            }
        }
        self.next_report = Instant::now() + self.pause_after_failures();
        // An OAP has no service before it hears that somebody lives (decision 42).
        if self.processes.has_unpinged() {
            self.ping().await;
        }
        self.publish();
    }

    /// Doubles with each failure, up to a heartbeat, and differs from node to node.
    fn pause_after_failures(&self) -> Duration {
        let doubled = self.pause.saturating_mul(1 << self.failures.min(10));
        let pause = doubled.min(self.heartbeat.max(self.pause));
        if self.failures == 0 {
            return pause;
        }
        pause.mul_f64(0.75 + 0.25 * fastrand::f64())
    }

    async fn ping(&mut self) {
        for ping in self.processes.pings() {
            if self.link.keep_alive(ping).await.is_err() {
                counted("keepAlive", "failed");
                return;
            }
            counted("keepAlive", "ok");
        }
        self.processes.pinged();
    }

    fn publish(&self) {
        let known = self.processes.known();
        self.known.send_if_modified(|old| {
            let changed = **old != known;
            if changed {
                *old = Arc::new(known);
            }
            changed
        });
    }
}

fn counted(method: &'static str, outcome: &'static str) {
    REPORTS.counter(&[method, outcome]).increment(1);
}

/// cancel-safe: nothing is marked as seen. Never comes when nobody will change it any more.
async fn changed(entities: &mut watch::Receiver<Arc<[Entity]>>) {
    if entities.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
