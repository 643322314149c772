//! Agents that report segments for as long as a test wants, and remember which were acknowledged.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::Client;
use crate::segment::METHOD;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Connections, each with one call at a time.
    pub clients: usize,
    /// Messages of a call.
    pub messages: usize,
    /// Messages a second over all connections.
    pub rate: u32,
    /// About this many bytes a message.
    pub size: usize,
}

/// Traffic that goes on until it is ended.
#[derive(Debug)]
pub struct Under {
    stop: Arc<AtomicBool>,
    agents: Vec<JoinHandle<Sent>>,
}

/// What became of traffic.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Ids of calls that ended with OK.
    pub acknowledged: BTreeSet<String>,
    /// Ids of calls that did not.
    pub unanswered: BTreeSet<String>,
    /// Why calls and connections ended otherwise, one each.
    pub failures: Vec<String>,
    /// The longest call.
    pub slowest: Duration,
}

/// A segment that the sink knows by `id`, padded by `size` bytes.
#[must_use]
pub fn segment(id: &str, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + id.len() + 64);
    let padding = "t".repeat(size);
    for (field, value) in [(1, &*padding), (2, id), (4, "shop"), (5, "shop-1")] {
        out.push(field << 3 | 2);
        let mut length = value.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(value.as_bytes());
    }
    out
}

impl Traffic {
    /// Starts to send.
    #[must_use]
    pub fn start(self, to: SocketAddr) -> Under {
        let stop = Arc::new(AtomicBool::new(false));
        let agents = (0..self.clients).map(|number| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || self.agent(number, to, &stop))
        });
        Under {
            agents: agents.collect(),
            stop,
        }
    }

    fn agent(&self, number: usize, to: SocketAddr, stop: &AtomicBool) -> Sent {
        let mut sent = Sent::default();
        let mut client = match Client::connect(to) {
            Ok(client) => client,
            Err(error) => {
                sent.failures.push(format!("{error:#}"));
                return sent;
            }
        };
        let each = Duration::from_secs(1) * u32::try_from(self.clients).unwrap_or(1) / self.rate;
        let mut due = Instant::now();
        for call in 0.. {
            if stop.load(Ordering::Relaxed) || client.is_leaving() {
                break;
            }
            let began = Instant::now();
            let mut ids = BTreeSet::new();
            let ended = self.call(&mut client, |message| {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // An agent that was held up does not make up for it.
                due = (due + each).max(Instant::now());
                let id = format!("segment-{number}-{call}-{message}");
                ids.insert(id.clone());
                id
            });
            sent.slowest = sent.slowest.max(began.elapsed());
            match ended {
                Ok(()) => sent.acknowledged.append(&mut ids),
                Err(error) => {
                    sent.unanswered.append(&mut ids);
                    sent.failures.push(format!("{error:#}"));
                    break;
                }
            }
        }
        sent
    }

    fn call(&self, client: &mut Client, mut next: impl FnMut(usize) -> String) -> Result<()> {
        let mut call = client.open(METHOD)?;
        for message in 0..self.messages {
            call.send(&segment(&next(message), self.size))?;
        }
        call.finish()
    }
}

impl Under {
    /// Lets every agent finish its call.
    ///
    /// # Errors
    /// An agent has panicked.
    pub fn end(self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Sent::default();
        for agent in self.agents {
            let mut one = agent.join().map_err(|_| anyhow!("an agent has panicked"))?;
            all.acknowledged.append(&mut one.acknowledged);
            all.unanswered.append(&mut one.unanswered);
            all.failures.append(&mut one.failures);
            all.slowest = all.slowest.max(one.slowest);
        }
        Ok(all)
    }
}
