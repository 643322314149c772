//! A stand-in for what captures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use perigee_ebpf_profiler::engine::{Capture, Refused, Request, Session, Targets};
use perigee_ebpf_profiler::profile::{Frame, Kind, Process, Profile, Stack, Summary};

/// Count and nanoseconds by kernel's and program's symbols.
pub(crate) type Sums = BTreeMap<(Vec<String>, Vec<String>), (u64, u64)>;

/// Yields the same stacks of every target with every taking, and remembers that.
#[derive(Clone)]
pub(crate) struct Kernel {
    /// Stacks for each process and taking.
    pub(crate) stacks: usize,
    /// What cannot be captured.
    pub(crate) refuses: Option<Kind>,
    /// How often starting is refused before it is not.
    pub(crate) refusals: Arc<AtomicU32>,
    /// What has happened.
    pub(crate) seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<Request>,
    /// Sessions that have not ended.
    pub(crate) open: usize,
    /// What each process was said to have done.
    pub(crate) yielded: BTreeMap<(bool, u32), Sums>,
    /// Targets of the latest session of each kind.
    pub(crate) targets: BTreeMap<bool, BTreeSet<u32>>,
}

impl Kernel {
    pub(crate) fn new() -> Self {
        Self {
            stacks: 2,
            refuses: None,
            refusals: Arc::default(),
            seen: Arc::default(),
        }
    }

    pub(crate) fn yielded(&self, kind: Kind, pid: u32) -> Sums {
        let seen = self.seen.lock().unwrap();
        let sums = seen.yielded.get(&(kind == Kind::OnCpu, pid));
        sums.cloned().unwrap_or_default()
    }

    fn aim(&self, kind: Kind, targets: &Targets) {
        let Targets::Processes(pids) = targets else {
            panic!("a task is about processes");
        };
        let mut seen = self.seen.lock().unwrap();
        seen.targets.insert(kind == Kind::OnCpu, pids.clone());
    }
}

impl Capture for Kernel {
    fn start(&self, request: &Request) -> Result<Box<dyn Session>, Refused> {
        let refusals = &self.refusals;
        let once =
            refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1));
        if self.refuses == Some(request.kind) || once.is_ok() {
            return Err(Refused {
                what: "this kind".to_owned(),
                because: "it is refused".to_owned(),
                missing: None,
            });
        }
        self.aim(request.kind, &request.targets);
        let mut seen = self.seen.lock().unwrap();
        seen.requests.push(request.clone());
        seen.open += 1;
        Ok(Box::new(Running {
            kind: request.kind,
            kernel: self.clone(),
        }))
    }
}

struct Running {
    kind: Kind,
    kernel: Kernel,
}

impl Session for Running {
    fn take(&mut self) -> Profile {
        let mut seen = self.kernel.seen.lock().unwrap();
        let targets = seen.targets[&(self.kind == Kind::OnCpu)].clone();
        let mut profile = empty(self.kind);
        for (index, pid) in targets.iter().enumerate() {
            profile.processes.push(Process {
                pid: *pid,
                name: format!("process {pid}"),
            });
            let sums = seen
                .yielded
                .entry((self.kind == Kind::OnCpu, *pid))
                .or_default();
            for number in 0..self.kernel.stacks {
                let stack = stack(&mut profile, index, *pid, number);
                add(sums, &profile, &stack);
                profile.stacks.push(stack);
            }
        }
        profile
    }

    fn retarget(&mut self, targets: &Targets) -> Result<(), Refused> {
        self.kernel.aim(self.kind, targets);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kernel.seen.lock().unwrap().open -= 1;
    }
}

fn empty(kind: Kind) -> Profile {
    Profile {
        kind,
        period: Duration::from_millis(9),
        started: SystemTime::now(),
        duration: Duration::from_secs(1),
        processes: Vec::new(),
        modules: Vec::new(),
        frames: Vec::new(),
        stacks: Vec::new(),
        summary: Summary::default(),
    }
}

fn stack(profile: &mut Profile, process: usize, pid: u32, number: usize) -> Stack {
    let mut frame = |kernel, name: String| {
        profile.frames.push(Frame {
            name: name.into(),
            kernel,
            module: None,
            address: 0,
        });
        u32::try_from(profile.frames.len() - 1).unwrap()
    };
    // Each second stack is of the program alone.
    let kernel = [
        frame(true, "schedule".to_owned()),
        frame(true, "syscall".to_owned()),
    ];
    let kernel = kernel.into_iter().take(number % 2 * 2).collect();
    let user = vec![
        frame(false, format!("leaf_{number}")),
        frame(false, format!("main_of_{pid}")),
    ];
    Stack {
        process: u32::try_from(process).unwrap(),
        kernel,
        user,
        count: number as u64 % 7 + 1,
        nanos: 1_000_000 * (number as u64 + 1),
        complete: true,
        preempted: false,
    }
}

fn add(sums: &mut Sums, profile: &Profile, stack: &Stack) {
    let names = |indices: &[u32]| {
        let frames = indices.iter().map(|index| &profile.frames[*index as usize]);
        frames.map(|frame| frame.name.to_string()).collect()
    };
    let sum = sums
        .entry((names(&stack.kernel), names(&stack.user)))
        .or_default();
    sum.0 += stack.count;
    // On-CPU tasks have counts only.
    sum.1 += if profile.kind == Kind::OffCpu {
        stack.nanos
    } else {
        0
    };
}
