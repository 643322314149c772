//! Which processes an OAP has been told of, and the ids that it gave them. Pure.
//!
//! An answer belongs to a process if PID and names are the same, labels sorted. What is not in an answer is
//! asked for again with the next report.
//!
//! An OAP makes ids of service, instance and process (rover.md 2.3): a program that is started anew under
//! the same names has its id at once, also while no OAP answers.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use perigee_proto::skywalking::v3 as sw;
use sw::ebpf_process_downstream::Process;
use sw::ebpf_process_properties::Metadata;

use super::schedule::{Here, Known};
use crate::discovery::{Entity, Place};

/// Most processes in one report.
const MOST_IN_REPORT: usize = 500;
/// Longest id that we take; an OAP's has 64 characters.
const LONGEST_ID: usize = 512;
/// Names whose id is remembered when their process has ended.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// The property without which an OAP offers no CPU profiling.
const SUPPORTS: &str = "support_ebpf_profiling";

/// PID, layer, service, instance, process, labels.
type Key = (u32, String, String, String, String, Vec<String>);

/// Service, instance, process: what an id is made of.
type Names = (String, String, String);

/// The processes that are there, and how far they are known.
#[derive(Debug)]
pub struct Processes {
    agent: String,
    supports: bool,
    entries: BTreeMap<Key, Entry>,
    /// The ids of names that an OAP has answered for, of late.
    ids: LruCache<Names, Arc<str>>,
}

#[derive(Debug)]
struct Entry {
    entity: Entity,
    name: Arc<str>,
    id: Option<Arc<str>>,
    asked: Asked,
    pinged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Is new or has changed.
    NotYet,
    /// An OAP has answered, and not said anything of it.
    InVain,
    Answered,
}

impl Processes {
    /// None yet, reported by this agent; `supports` is whether they can be profiled.
    pub fn new(agent: String, supports: bool) -> Self {
        Self {
            agent,
            supports,
            entries: BTreeMap::new(),
            ids: LruCache::new(REMEMBERED),
        }
    }

    /// These are there now, and no others.
    pub fn set(&mut self, entities: &[Entity]) {
        let mut old = std::mem::take(&mut self.entries);
        for entity in entities {
            let key = key_of(entity);
            let entry = match old.remove(&key) {
                Some(entry) if entry.entity == *entity => entry,
                was => Entry {
                    entity: entity.clone(),
                    name: name_of(entity),
                    id: was
                        .and_then(|was| was.id)
                        .or_else(|| self.ids.get(&made_of(&key)).cloned()),
                    asked: Asked::NotYet,
                    pinged: false,
                },
            };
            self.entries.insert(key, entry);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether something is new.
    pub fn has_news(&self) -> bool {
        self.asks(|asked| asked == Asked::NotYet)
    }

    /// Whether something is to be asked for again with a heartbeat.
    pub fn has_unanswered(&self) -> bool {
        self.asks(|asked| asked != Asked::Answered)
    }

    fn asks(&self, which: impl Fn(Asked) -> bool) -> bool {
        self.entries.values().any(|entry| which(entry.asked))
    }

    /// All are to be reported again.
    pub fn report_all(&mut self) {
        for entry in self.entries.values_mut() {
            entry.asked = Asked::NotYet;
        }
    }

    /// What is to be reported, in messages of bounded length.
    pub fn reports(&self) -> Vec<sw::EbpfProcessReportList> {
        let open = self.entries.values();
        let open: Vec<_> = open
            .filter(|entry| entry.asked != Asked::Answered)
            .map(|entry| properties(&entry.entity, self.supports))
            .collect();
        let reports = open.chunks(MOST_IN_REPORT);
        reports
            .map(|processes| sw::EbpfProcessReportList {
                processes: processes.to_vec(),
                ebpf_agent_id: self.agent.clone(),
            })
            .collect()
    }

    /// Takes the answer to a report; returns how many processes are not in it.
    pub fn answered(
        &mut self,
        report: &sw::EbpfProcessReportList,
        answer: &sw::EbpfReportProcessDownstream,
    ) -> usize {
        let ids: Vec<_> = answer.processes.iter().filter_map(identified).collect();
        let mut in_vain = 0;
        for key in report.processes.iter().filter_map(key_of_properties) {
            let id = self.id_of(&key, &ids);
            // It may have gone or changed since; of what has changed the id is the same.
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            match id {
                Some(id) => {
                    let id: Arc<str> = Arc::from(id);
                    self.ids.put(made_of(&key), Arc::clone(&id));
                    entry.id = Some(id);
                    entry.asked = Asked::Answered;
                }
                None => {
                    entry.asked = Asked::InVain;
                    in_vain += 1;
                }
            }
        }
        in_vain
    }

    /// An OAP that leaves out the names means the only process of that PID.
    fn id_of<'a>(&self, key: &Key, ids: &[(Key, &'a str, bool)]) -> Option<&'a str> {
        let named = ids
            .iter()
            .find(|(answered, _, named)| *named && answered == key);
        let found = named.or_else(|| {
            let alone = self.entries.keys().filter(|other| other.0 == key.0).count() == 1;
            let of_pid = |(answered, _, named): &&(Key, &str, bool)| !*named && answered.0 == key.0;
            ids.iter().find(of_pid).filter(|_| alone)
        });
        found.map(|(_, id, _)| *id)
    }

    /// Whether an OAP has answered for a process that it has not heard of by a ping.
    pub fn has_unpinged(&self) -> bool {
        let mut answered = self.entries.values().filter(|entry| entry.id.is_some());
        answered.any(|entry| !entry.pinged)
    }

    /// Says that those live that an OAP knows.
    pub fn pings(&self) -> Vec<sw::EbpfProcessPingPkgList> {
        let mut told = BTreeSet::new();
        let known = self.entries.values().filter(|entry| entry.id.is_some());
        let packages: Vec<_> = known
            .filter(|entry| told.insert(entry.id.as_deref()))
            .map(|entry| sw::EbpfProcessPingPkg {
                entity_metadata: Some(names(&entry.entity)),
                properties: vec![supports(self.supports)],
            })
            .collect();
        let pings = packages.chunks(MOST_IN_REPORT);
        pings
            .map(|processes| sw::EbpfProcessPingPkgList {
                processes: processes.to_vec(),
                ebpf_agent_id: self.agent.clone(),
            })
            .collect()
    }

    /// The pings have arrived.
    pub fn pinged(&mut self) {
        for entry in self.entries.values_mut() {
            entry.pinged |= entry.id.is_some();
        }
    }

    /// PIDs and names by id.
    pub fn known(&self) -> Known {
        let mut known = Known::new();
        for entry in self.entries.values() {
            if let Some(id) = &entry.id {
                let here = known.entry(Arc::clone(id)).or_insert_with(|| Here {
                    name: Arc::clone(&entry.name),
                    pids: BTreeSet::new(),
                });
                here.pids.insert(entry.entity.pid);
            }
        }
        known
    }
}

