//! Which processes run here, as long as somebody wants to know.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use perigee_ebpf_profiler::discovery::{Discovery, Entity};
use perigee_ebpf_profiler::engine::ProcessEvent;
use tokio::sync::watch;
use tracing::warn;

/// Time between two looks at all processes where the kernel does not tell of starts and ends.
const BLIND: Duration = Duration::from_secs(5);
/// Where it does: it may have told more than we could listen to.
const TOLD: Duration = Duration::from_secs(60);
/// Starts and ends are looked at together: programs that start come by the dozen.
const TOGETHER: Duration = Duration::from_millis(50);
/// More of them at once are cheaper found by a look at all.
const MOST: usize = 256;

/// A thread that looks for processes; it ends when this is dropped.
pub(super) struct Finding {
    _stop: Sender<()>,
}

impl Finding {
    /// Looks at once, and then whenever something changes.
    pub(super) fn start(
        discovery: Discovery,
        events: Option<Receiver<ProcessEvent>>,
        found: watch::Sender<Arc<[Entity]>>,
    ) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let finder = Finder {
            discovery,
            found,
            version: None,
        };
        let name = thread::Builder::new().name("discovery".to_owned());
        name.spawn(move || finder.run(events, &stopped))?;
        Ok(Self { _stop: stop })
    }
}

struct Finder {
    discovery: Discovery,
    found: watch::Sender<Arc<[Entity]>>,
    version: Option<u64>,
}

impl Finder {
    fn run(mut self, events: Option<Receiver<ProcessEvent>>, stopped: &Receiver<()>) {
        let pause = if events.is_some() { TOLD } else { BLIND };
        let mut events = events.unwrap_or_else(never);
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                self.scan();
                next = Instant::now() + pause;
            }
            self.publish();
            let timeout = next.saturating_duration_since(Instant::now());
            select! {
                recv(stopped) -> _ => return,
                recv(events) -> event => match event {
                    Ok(event) => match self.follow(event, &events) {
                        true => {}
                        false => next = Instant::now(),
                    },
                    // Nobody tells any more.
                    Err(_) => events = never(),
                },
                default(timeout) => {}
            }
        }
    }

    fn scan(&mut self) {
        if let Err(error) = self.discovery.scan() {
            warn!(%error, "cannot look for processes");
        }
    }

    /// Looks at what has started and ended; false if that is too much to look at one by one.
    fn follow(&mut self, first: ProcessEvent, events: &Receiver<ProcessEvent>) -> bool {
        let deadline = Instant::now() + TOGETHER;
        let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
        let mut note = |event| match event {
            ProcessEvent::Exec(pid) => {
                begun.insert(pid);
            }
            ProcessEvent::Exit(pid) => {
                begun.remove(&pid);
                ended.insert(pid);
            }
        };
        note(first);
        while let Ok(event) = events.recv_deadline(deadline) {
            note(event);
        }
        if begun.len() + ended.len() > MOST {
            return false;
        }
        ended
            .into_iter()
            .for_each(|pid| self.discovery.on_exit(pid));
        begun
            .into_iter()
            .for_each(|pid| self.discovery.on_exec(pid));
        true
    }

    fn publish(&mut self) {
        let version = self.discovery.version();
        if self.version != Some(version) {
            self.version = Some(version);
            self.found.send_replace(self.discovery.entities());
        }
    }
}
