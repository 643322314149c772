//! Pipes: what the daemon does with the calls of each protocol.
//!
//! A pipe is a protocol with its queue, its books and its settings. It is shared by all workers:
//! [`ingest`] fills the queue from the front, [`sender`] empties it towards the nodes, and
//! [`passthrough`] copies the calls that an OAP answers itself.

use std::collections::HashMap;
use std::sync::Arc;

use perigee_plugin_api::budget::Budget;
use perigee_plugin_api::protocol::{Method, Mode, Queued};
use perigee_plugin_api::queue::Queue;
use perigee_protocols::adapter;
use perigee_queue_memory::MemoryQueue;

use crate::config::settings::{self, Settings};
use crate::telemetry::books::{Books, PipeBooks};
use crate::telemetry::exporter::{
    BudgetLevel, Exporter, Labels, Levels, PipeHistograms, QueueLevel,
};
use crate::telemetry::log::RateLimited;

pub mod delivery;
pub mod ingest;
pub mod passthrough;
pub mod sender;

/// One pipe.
#[derive(Debug)]
pub struct Pipe {
    /// Its place in the settings, the books and the balancer.
    pub index: usize,
    /// Its settings.
    pub settings: settings::Pipe,
    /// Its queue; `None` for passthrough alone.
    pub queue: Option<Arc<dyn Queue>>,
    /// Its counters.
    pub books: Arc<PipeBooks>,
    /// Its distributions.
    pub histograms: PipeHistograms,
    /// What its adapters need to know.
    pub adapter_options: Arc<adapter::Options>,
    /// What its adapters hold is charged here.
    pub budget: Arc<Budget>,
    /// Bounds the lines of the log about what is dropped on arrival.
    losses: RateLimited,
}

impl Pipe {
    /// How many calls stand for one batch in `max_in_flight`: a thousand services that log a record
    /// a second each make a thousand calls of one record.
    pub fn calls_a_batch(&self) -> usize {
        const SMALL: usize = 8;
        let mut methods = self.settings.protocol.methods.iter();
        let is_grouped = methods.any(|method| match method.mode {
            Mode::Queued(queued) => queued.adapter.is_grouped(),
            Mode::Passthrough => false,
        });
        if is_grouped { SMALL } else { 1 }
    }

    /// A queued method by its number within the protocol.
    pub fn queued(&self, method: u16) -> Option<(&'static Method, Queued)> {
        let method = self.settings.protocol.methods.get(usize::from(method))?;
        match method.mode {
            Mode::Queued(queued) => Some((method, queued)),
            Mode::Passthrough => None,
        }
    }
}

/// A method that is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its pipe.
    pub pipe: Arc<Pipe>,
    /// Its row.
    pub method: &'static Method,
    /// The row's number within the protocol.
    pub number: u16,
}

/// All pipes of a gateway.
#[derive(Debug)]
pub struct Pipes {
    /// In the order of the settings.
    pub all: Vec<Arc<Pipe>>,
    by_path: HashMap<&'static str, Served>,
    /// What all queues are charged to.
    pub budget: Arc<Budget>,
}

impl Pipes {
    /// Builds queues, books and exporter.
    pub fn build(settings: &Settings, books: &Arc<Books>) -> (Arc<Self>, Arc<Exporter>) {
        let budget = Arc::new(Budget::within(settings.limits.memory_bytes));
        let queues: Vec<_> = settings
            .pipes
            .iter()
            .map(|pipe| build_queue(pipe, settings.limits.workers, &budget))
            .collect();
        let levels = QueueLevels {
            queues: queues.clone(),
            budget: Arc::clone(&budget),
        };
        let telemetry = &settings.telemetry;
        let labels = Labels {
            cluster: telemetry.cluster.clone(),
            service: telemetry.service.clone(),
            instance: telemetry.instance.clone(),
        };
        let exporter = Arc::new(Exporter::new(labels, Arc::clone(books), Arc::new(levels)));
        let all: Vec<_> = settings
            .pipes
            .iter()
            .zip(queues)
            .enumerate()
            .map(|(index, (settings, queue))| {
                let adapter_options = adapter::Options {
                    label_keys: settings.routing.label_keys.clone(),
                };
                Arc::new(Pipe {
                    index,
                    settings: settings.clone(),
                    queue,
                    books: Arc::clone(books.pipe(index)),
                    histograms: exporter.histograms(index),
                    adapter_options: Arc::new(adapter_options),
                    budget: Arc::clone(&budget),
                    losses: RateLimited::new(ingest::LOG_PAUSE),
                })
            })
            .collect();
        let by_path = all.iter().flat_map(served).collect();
        (
            Arc::new(Self {
                all,
                by_path,
                budget,
            }),
            exporter,
        )
    }

    /// The method of a path, if it is served.
    pub fn find(&self, path: &str) -> Option<&Served> {
        self.by_path.get(path)
    }

    /// Nothing more will be queued.
    pub fn close(&self) {
        for queue in self.all.iter().filter_map(|pipe| pipe.queue.as_ref()) {
            queue.close();
        }
    }
}

fn served(pipe: &Arc<Pipe>) -> impl Iterator<Item = (&'static str, Served)> + use<> {
    let pipe = Arc::clone(pipe);
    let methods = pipe.settings.protocol.methods;
    (0..).zip(methods).map(move |(number, method)| {
        (
            method.path,
            Served {
                pipe: Arc::clone(&pipe),
                method,
                number,
            },
        )
    })
}

/// Partitions are rounded up to a multiple of the workers, so that each worker empties as many and
/// a connection's data stays on its thread.
fn build_queue(
    pipe: &settings::Pipe,
    workers: usize,
    budget: &Arc<Budget>,
) -> Option<Arc<dyn Queue>> {
    let settings = pipe.queue?;
    let options = perigee_queue_memory::Options {
        partitions: settings.partition.next_multiple_of(workers.max(1)),
        messages_per_partition: settings.event_buffer_size,
        when_full: settings.when_full,
    };
    Some(Arc::new(MemoryQueue::new(options, Arc::clone(budget))))
}

/// What the exporter reads.
struct QueueLevels {
    queues: Vec<Option<Arc<dyn Queue>>>,
    budget: Arc<Budget>,
}

impl Levels for QueueLevels {
    fn queues(&self) -> Vec<QueueLevel> {
        let queues = self.queues.iter().enumerate();
        queues
            .filter_map(|(pipe, queue)| {
                let queue = queue.as_ref()?;
                let partitions = (0..queue.partitions())
                    .map(|index| queue.level(index))
                    .collect();
                Some(QueueLevel {
                    pipe,
                    capacity: queue.capacity(),
                    partitions,
                })
            })
            .collect()
    }

    fn budget(&self) -> BudgetLevel {
        BudgetLevel {
            used: self.budget.used(),
            limit: self.budget.limit(),
        }
    }
}
