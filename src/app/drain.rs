//! Shutdown in order: readiness, listener, connections, queues; each within its share of the time.

use std::fmt;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::App;
use crate::engine::Drain;
use crate::telemetry::books::{DropReason, PipeSnapshot};
use crate::worker::Worker;

/// Share of the hook time that open calls get to finish by themselves. Endless streams never do.
const FINISH: u32 = 4;
const LONGEST_FINISH: Duration = Duration::from_secs(2);

/// Kept for threads to end and the report to be written.
const MARGIN: Duration = Duration::from_millis(100);

const LOOK: Duration = Duration::from_millis(5);

/// What became of everything that was received.
#[derive(Clone, Debug)]
pub struct Report {
    /// The sum over all pipes.
    pub totals: PipeSnapshot,
    /// Messages that were not delivered, by pipe.
    pub undelivered: Vec<(String, u64)>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let lost: u64 = self.undelivered.iter().map(|(_, count)| count).sum();
        write!(
            out,
            "stopped: received {}, delivered {}, dropped {}, not delivered {lost}",
            totals.received,
            totals.delivered,
            totals.dropped_in_all() - totals.dropped_for(DropReason::Shutdown),
        )?;
        if totals.merged > 0 {
            write!(out, ", merged {}", totals.merged)?;
        }
        for (number, (pipe, count)) in self.undelivered.iter().enumerate() {
            write!(
                out,
                "{} {pipe} {count}",
                if number == 0 { ":" } else { "," }
            )?;
        }
        Ok(())
    }
}

pub(super) async fn run(app: App, began: Instant, hook_time: Duration) -> Report {
    let deadline = began + hook_time.saturating_sub(MARGIN);
    app.readiness.draining();
    app.listener.abort();
    app.drain.send_replace(Drain::GoAway);
    info!(
        connections = app.books.front.connections_open.value(),
        ?hook_time,
        "stopping"
    );
    let finish = (hook_time / FINISH).min(LONGEST_FINISH);
    wait_until(began + finish, || {
        app.books.front.connections_open.value() == 0
    })
    .await;
    app.drain.send_replace(Drain::Cut);
    // A queue that is closed takes nothing more, so the last reader has to be gone first: calls are
    // tasks of their own, and may still be busy with what had arrived when their connection ended.
    let front = &app.books.front;
    wait_until(deadline, || front.connections_open.value() == 0).await;
    // The queues need the rest of the time, whatever a call is up to.
    let most = Instant::now() + finish;
    wait_until(deadline.min(most), || front.streams_open.value() == 0).await;
    app.pipes.close();
    wait_until(deadline, || all_ended(&app.workers)).await;
    app.abandon.send_replace(true);
    // What is confirmed after the report would be reported as lost.
    wait_until(deadline + MARGIN / 2, || all_ended(&app.workers)).await;
    for worker in app.workers {
        if worker.thread.is_finished() && worker.thread.join().is_err() {
            warn!("a worker has panicked");
        }
    }
    if let Some((task, stop)) = app.admin {
        let _ended = stop.send(());
        let _cut = tokio::time::timeout(MARGIN / 2, task).await;
    }
    report(&app.books)
}

fn all_ended(workers: &[Worker]) -> bool {
    workers.iter().all(|worker| worker.thread.is_finished())
}

/// Shutdown is the one place where looking now and then is simpler than being told: what is waited
/// for are threads.
async fn wait_until(deadline: Instant, done: impl Fn() -> bool) {
    while !done() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}

fn report(books: &crate::telemetry::books::Books) -> Report {
    let mut undelivered = Vec::new();
    for pipe in books.pipes() {
        let left = pipe.snapshot().outstanding();
        if left > 0 {
            pipe.dropped(DropReason::Shutdown, left);
            undelivered.push((pipe.name().to_owned(), left));
        }
    }
    Report {
        totals: books.totals(),
        undelivered,
    }
}
