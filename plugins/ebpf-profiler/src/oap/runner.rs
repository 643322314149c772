//! Does what the schedule says: begins and ends captures, collects them, sends what they yield.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lru::LruCache;
use perigee_proto::skywalking::v3::Command;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval_at};
use tonic::Status;

use super::link::Link;
use super::schedule::{Job, Known, NotTaken, Now, Schedule, Step};
use super::sessions::Sessions;
use super::task::{Task, updated_ms};
use super::upload::{Contents, Outbox};
use super::{Settings, Stop};
use crate::engine::{Capture, Refused};
use crate::metrics::{SAMPLES_DROPPED, TASKS_REFUSED, TASKS_RUNNING, UPLOADS};
use crate::profile::Kind;

const KINDS: [Kind; 2] = [Kind::OnCpu, Kind::OffCpu];
/// Refused commands of which we remember that they were spoken of.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Longest sleep where nothing is scheduled.
const LONG: Duration = Duration::from_secs(3600);

pub(super) struct Runner {
    link: Link,
    sessions: Sessions,
    known: watch::Receiver<Arc<Known>>,
    latest_update: watch::Sender<i64>,
    schedule: Schedule,
    outbox: Outbox,
    running: BTreeMap<Job, Running>,
    uploading: Option<Uploading>,
    told: LruCache<String, ()>,
    flush: Duration,
    patience: Duration,
    farewell: Duration,
    began: SystemTime,
}

/// A job under way.
struct Running {
    kind: Kind,
    /// Of its process, which may be gone when the job ends.
    name: Arc<str>,
    /// Its part of the targets.
    pids: BTreeSet<u32>,
}

/// A stream under way.
struct Uploading {
    contents: Contents,
    answer: Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>,
}

impl Runner {
    pub(super) fn new(
        settings: &Settings,
        link: Link,
        capture: Arc<dyn Capture>,
        known: watch::Receiver<Arc<Known>>,
        latest_update: watch::Sender<i64>,
    ) -> Self {
        Self {
            link,
            sessions: Sessions::new(capture, settings.period, settings.minimum),
            known,
            latest_update,
            schedule: Schedule::default(),
            outbox: Outbox::new(settings.memory),
            running: BTreeMap::new(),
            uploading: None,
            told: LruCache::new(REMEMBERED),
            flush: settings.flush,
            patience: settings.patience,
            farewell: settings.farewell,
            began: SystemTime::now(),
        }
    }

