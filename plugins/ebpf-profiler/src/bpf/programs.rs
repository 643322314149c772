//! The programs in the kernel: loading and attaching them. `maps` is about what stands in their maps.

mod maps;

use std::collections::{BTreeMap, BTreeSet, HashMap as Owned, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, PerfEvent, ProgramError};
use aya::sys::Stats;
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::layout::{
    Count, CountKey, Counters, Event, MAX_MAPPINGS, Process, Settings, Target, TargetKey, Wait,
    Words,
};
use super::perf;
pub use super::refusal::KernelError;
use super::refusal::failed;
use super::shared::Shared;
use crate::unwind::rules::MOST_RULES;
use crate::unwind::{Mapping, Rule};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cpu.bpf.o"));

/// Least and most bytes of the ring of events, and what each CPU adds to it.
const LEAST_RING: u32 = 1 << 20;
const MOST_RING: u32 = 8 << 20;
const RING_OF_A_CPU: u32 = 256 << 10;

/// A program and its tracepoint.
type Trace = (&'static str, &'static str);

/// The loaded object. What it attached is detached when it is dropped, or when our process ends.
pub struct Programs {
    ebpf: Ebpf,
    events: RingBuf<MapData>,
    /// Read already, while there was no time for them.
    aside: VecDeque<Event>,
    targets: HashMap<MapData, TargetKey, Target>,
    processes: HashMap<MapData, u32, Process>,
    counts: HashMap<MapData, CountKey, Count>,
    known: HashMap<MapData, u64, u32>,
    waits: HashMap<MapData, u32, Wait>,
    counters: PerCpuArray<MapData, Counters>,
    arenas: ArrayOfMaps<MapData, Array<MapData, Words>>,
    arena_memory: Vec<(Array<MapData, Words>, Shared<Words>)>,
    rules: Shared<Rule>,
    mappings: Shared<Mapping>,
    settings: Shared<Settings>,
    /// Periods for which everybody is sampled.
    everybody: BTreeSet<u32>,
    /// By period, then by CPU.
    clocks: Owned<u32, BTreeMap<u32, OwnedFd>>,
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
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(failed("maps")(format!("no array {name}")));
    };
    Shared::map(map.fd().as_fd(), elements).map_err(failed(name))
}

/// All CPUs write to one ring, which has to hold what they send while we are busy.
fn ring_size() -> u32 {
    let cpus = perf::online_cpus().map_or(1, |cpus| cpus.len());
    let wanted = u32::try_from(cpus)
        .unwrap_or(u32::MAX)
        .saturating_mul(RING_OF_A_CPU);
    wanted.clamp(LEAST_RING, MOST_RING).next_power_of_two()
}

fn online_cpus() -> Result<Vec<u32>, KernelError> {
    perf::online_cpus().map_err(failed("list of CPUs"))
}

impl Programs {
    /// Creates the maps. Programs are loaded when they are first needed. `own_pid` is what the host calls us.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn open(walk: Walker, own_pid: u32) -> Result<Self, KernelError> {
        // Without the kernel's types there are samples by frame pointers still.
        let btf = Btf::from_sys_fs().ok();
        let mut ebpf = EbpfLoader::new()
            .btf(btf.as_ref())
            .map_max_entries("events", ring_size())
            .load(OBJECT)
            .map_err(failed("BPF maps"))?;
        let mut settings: Shared<Settings> = share(&mut ebpf, "settings", 1)?;
        settings.set(
            0,
            Settings {
                own_pid,
                ..Settings::default()
            },
        );
        Ok(Self {
            events: take(&mut ebpf, "events")?,
            aside: VecDeque::new(),
            targets: take(&mut ebpf, "targets")?,
            processes: take(&mut ebpf, "processes")?,
            counts: take(&mut ebpf, "counts")?,
            known: take(&mut ebpf, "known")?,
            waits: take(&mut ebpf, "waits")?,
            counters: take(&mut ebpf, "counters")?,
            arenas: take(&mut ebpf, "arenas")?,
            arena_memory: Vec::new(),
            rules: share(&mut ebpf, "rules", MOST_RULES)?,
            mappings: share(&mut ebpf, "mappings", MAX_MAPPINGS)?,
            settings,
            everybody: BTreeSet::new(),
            clocks: Owned::new(),
            switches: None,
            walk,
            types: btf,
            ebpf,
        })
    }

    /// How the programs find a frame's caller.
    #[must_use]
    pub fn walker(&self) -> Walker {
        self.walk
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
        let mut clocks = BTreeMap::new();
        self.cover(&online_cpus()?, nanos, &mut clocks)?;
        self.clocks.insert(nanos, clocks);
        Ok(())
    }

    /// Gives CPUs that came later their clocks, and forgets those of CPUs that went.
    ///
    /// # Errors
    /// As of [`Programs::start_clock`].
    pub fn follow_cpus(&mut self) -> Result<(), KernelError> {
        if self.clocks.is_empty() {
            return Ok(());
        }
        let cpus = online_cpus()?;
        let mut all = std::mem::take(&mut self.clocks);
        let mut clocks = all.iter_mut();
        let covered = clocks.try_for_each(|(nanos, clocks)| self.cover(&cpus, *nanos, clocks));
        self.clocks = all;
        covered
    }

    fn cover(
        &mut self,
        cpus: &[u32],
        nanos: u32,
        clocks: &mut BTreeMap<u32, OwnedFd>,
    ) -> Result<(), KernelError> {
        // It does not go on when its CPU comes back. One that went and came since the last look is not noticed.
        clocks.retain(|cpu, _| cpus.contains(cpu));
        let program = self.sampler()?.fd().map_err(failed("on-CPU program"))?;
        for &cpu in cpus {
            if clocks.contains_key(&cpu) {
                continue;
            }
            let clock = match perf::open_cpu_clock(cpu, Duration::from_nanos(nanos.into())) {
                Ok(clock) => clock,
                // It has just gone.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
                Err(error) => return Err(failed("clock of a CPU")(error)),
            };
            perf::attach(clock.as_fd(), program.as_fd()).map_err(failed("program at a clock"))?;
            clocks.insert(cpu, clock);
        }
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
            self.forget_waits();
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
        // The kernel does not wake us for what we have read.
        let timeout = if self.aside.is_empty() {
            timeout
        } else {
            Duration::ZERO
        };
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
}