fn name_of(entity: &Entity) -> Arc<str> {
    let names = [&entity.service, &entity.instance, &entity.process];
    Arc::from(names.map(String::as_str).join("/"))
}

fn key_of(entity: &Entity) -> Key {
    key(entity.pid, names(entity))
}

fn key(pid: u32, mut names: sw::EbpfProcessEntityMetadata) -> Key {
    names.labels.sort_unstable();
    (
        pid,
        names.layer,
        names.service_name,
        names.instance_name,
        names.process_name,
        names.labels,
    )
}

fn made_of((_, _, service, instance, process, _): &Key) -> Names {
    (service.clone(), instance.clone(), process.clone())
}

fn names(entity: &Entity) -> sw::EbpfProcessEntityMetadata {
    sw::EbpfProcessEntityMetadata {
        layer: entity.layer.clone(),
        service_name: entity.service.clone(),
        instance_name: entity.instance.clone(),
        process_name: entity.process.clone(),
        labels: entity.labels.clone(),
    }
}

fn supports(supports: bool) -> sw::KeyStringValuePair {
    sw::KeyStringValuePair {
        key: SUPPORTS.to_owned(),
        value: supports.to_string(),
    }
}

fn properties(entity: &Entity, can_be_profiled: bool) -> sw::EbpfProcessProperties {
    let pairs = entity.properties.iter().filter(|(key, _)| key != SUPPORTS);
    let pairs = pairs.map(|(key, value)| sw::KeyStringValuePair {
        key: key.clone(),
        value: value.clone(),
    });
    let properties = pairs.chain([supports(can_be_profiled)]).collect();
    let pid = entity.pid.cast_signed();
    let entity_names = Some(names(entity));
    let metadata = match entity.place {
        Place::Host => Metadata::HostProcess(sw::EbpfHostProcessMetadata {
            entity: entity_names,
            pid,
            properties,
        }),
        Place::Kubernetes => Metadata::K8sProcess(sw::EbpfKubernetesProcessMetadata {
            entity: entity_names,
            pid,
            properties,
        }),
    };
    sw::EbpfProcessProperties {
        metadata: Some(metadata),
    }
}

fn key_of_properties(properties: &sw::EbpfProcessProperties) -> Option<Key> {
    let (pid, entity) = match properties.metadata.as_ref()? {
        Metadata::HostProcess(host) => (host.pid, host.entity.clone()),
        Metadata::K8sProcess(pod) => (pod.pid, pod.entity.clone()),
    };
    Some(key(pid.cast_unsigned(), entity?))
}

/// Key and id of an answer, and whether it bears names.
fn identified(answer: &sw::EbpfProcessDownstream) -> Option<(Key, &str, bool)> {
    let (pid, entity) = match answer.process.as_ref()? {
        Process::HostProcess(host) => (host.pid, host.entity_metadata.clone()),
        Process::K8sProcess(pod) => (pod.pid, pod.entity_metadata.clone()),
    };
    let id = answer.process_id.as_str();
    if id.is_empty() || id.len() > LONGEST_ID {
        return None;
    }
    let named = entity.is_some();
    Some((
        key(pid.cast_unsigned(), entity.unwrap_or_default()),
        id,
        named,
    ))
}

#[cfg(test)]
mod tests;
