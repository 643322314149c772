//! All processes that have a name, kept up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::command_line;
use super::facts::{Facts, Glance, Gone, Proc};
use super::host::Host;
use super::kubernetes::{Analyzers, KubernetesSettings, PodFile, Pods};
use super::naming::Named;
use super::rules::Rules;
use super::settings::{Settings, SettingsError};
use super::{Entity, Place};
use crate::access::Access;

const COMMAND_LINE: &str = "command_line";

/// The entities at one moment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Larger by one with each change.
    pub version: u64,
    /// Ordered by PID; those of one process in the order of the analyzers.
    pub entities: Arc<[Entity]>,
}

/// Finds processes and names them. Reads files: not for a runtime thread.
///
/// [`Discovery::scan`] finds everything within its period; the events make starts and ends known at once.
/// Events may be missing, late or wrong: what counts is what `/proc` says then.
pub struct Discovery {
    proc: Proc,
    own_pid: Option<u32>,
    cluster: String,
    access: Access,
    rules: Rules,
    analyzers: Analyzers,
    pods: Option<Arc<dyn Pods>>,
    pods_version: u64,
    host: Host,
    processes: BTreeMap<u32, Seen>,
    known: watch::Sender<Known>,
}

/// A process when it was last looked at.
#[derive(Debug)]
struct Seen {
    started: u64,
    /// [`Glance::program`].
    program: u64,
    /// [`Glance::digest`].
    digest: u64,
    /// Whether its names may change with the pods.
    contained: bool,
    entities: Vec<Entity>,
}