    /// Runs until asked to stop, and sends then what there is.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Vec<Command>>, mut stop: Stop) {
        let mut flushes = interval_at(tokio::time::Instant::now() + self.flush, self.flush);
        flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let rest = self.schedule.rest(now()).unwrap_or(LONG).min(LONG);
            tokio::select! {
                biased;
                () = stop.asked() => break,
                answer = answered(&mut self.uploading) => self.uploaded(&answer),
                Some(commands) = commands.recv() => self.learn(&commands),
                Ok(()) = self.known.changed() => self.follow().await,
                _ = flushes.tick() => self.flush().await,
                () = tokio::time::sleep(rest) => {}
            }
            self.obey().await;
            self.latest_update
                .send_replace(self.schedule.latest_update_ms(now()));
        }
        if tokio::time::timeout(self.farewell, self.say_farewell())
            .await
            .is_err()
        {
            tracing::warn!(farewell = ?self.farewell, "ending before all samples of tasks were taken");
        }
        dropped("stopped", self.outbox.outstanding());
        TASKS_RUNNING.gauge(&[]).set(0.0);
    }

    fn learn(&mut self, commands: &[Command]) {
        for command in commands {
            let task = match Task::read(command) {
                Ok(task) => task,
                Err(error) => {
                    // It would come again with every answer.
                    self.schedule.heard(updated_ms(command).unwrap_or_default());
                    self.refuse(error.reason(), &error.to_string());
                    continue;
                }
            };
            let began = task.start;
            for (Job { task, process }, why) in self.schedule.learn(&task, now()) {
                match why {
                    // We ask now and then only: a short one may begin and end meanwhile.
                    NotTaken::Over if began >= self.began => {
                        let told = not_run(&task, &self.called(&process), &why);
                        self.refuse("over", &told);
                    }
                    // Nothing was missed that we could have done: an OAP keeps telling old tasks.
                    NotTaken::Over => tracing::debug!(%task, %process, "not run: {why}"),
                    NotTaken::Full => {
                        let told = not_run(&task, &self.called(&process), &why);
                        self.refuse("full", &told);
                    }
                }
            }
        }
    }

    /// Counts and says a refusal once, however often its command comes.
    fn refuse(&mut self, reason: &'static str, told: &str) {
        if self.told.put(told.to_owned(), ()).is_none() {
            TASKS_REFUSED.counter(&[reason]).increment(1);
            tracing::warn!(reason, "{told}");
        }
    }

    /// Follows processes that came, went, or have another PID now.
    async fn follow(&mut self) {
        let known = Arc::clone(&self.known.borrow_and_update());
        for kind in KINDS {
            let pids_of = |job: &Job| pids(&known, job);
            let of_kind = self
                .running
                .iter()
                .filter(|(_, running)| running.kind == kind);
            let wanted: BTreeMap<Job, BTreeSet<u32>> = of_kind
                .map(|(job, _)| (job.clone(), pids_of(job)))
                .collect();
            let targets = wanted.values().flatten().copied().collect();
            if self.sessions.aims_at(kind, &targets) {
                self.point(wanted);
                continue;
            }
            self.collect(kind).await;
            match self.sessions.aim(kind, &targets).await {
                Ok(()) => self.point(wanted),
                Err(refused) => self.refuse("capture", &format!("processes of tasks: {refused}")),
            }
        }
    }

    fn point(&mut self, wanted: BTreeMap<Job, BTreeSet<u32>>) {
        for (job, pids) in wanted {
            if let Some(running) = self.running.get_mut(&job) {
                running.pids = pids;
            }
        }
    }

    async fn obey(&mut self) {
        let known = Arc::clone(&self.known.borrow());
        let (mut ends, mut beginnings) = (Vec::new(), Vec::new());
        for step in self.schedule.step(now(), &known) {
            match step {
                Step::End(job) => ends.push(job),
                Step::Begin(job, kind) => beginnings.push((job, kind)),
                Step::Missed(Job { task, process }) => {
                    let told = format!("task {task:?}: process {process:?} was never known");
                    self.refuse("over", &told);
                }
                Step::Failed(Job { task, process }, why) => {
                    let told = not_run(&task, &self.called(&process), &why);
                    self.refuse("capture", &told);
                }
            }
        }
        self.end(&ends).await;
        for kind in KINDS {
            if beginnings.iter().any(|(_, begins)| *begins == kind) {
                // What was captured until now is not theirs.
                self.collect(kind).await;
            }
        }
        for (job, kind) in beginnings {
            let pids = pids(&known, &job);
            self.begin(job, kind, pids).await;
        }
        TASKS_RUNNING.gauge(&[]).set(self.running.len() as f64);
    }

    async fn begin(&mut self, job: Job, kind: Kind, pids: BTreeSet<u32>) {
        let mut targets = self.targets(kind);
        targets.extend(&pids);
        if let Err(refused) = self.sessions.aim(kind, &targets).await {
            self.postpone(&job, &refused);
            return;
        }
        self.schedule.began(&job, now());
        self.outbox
            .open(&job, kind, milliseconds(SystemTime::now()));
        let known = self.known.borrow();
        let name = known.get(&job.process).map(|here| Arc::clone(&here.name));
        drop(known);
        let name = name.unwrap_or_default();
        tracing::info!(task = %job.task, process = %job.process, %name, ?pids, ?kind, "profiling task begins");
        self.running.insert(job, Running { kind, name, pids });
    }

    /// What cannot begin now may be able to at another flush.
    fn postpone(&mut self, job: &Job, refused: &Refused) {
        let Job { task, process } = job;
        let process = self.called(process);
        let told = format!("task {task:?}: not begun yet for process {process}: {refused}");
        if self.told.put(told.clone(), ()).is_none() {
            tracing::warn!("{told}");
        }
        self.schedule.refused(job, refused.to_string());
    }

    async fn end(&mut self, jobs: &[Job]) {
        if jobs.is_empty() {
            return;
        }
        let concerns = |kind: Kind| {
            let mut running = jobs.iter().filter_map(|job| self.running.get(job));
            running.any(|running| running.kind == kind)
        };
        for kind in KINDS
            .map(|kind| concerns(kind).then_some(kind))
            .into_iter()
            .flatten()
        {
            self.collect(kind).await;
        }
        for job in jobs {
            let running = self.running.remove(job);
            self.outbox.end(job, Instant::now());
            let name = running.map(|running| running.name).unwrap_or_default();
            tracing::info!(task = %job.task, process = %job.process, %name, "profiling task ends");
        }
        for kind in KINDS {
            let targets = self.targets(kind);
            if let Err(refused) = self.sessions.aim(kind, &targets).await {
                self.refuse("capture", &format!("processes of tasks: {refused}"));
            }
        }
        self.send();
    }

    /// A process's id, and its name if it is here.
    fn called(&self, process: &str) -> String {
        match self.known.borrow().get(process) {
            Some(here) => format!("{process:?} ({})", here.name),
            None => format!("{process:?}"),
        }
    }

    fn targets(&self, kind: Kind) -> BTreeSet<u32> {
        let running = self.running.values().filter(|running| running.kind == kind);
        running
            .flat_map(|running| running.pids.iter().copied())
            .collect()
    }

    /// Gives each job of the kind what its processes did since the last time.
    async fn collect(&mut self, kind: Kind) {
        let Some(profile) = self.sessions.take(kind).await else {
            return;
        };
        let mut lost = 0;
        for (job, running) in self
            .running
            .iter()
            .filter(|(_, running)| running.kind == kind)
        {
            lost += self.outbox.add(job, &profile, &running.pids);
        }
        dropped("stacks", lost);
    }

    async fn flush(&mut self) {
        // A session that broke is started anew.
        self.follow().await;
        self.schedule.try_again();
        for kind in KINDS {
            self.collect(kind).await;
        }
        self.send();
        dropped("late", self.outbox.give_up(Instant::now(), self.patience));
    }

    /// Lets what is pending go, unless a stream is under way already.
    fn send(&mut self) {
        self.outbox.flush(milliseconds(SystemTime::now()));
        if self.uploading.is_none() {
            self.send_next();
        }
    }

    fn send_next(&mut self) {
        if let Some(parcel) = self.outbox.parcel() {
            let (messages, contents) = parcel.split();
            let link = self.link.clone();
            let answer = Box::pin(async move { link.collect(messages).await });
            self.uploading = Some(Uploading { contents, answer });
        }
    }

    /// What has failed stays in flight until the next flush.
    fn uploaded(&mut self, answer: &Result<(), Status>) {
        let Some(Uploading { contents, .. }) = self.uploading.take() else {
            return;
        };
        let outcome = if answer.is_ok() { "ok" } else { "failed" };
        UPLOADS.counter(&[outcome]).increment(1);
        if answer.is_ok() {
            self.outbox.delivered(&contents);
            self.send_next();
        }
    }

    async fn say_farewell(&mut self) {
        let jobs: Vec<_> = self.running.keys().cloned().collect();
        self.end(&jobs).await;
        loop {
            while self.uploading.is_some() {
                let answer = answered(&mut self.uploading).await;
                self.uploaded(&answer);
                if answer.is_err() {
                    return;
                }
            }
            // What had to wait for another flush.
            self.send();
            if self.uploading.is_none() {
                return;
            }
        }
    }
}

/// cancel-safe: the stream goes on when asked again. Never comes without one.
async fn answered(uploading: &mut Option<Uploading>) -> Result<(), Status> {
    match uploading {
        Some(uploading) => (&mut uploading.answer).await,
        None => std::future::pending().await,
    }
}

fn not_run(task: &str, process: &str, why: &dyn Display) -> String {
    format!("task {task:?}: not run for process {process}: {why}")
}

fn pids(known: &Known, job: &Job) -> BTreeSet<u32> {
    let here = known.get(&job.process);
    here.map(|here| here.pids.clone()).unwrap_or_default()
}

fn dropped(reason: &'static str, samples: u64) {
    if samples > 0 {
        SAMPLES_DROPPED.counter(&[reason]).increment(samples);
        tracing::warn!(reason, samples, "samples of tasks are lost");
    }
}

fn now() -> Now {
    Now {
        wall: SystemTime::now(),
        steady: Instant::now(),
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
