//! The programs in the kernel, loaded: attaching them, and what stands in their maps.

use std::collections::HashMap as Owned;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use std::{io, process};

use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, HashMap, IterableMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, PerfEvent, ProgramError};
use aya::sys::Stats;
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::layout::{
    ARENA_WORDS, Count, CountKey, Counters, Event, MAX_ARENAS, MAX_MAPPINGS, MAX_RULES, Process,
    Settings, Target, TargetKey, Words,
};
use super::perf;
use super::shared::Shared;
use crate::unwind::{Mapping, Rule};

/// `BPF_F_MMAPABLE`
const MMAPABLE: u32 = 1 << 10;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cpu.bpf.o"));

/// Something that the kernel did not let us do.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {}", plain(.source.as_ref()))]
pub struct KernelError {
    /// What was tried.
    pub step: &'static str,
    /// The answer.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl KernelError {
    /// What to grant, where the kernel has said that we may not.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self.source.as_ref());
        while let Some(error) = cause {
            let denied = error
                .downcast_ref::<io::Error>()
                .is_some_and(|it| it.kind() == io::ErrorKind::PermissionDenied);
            if denied {
                return Some("CAP_BPF and CAP_PERFMON (or root)".into());
            }
            cause = error.source();
        }
        None
    }
}

/// An error with its causes, each once.
fn plain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        let more = it.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = it.source();
    }
    text
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    step: &'static str,
) -> impl Fn(E) -> KernelError {
    move |source| KernelError {
        step,
        source: source.into(),
    }
}

/// A program and its tracepoint.
type Trace = (&'static str, &'static str);

/// The loaded object. What it attached is detached when it is dropped, or when our process ends.
pub struct Programs {
    ebpf: Ebpf,
    events: RingBuf<MapData>,
    targets: HashMap<MapData, TargetKey, Target>,
    processes: HashMap<MapData, u32, Process>,
    counts: HashMap<MapData, CountKey, Count>,
    known: HashMap<MapData, u64, u32>,
    counters: PerCpuArray<MapData, Counters>,
    arenas: ArrayOfMaps<MapData, Array<MapData, Words>>,
    arena_memory: Vec<(Array<MapData, Words>, Shared<Words>)>,
    rules: Shared<Rule>,
    mappings: Shared<Mapping>,
    settings: Shared<Settings>,
    clocks: Owned<u32, Vec<OwnedFd>>,
    switches: Option<BtfTracePointLinkId>,
    walk: Walker,
    /// What the kernel says of its types; 20 MiB.
    types: Option<Btf>,
}

/// How the programs find a frame's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walker {
    /// By the tables that they were given.
    Tables,
    /// By frame pointers; for kernels before 5.17, which lack `bpf_loop`.
    FramePointers,
}

impl Walker {
    fn sampler(self) -> &'static str {
        match self {
            Self::Tables => "on_cpu",
            Self::FramePointers => "on_cpu_frames",
        }
    }

    fn switches(self) -> &'static str {
        match self {
            Self::Tables => "off_cpu",
            Self::FramePointers => "off_cpu_frames",
        }
    }
}

/// Has the allocator give back what it keeps for later.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers and may be called at any time from any thread.
    let _ = unsafe { libc::malloc_trim(0) };
}

fn take<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, KernelError>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| failed("maps")(format!("no map {name}")))?;
    T::try_from(map).map_err(failed(name))
}

fn share<T: Copy>(
    ebpf: &mut Ebpf,
    name: &'static str,
    elements: u32,
) -> Result<Shared<T>, KernelError> {
    let map = match ebpf.map(name) {
        Some(Map::Array(data)) => data,
        _ => return Err(failed("maps")(format!("no array {name}"))),
    };
    Shared::map(map.fd().as_fd(), elements).map_err(failed(name))
}