impl Discovery {
    /// Knows nothing until the first scan.
    ///
    /// # Errors
    /// The settings hold something that is no regular expression or no template.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let kubernetes = &settings.kubernetes;
        if !kubernetes.active {
            return Self::build(settings, None);
        }
        check_pods_file(kubernetes)?;
        let pods = PodFile::open(&kubernetes.pods_file, &kubernetes.node_name);
        Self::build(settings, Some(Arc::new(pods)))
    }

    /// Whether one could be made of these; looks at nothing on the machine.
    ///
    /// # Errors
    /// As [`Discovery::new`].
    pub fn check(settings: &Settings) -> Result<(), SettingsError> {
        if settings.kubernetes.active {
            check_pods_file(&settings.kubernetes)?;
        }
        Access::new(&settings.access)?;
        Rules::new(&settings.rules, false)?;
        Analyzers::new(&settings.kubernetes)?;
        Ok(())
    }

    /// The same with pods from elsewhere.
    ///
    /// # Errors
    /// As [`Discovery::new`].
    pub fn with_pods(settings: &Settings, pods: Arc<dyn Pods>) -> Result<Self, SettingsError> {
        Self::build(settings, Some(pods))
    }

    fn build(settings: &Settings, pods: Option<Arc<dyn Pods>>) -> Result<Self, SettingsError> {
        let access = Access::new(&settings.access)?;
        let units = settings.units.unwrap_or(settings.rules.is_empty());
        let proc = Proc::new(&settings.proc_root);
        Ok(Self {
            own_pid: proc.own_pid(),
            cluster: settings.cluster_name.clone(),
            access,
            rules: Rules::new(&settings.rules, units)?,
            analyzers: Analyzers::new(&settings.kubernetes)?,
            pods_version: pods.as_ref().map_or(0, |pods| pods.version()),
            pods,
            host: Host::read(proc.root(), &settings.agent_id),
            proc,
            processes: BTreeMap::new(),
            known: watch::Sender::new(Known::default()),
        })
    }

    /// Looks at every process.
    ///
    /// # Errors
    /// There is no `/proc` where it should be; what was known stays.
    pub fn scan(&mut self) -> io::Result<()> {
        let pids: BTreeSet<u32> = self.proc.pids()?.into_iter().collect();
        let host = Host::read(self.proc.root(), &self.host.agent_id);
        let host_changed = self.host != host;
        self.host = host;
        let pods_changed = self.look_for_pods();
        let ended = |pid: &u32| !pids.contains(pid);
        let gone = self.processes.extract_if(.., |pid, _| ended(pid));
        let mut changed = gone.filter(|(_, seen)| !seen.entities.is_empty()).count() > 0;
        for &pid in &pids {
            let seen = self.processes.get(&pid);
            let contained = seen.is_some_and(|seen| seen.contained);
            changed |= self.update(pid, host_changed || pods_changed && contained);
        }
        if changed {
            self.publish();
        }
        Ok(())
    }

    /// The kernel says that a process started a program, or came to be.
    pub fn on_exec(&mut self, pid: u32) {
        if self.update(pid, true) {
            self.publish();
        }
    }

    /// The kernel says that a process ended. Another that got its PID meanwhile is not forgotten.
    pub fn on_exit(&mut self, pid: u32) {
        let ends = self.proc.stat(pid).map_or(true, |stat| stat.is_ending());
        let changed = if ends {
            self.forget(pid)
        } else {
            self.update(pid, false)
        };
        if changed {
            self.publish();
        }
    }

    /// All entities, ordered by PID.
    pub fn entities(&self) -> Arc<[Entity]> {
        Arc::clone(&self.known.borrow().entities)
    }

    /// A number that changes when the entities do.
    pub fn version(&self) -> u64 {
        self.known.borrow().version
    }

    /// The entities for others to read, and to wait for changes of.
    pub fn subscribe(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Whether a process may be profiled: it exists, is not ours, not the kernel's, and not denied.
    pub fn permits(&self, pid: u32) -> bool {
        let Ok(glance) = self.proc.glance(pid) else {
            return false;
        };
        let facts = || self.proc.complete(pid, &glance);
        self.is_wanted(pid, &glance) && facts().is_ok_and(|facts| self.may_look_at(&facts))
    }

    fn may_look_at(&self, facts: &Facts) -> bool {
        self.access.is_open() || self.access.judge(&facts.command()).is_ok()
    }

    fn is_wanted(&self, pid: u32, glance: &Glance) -> bool {
        Some(pid) != self.own_pid && !glance.stat.is_kernel_thread()
    }

    fn look_for_pods(&mut self) -> bool {
        let Some(pods) = &self.pods else {
            return false;
        };
        pods.refresh();
        let version = pods.version();
        version != std::mem::replace(&mut self.pods_version, version)
    }

    /// Looks at a process; whether its entities are others than before. It is read in full only if it
    /// changed or `anew` is set.
    fn update(&mut self, pid: u32, anew: bool) -> bool {
        let before = self.processes.get(&pid);
        match self.look(pid, before, anew) {
            Ok(None) => false,
            Ok(Some(seen)) => {
                let entities = before.map_or(&[][..], |before| &before.entities);
                let changed = seen.entities != entities;
                self.processes.insert(pid, seen);
                changed
            }
            Err(Gone { pid }) => self.forget(pid),
        }
    }

    fn forget(&mut self, pid: u32) -> bool {
        let seen = self.processes.remove(&pid);
        seen.is_some_and(|seen| !seen.entities.is_empty())
    }

    /// What a process is now, if it may be another than before.
    fn look(&self, pid: u32, before: Option<&Seen>, anew: bool) -> Result<Option<Seen>, Gone> {
        let glance = self.proc.glance(pid)?;
        if glance.stat.is_dead() {
            return Err(Gone { pid });
        }
        let before = before.filter(|seen| seen.started == glance.stat.started);
        let digest = glance.digest();
        if before.is_some_and(|seen| seen.digest == digest) && !anew {
            return Ok(None);
        }
        let mut seen = Seen {
            started: glance.stat.started,
            program: glance.program(),
            digest,
            contained: false,
            entities: Vec::new(),
        };
        if self.is_wanted(pid, &glance) {
            let facts = self.proc.complete(pid, &glance)?;
            seen.contained = !facts.groups.containers.is_empty();
            seen.entities = self.entities_of(&facts);
        }
        if let Some(before) = before.filter(|before| before.program == seen.program) {
            seen.keep_title(before);
        }
        Ok(Some(seen))
    }

    fn entities_of(&self, facts: &Facts) -> Vec<Entity> {
        if !self.may_look_at(facts) {
            return Vec::new();
        }
        let containers = facts.groups.containers.iter();
        let pod = self.pods.as_ref().and_then(|pods| {
            let mut found = containers.map(|id| (pods.of_container(id), id));
            found.find_map(|(pod, id)| pod.map(|pod| (pod, id)))
        });
        let Some((pod, id)) = pod else {
            let named = self.rules.named(&self.host, facts, &self.cluster);
            let properties = |named| self.entity(facts, named, Place::Host, Vec::new());
            return named.map(properties).into_iter().collect();
        };
        let Some(container) = pod.container_of(id) else {
            return Vec::new();
        };
        let at = (&*pod, container);
        let named = self.analyzers.named(&self.host, facts, at, &self.cluster);
        let entity = |named| {
            let properties = vec![
                ("container_ip".to_owned(), pod.ip.clone()),
                ("container_name".to_owned(), container.name.clone()),
                ("pod_name".to_owned(), pod.name.clone()),
            ];
            self.entity(facts, named, Place::Kubernetes, properties)
        };
        named.into_iter().map(entity).collect()
    }

    /// Properties are Rover's, in its order.
    fn entity(
        &self,
        facts: &Facts,
        named: Named,
        place: Place,
        of_pod: Vec<(String, String)>,
    ) -> Entity {
        let property = |name: &str, value: String| (name.to_owned(), value);
        let mut properties = vec![property("host_ip", self.host.address.clone())];
        properties.extend(of_pod);
        properties.extend([
            property("pid", facts.pid.to_string()),
            property(COMMAND_LINE, command_line::shown(facts)),
            // There is no language that we refuse.
            property("support_ebpf_profiling", "true".to_owned()),
        ]);
        Entity {
            pid: facts.pid,
            started: facts.started,
            layer: named.layer,
            service: named.service,
            instance: named.instance,
            process: named.process,
            labels: named.labels,
            place,
            properties,
        }
    }

    /// Tells readers.
    fn publish(&self) {
        let entities = self.processes.values().flat_map(|seen| &seen.entities);
        self.known.send_modify(|known| {
            known.version += 1;
            known.entities = entities.cloned().collect();
        });
    }
}

fn check_pods_file(kubernetes: &KubernetesSettings) -> Result<(), SettingsError> {
    if kubernetes.pods_file.as_os_str().is_empty() {
        return Err(SettingsError::Empty {
            field: "kubernetes.pods_file".to_owned(),
            expected: "a file, as the API server is not asked yet",
        });
    }
    Ok(())
}

impl Seen {
    /// Takes over the command line that was reported. PostgreSQL rewrites its own with every query; that
    /// is no reason to report it again.
    fn keep_title(&mut self, before: &Self) {
        let titles = before.entities.first().map(|it| it.properties.iter());
        let title = titles.and_then(|mut it| it.find(|(name, _)| name == COMMAND_LINE));
        let Some((_, title)) = title else {
            return;
        };
        let properties = self.entities.iter_mut().flat_map(|it| &mut it.properties);
        for (_, value) in properties.filter(|(name, _)| name == COMMAND_LINE) {
            value.clone_from(title);
        }
    }
}

#[cfg(test)]
mod tests;
