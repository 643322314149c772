//! Processes that eBPF agents have reported: which ids an OAP gives them, and whom it has tasks for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use perigee_proto::skywalking::v3 as sw;

use super::decode::hex;

/// An OAP has no tasks for a process that it has not heard of for so long.
const MEMORY: Duration = Duration::from_secs(5 * 60);
/// Processes that are remembered: names are the callers' to choose.
const MAX_PROCESSES: usize = 100_000;

/// A process as an OAP stores it.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) instance: String,
    pub(super) name: String,
    /// The last agent that has reported it.
    agent: String,
    /// The last keepAlive: without one there is no service, and no task is made for it.
    pinged: Option<Instant>,
}

/// The processes by id.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<BTreeMap<String, Process>>);

impl Processes {
    /// An agent has reported it; returns its id.
    pub(super) fn report(&self, agent: &str, entity: &sw::EbpfProcessEntityMetadata) -> String {
        let id = process_id(entity);
        let mut processes = self.0.lock();
        if let Some(process) = processes.get_mut(&id) {
            agent.clone_into(&mut process.agent);
        } else if processes.len() < MAX_PROCESSES {
            let process = Process {
                id: id.clone(),
                service: entity.service_name.clone(),
                instance: entity.instance_name.clone(),
                name: entity.process_name.clone(),
                agent: agent.to_owned(),
                pinged: None,
            };
            processes.insert(id.clone(), process);
        }
        id
    }

    /// It is said to live.
    pub(super) fn ping(&self, entity: &sw::EbpfProcessEntityMetadata) {
        if let Some(process) = self.0.lock().get_mut(&process_id(entity)) {
            process.pinged = Some(Instant::now());
        }
    }

    /// Those that there are, in no order that means anything.
    pub(super) fn all(&self) -> Vec<Process> {
        self.0.lock().values().cloned().collect()
    }

    /// Those of an agent that an OAP has tasks for.
    pub(super) fn of(&self, agent: &str) -> Vec<Process> {
        let lives = |process: &&Process| process.pinged.is_some_and(|at| at.elapsed() < MEMORY);
        let processes = self.0.lock();
        let own = processes.values().filter(|process| process.agent == agent);
        own.filter(lives).cloned().collect()
    }
}

/// As OAP's `IDManager.ProcessID` makes it: every node gives the same.
pub(super) fn process_id(entity: &sw::EbpfProcessEntityMetadata) -> String {
    let service = BASE64_STANDARD.encode(&entity.service_name);
    let instance = BASE64_STANDARD.encode(&entity.instance_name);
    let name = format!("{}_{service}.1_{instance}", entity.process_name);
    hex(ring::digest::digest(&ring::digest::SHA256, name.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'p_cw==.1_aQ==' | sha256sum`
    #[test]
    fn an_id_is_that_of_an_oap() {
        let entity = sw::EbpfProcessEntityMetadata {
            service_name: "s".to_owned(),
            instance_name: "i".to_owned(),
            process_name: "p".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            process_id(&entity),
            "806bdceeb070a633707fdf6ea1555456597e16a72f8c4ebf2933e612c4d279e0"
        );
    }
}