impl Programs {
    /// Creates the maps. Programs are loaded when they are first needed.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn open(walk: Walker) -> Result<Self, KernelError> {
        // Without the kernel's types there are samples by frame pointers still.
        let btf = Btf::from_sys_fs().ok();
        let mut ebpf = EbpfLoader::new()
            .btf(btf.as_ref())
            .load(OBJECT)
            .map_err(failed("BPF maps"))?;
        let mut settings: Shared<Settings> = share(&mut ebpf, "settings", 1)?;
        settings.set(
            0,
            Settings {
                own_pid: process::id(),
                ..Settings::default()
            },
        );
        Ok(Self {
            events: take(&mut ebpf, "events")?,
            targets: take(&mut ebpf, "targets")?,
            processes: take(&mut ebpf, "processes")?,
            counts: take(&mut ebpf, "counts")?,
            known: take(&mut ebpf, "known")?,
            counters: take(&mut ebpf, "counters")?,
            arenas: take(&mut ebpf, "arenas")?,
            arena_memory: Vec::new(),
            rules: share(&mut ebpf, "rules", MAX_RULES)?,
            mappings: share(&mut ebpf, "mappings", MAX_MAPPINGS)?,
            settings,
            clocks: Owned::new(),
            switches: None,
            walk,
            types: btf,
            ebpf,
        })
    }

    /// Has every CPU sampled each `period`.
    ///
    /// # Errors
    /// The kernel refuses the program or the clock.
    pub fn start_clock(&mut self, period: Duration) -> Result<(), KernelError> {
        let nanos = u32::try_from(period.as_nanos()).unwrap_or(u32::MAX);
        if self.clocks.contains_key(&nanos) {
            return Ok(());
        }
        let cpus = perf::online_cpus().map_err(failed("list of CPUs"))?;
        let program = self.sampler()?.fd().map_err(failed("on-CPU program"))?;
        let mut clocks = Vec::with_capacity(cpus.len());
        for cpu in cpus {
            let clock = perf::open_cpu_clock(cpu, period).map_err(failed("clock of a CPU"))?;
            perf::attach(clock.as_fd(), program.as_fd()).map_err(failed("program at a clock"))?;
            clocks.push(clock);
        }
        self.clocks.insert(nanos, clocks);
        Ok(())
    }

    /// Ends what `start_clock` began.
    pub fn stop_clock(&mut self, period: Duration) {
        let nanos = u32::try_from(period.as_nanos()).unwrap_or(u32::MAX);
        // Closed, they stop.
        self.clocks.remove(&nanos);
    }

    fn sampler(&mut self) -> Result<&mut PerfEvent, KernelError> {
        let program: &mut PerfEvent = self
            .ebpf
            .program_mut(self.walk.sampler())
            .ok_or_else(|| failed("on-CPU program")("not in the object"))?
            .try_into()
            .map_err(failed::<ProgramError>("on-CPU program"))?;
        if program.fd().is_err() {
            program.load().map_err(failed("on-CPU program"))?;
        }
        Ok(program)
    }

    /// Loads programs at tracepoints of the kernel, unless they are loaded.
    fn load_traces(&mut self, wanted: &[Trace]) -> Result<(), KernelError> {
        for &(name, tracepoint) in wanted {
            if self.trace(name)?.fd().is_ok() {
                continue;
            }
            let types = match self.types.take() {
                Some(types) => types,
                None => Btf::from_sys_fs().map_err(failed("the kernel's types (BTF)"))?,
            };
            let loaded = self.trace(name)?.load(tracepoint, &types);
            self.types = Some(types);
            loaded.map_err(failed(name))?;
        }
        Ok(())
    }

    fn attach_traces(&mut self, wanted: &[Trace]) -> Result<Vec<BtfTracePointLinkId>, KernelError> {
        self.load_traces(wanted)?;
        let attach = |(name, _): &Trace| self.trace(name)?.attach().map_err(failed(name));
        wanted.iter().map(attach).collect()
    }

    fn trace(&mut self, name: &'static str) -> Result<&mut BtfTracePoint, KernelError> {
        let program = self.ebpf.program_mut(name);
        let program = program.ok_or_else(|| failed(name)("not in the object"))?;
        program.try_into().map_err(failed::<ProgramError>(name))
    }

    /// Gives back the memory that only loading needs.
    pub fn forget_types(&mut self) {
        self.types = None;
        give_back_memory();
    }

    /// Loads the program that samples, so that it is known whether the kernel takes it.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn load_sampler(&mut self) -> Result<(), KernelError> {
        self.sampler().map(drop)
    }

    /// Loads the program that counts waits, so that it is known whether the kernel takes it.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn load_switches(&mut self) -> Result<(), KernelError> {
        let loaded = self.load_traces(&[(self.walk.switches(), "sched_switch")]);
        self.forget_types();
        loaded
    }

    /// Has waits counted.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn start_switches(&mut self) -> Result<(), KernelError> {
        if self.switches.is_none() {
            let links = self.attach_traces(&[(self.walk.switches(), "sched_switch")]);
            self.forget_types();
            self.switches = links?.pop();
        }
        Ok(())
    }

    /// Ends what `start_switches` began.
    pub fn stop_switches(&mut self) {
        let program = self.ebpf.program_mut(self.walk.switches());
        let program: Option<&mut BtfTracePoint> = program.and_then(|it| it.try_into().ok());
        if let (Some(link), Some(program)) = (self.switches.take(), program) {
            // It fails only for what is detached already.
            let _ = program.detach(link);
        }
    }

    /// Has starts and ends of programs told, for as long as this value lives.
    ///
    /// # Errors
    /// The kernel refuses the programs.
    pub fn start_process_events(&mut self) -> Result<(), KernelError> {
        self.attach_traces(&[
            ("process_exec", "sched_process_exec"),
            ("process_exit", "sched_process_exit"),
            ("process_fork", "sched_process_fork"),
        ])?;
        Ok(())
    }

    /// Waits until there are events worth reading or someone adds to the eventfd `wake`, at most for
    /// `timeout`.
    ///
    /// # Errors
    /// The kernel has no memory to wait with.
    pub fn wait(&self, wake: &OwnedFd, timeout: Duration) -> io::Result<()> {
        let mut fds = [
            PollFd::new(&self.events, PollFlags::IN),
            PollFd::new(wake, PollFlags::IN),
        ];
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[1].revents().contains(PollFlags::IN) {
            // Sets it back to zero; it says nothing else.
            let _ = rustix::io::read(wake, &mut [0; 8]);
        }
        Ok(())
    }

    /// Reads the next event, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        while let Some(bytes) = self.events.next() {
            if let Some(event) = Event::parse(&bytes) {
                return Some(event);
            }
        }
        None
    }

    /// Adds or removes what is sampled.
    ///
    /// # Errors
    /// There are as many targets as the map holds.
    pub fn set_target(
        &mut self,
        key: TargetKey,
        target: Option<Target>,
    ) -> Result<(), KernelError> {
        if key.pid == 0 {
            let every = u32::from(target.is_some());
            self.change_settings(|it| it.every = every);
        }
        match target {
            Some(target) => self
                .targets
                .insert(key, target, 0)
                .map_err(failed("target")),
            None => {
                // It may have gone with its process.
                let _ = self.targets.remove(&key);
                Ok(())
            }
        }
    }

    /// Tells where a process's mappings stand, or that they are not known any more.
    ///
    /// # Errors
    /// There are as many processes as the map holds.
    pub fn set_process(&mut self, pid: u32, process: Option<Process>) -> Result<(), KernelError> {
        match process {
            Some(process) => self
                .processes
                .insert(pid, process, 0)
                .map_err(failed("process")),
            None => {
                // The programs remove it too.
                let _ = self.processes.remove(&pid);
                Ok(())
            }
        }
    }

    /// Has the programs send a stack again.
    pub fn forget(&mut self, id: u64) {
        // The kernel forgets by itself when the map is full.
        let _ = self.known.remove(&id);
    }

    /// Whether starts of programs are told, beside ends.
    pub fn watch_exec(&mut self, watch: bool) {
        self.change_settings(|it| it.watch_exec = u32::from(watch));
    }

    fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings.get(0).unwrap_or_default();
        change(&mut settings);
        self.settings.set(0, settings);
    }

    /// Begins a new collection and yields the samples of those before. All events that explain them have
    /// been sent by then: read these first.
    pub fn turn_epoch(&mut self) -> u32 {
        let mut epoch = 0;
        self.change_settings(|it| {
            it.epoch = it.epoch.wrapping_add(1);
            epoch = it.epoch;
        });
        // A program that has read the former number is done by then: it runs with interrupts off.
        std::thread::sleep(Duration::from_millis(1));
        epoch
    }

    /// Takes the samples of all collections but `epoch` out of the map.
    pub fn collect(&mut self, epoch: u32) -> Vec<(CountKey, Count)> {
        let all: Vec<_> = self.counts.iter().filter_map(Result::ok).collect();
        let old: Vec<_> = all
            .into_iter()
            .filter(|(key, _)| key.epoch != epoch)
            .collect();
        for (key, _) in &old {
            // Nobody else removes them.
            let _ = self.counts.remove(key);
        }
        old
    }

    /// What happened so far, all CPUs together.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        let Ok(per_cpu) = self.counters.get(&0, 0) else {
            return sum;
        };
        for one in per_cpu.iter() {
            sum.samples += one.samples;
            sum.ring_full += one.ring_full;
            sum.counts_full += one.counts_full;
            sum.waits_full += one.waits_full;
            sum.copies += one.copies;
            sum.unreadable += one.unreadable;
            sum.no_rule += one.no_rule;
            sum.lost += one.lost;
        }
        sum
    }

    /// Has the kernel measure how long programs run, until the answer is dropped.
    ///
    /// # Errors
    /// It needs `CAP_SYS_ADMIN`.
    pub fn measure() -> io::Result<OwnedFd> {
        aya::sys::enable_stats(Stats::RunTime).map_err(|e| e.io_error)
    }

    /// How long our programs have run while the kernel measured it.
    #[must_use]
    pub fn run_time(&self) -> Duration {
        let programs = self
            .ebpf
            .programs()
            .filter_map(|(_, program)| program.info().ok());
        programs.map(|it| it.run_time()).sum()
    }

    /// Writes a rule.
    pub fn set_rule(&mut self, number: u16, rule: Rule) {
        self.rules.set(usize::from(number), rule);
    }

    /// Writes a mapping.
    pub fn set_mapping(&mut self, index: u32, mapping: Mapping) {
        self.mappings.set(index as usize, mapping);
    }

    /// How many arenas there are.
    #[must_use]
    pub fn arenas(&self) -> u32 {
        u32::try_from(self.arena_memory.len()).unwrap_or(u32::MAX)
    }

    /// Adds an arena.
    ///
    /// # Errors
    /// There are [`MAX_ARENAS`], or the kernel has no memory.
    pub fn add_arena(&mut self) -> Result<(), KernelError> {
        let number = self.arenas();
        if number >= MAX_ARENAS {
            return Err(failed("arena")(format!("there are {MAX_ARENAS}")));
        }
        let array = Array::create(ARENA_WORDS / 2, MMAPABLE).map_err(failed("arena"))?;
        let memory =
            Shared::map(array.map().fd().as_fd(), ARENA_WORDS / 2).map_err(failed("arena"))?;
        self.arenas
            .set(number, &array, 0)
            .map_err(failed("arena"))?;
        self.arena_memory.push((array, memory));
        Ok(())
    }

    /// Writes a word of an arena.
    pub fn set_word(&mut self, arena: u32, word: u32, value: u32) {
        if let Some((_, memory)) = self.arena_memory.get_mut(arena as usize) {
            let index = (word / 2) as usize;
            let mut pair = memory.get(index).unwrap_or_default();
            pair.0[(word % 2) as usize] = value;
            memory.set(index, pair);
        }
    }

    /// Reads a word of an arena.
    #[must_use]
    pub fn word(&self, arena: u32, word: u32) -> u32 {
        let memory = self.arena_memory.get(arena as usize);
        let pair = memory.and_then(|(_, memory)| memory.get((word / 2) as usize));
        pair.map_or(0, |it| it.0[(word % 2) as usize])
    }
}
