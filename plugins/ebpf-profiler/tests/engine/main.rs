//! The engine on this machine's kernel: every way to capture, on a program that runs here.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use perigee_ebpf_profiler::access::{Access, AccessSettings};
use perigee_ebpf_profiler::bpf::programs::Walker;
use perigee_ebpf_profiler::engine::{
    Capture, Kernel, ProcessEvent, Refused, Request, Sampling, Session, Settings, Targets,
};
use perigee_ebpf_profiler::profile::{Kind, Profile};
use perigee_ebpf_profiler::tier::Tier;

/// `spin` is called by `hot` and `hot` by `main`; without frame pointers unless asked for.
const PROGRAM: &str = "
    volatile unsigned long sum;
    __attribute__((noinline)) void spin(void) { for (int i = 0; i < 100000; i++) sum += i; }
    __attribute__((noinline)) void hot(void) { spin(); sum++; }
    int main(void) { for (;;) hot(); }
";
const PERIOD: Duration = Duration::from_micros(1001);
/// Enough for some hundred samples, also where others compute too.
const LONG: Duration = Duration::from_secs(1);

/// The captures must not see each other's programs, and two cores are soon busy.
static ALONE: Mutex<()> = Mutex::new(());

/// Nothing where captures cannot be tried.
fn alone() -> Option<MutexGuard<'static, ()>> {
    let reason = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if Command::new("cc")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        "no cc"
    } else {
        return Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner));
    };
    println!("skipped: {reason}");
    None
}

/// A program that computes until it is dropped.
struct Busy {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Busy {
    fn start(name: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (source, program) = (directory.path().join("busy.c"), directory.path().join(name));
        fs::write(&source, PROGRAM).unwrap();
        let compiled = Command::new("cc")
            .args(["-O1", "-o"])
            .arg(&program)
            .arg(&source)
            .args(options)
            .status();
        assert!(compiled.unwrap().success());
        Self {
            child: Command::new(program).spawn().unwrap(),
            _directory: directory,
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Nanoseconds of CPU time.
    fn ran(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn request(targets: Targets, period: Duration) -> Request {
    Request {
        kind: Kind::OnCpu,
        targets,
        period,
        minimum: Duration::ZERO,
        elastic: false,
    }
}

fn only(busy: &Busy) -> Targets {
    Targets::Processes(BTreeSet::from([busy.pid()]))
}

/// Takes until there are so many samples; what was taken last has to hold the rest.
fn take(session: &mut dyn Session, samples: u64) -> Vec<Profile> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut taken = Vec::new();
    while taken
        .iter()
        .map(|it: &Profile| it.summary.samples)
        .sum::<u64>()
        < samples
    {
        assert!(Instant::now() < deadline, "only {taken:?}");
        thread::sleep(LONG);
        taken.push(session.take());
    }
    taken
}

/// Samples whose stack has these functions, outermost first, one below the other; and all.
fn through(profiles: &[Profile], functions: &[&str]) -> (u64, u64) {
    let (mut found, mut all) = (0, 0);
    for profile in profiles {
        for stack in &profile.stacks {
            let mut wanted = functions.iter();
            let mut next = wanted.next();
            for frame in profile.frames_of(stack).rev() {
                if next.is_some_and(|it| **it == *frame.name) {
                    next = wanted.next();
                }
            }
            found += if next.is_none() { stack.count } else { 0 };
            all += stack.count;
        }
    }
    (found, all)
}

fn nanos(profile: &Profile) -> u64 {
    profile.stacks.iter().map(|it| it.nanos).sum()
}

fn assert_nearly_all((found, all): (u64, u64)) {
    assert!(found * 100 >= all * 98 && all > 0, "{found} of {all}");
}

#[test]
fn tables_lead_through_a_program_without_frame_pointers() {
    let Some(_alone) = alone() else { return };
    let busy = Busy::start("plain", &["-fomit-frame-pointer"]);
    let kernel = Kernel::open(Settings::default(), Walker::Tables).unwrap();
    let mut session = kernel.start(&request(only(&busy), PERIOD)).unwrap();
    let profiles = take(&mut *session, 300);
    assert_nearly_all(through(&profiles, &["_start", "main", "hot", "spin"]));
    assert!(profiles.iter().all(|it| it.summary.incomplete == 0));
}

#[test]
fn frame_pointers_lead_through_a_program_that_has_them() {
    let Some(_alone) = alone() else { return };
    let busy = Busy::start("framed", &["-fno-omit-frame-pointer", "-O0"]);
    let kernel = Kernel::open(Settings::default(), Walker::FramePointers).unwrap();
    let mut session = kernel.start(&request(only(&busy), PERIOD)).unwrap();
    assert_nearly_all(through(&take(&mut *session, 300), &["main", "hot", "spin"]));
}

#[test]
fn perf_rings_and_tables_do_without_programs_in_the_kernel() {
    let Some(_alone) = alone() else { return };
    let busy = Busy::start("rings", &["-fomit-frame-pointer"]);
    for tier in [Tier::PerfRing, Tier::OwnProcesses] {
        let sampling = Sampling::open(Settings::default(), tier).unwrap();
        let mut session = sampling.start(&request(only(&busy), PERIOD)).unwrap();
        let profiles = take(&mut *session, 300);
        assert_nearly_all(through(&profiles, &["_start", "main", "hot", "spin"]));
        let off_cpu = Request {
            kind: Kind::OffCpu,
            ..request(only(&busy), PERIOD)
        };
        let refused: Refused = sampling.start(&off_cpu).err().unwrap();
        assert!(
            refused
                .to_string()
                .starts_with("off-CPU profiling is not possible: "),
            "{refused}"
        );
    }
}

#[test]
fn rings_above_the_budget_are_filled_less_often_and_samples_weigh_more() {
    let Some(_alone) = alone() else { return };
    let busy = Busy::start("costly", &[]);
    for tier in [Tier::PerfRing, Tier::OwnProcesses] {
        let settings = Settings {
            cpu_percent: 0.001,
            ..Settings::default()
        };
        let sampling = Sampling::open(settings, tier).unwrap();
        let elastic = Request {
            elastic: true,
            ..request(only(&busy), PERIOD)
        };
        let mut strict = sampling.start(&request(only(&busy), PERIOD * 3)).unwrap();
        let mut session = sampling.start(&elastic).unwrap();
        let ran = busy.ran();
        let (deadline, mut profiles) = (Instant::now() + Duration::from_secs(60), Vec::new());
        let is_slow = |it: &Profile| it.period >= PERIOD * 4;
        while profiles.last().is_none_or(|it| !is_slow(it)) {
            assert!(Instant::now() < deadline, "{tier}: {profiles:?}");
            thread::sleep(LONG);
            profiles.push(session.take());
        }
        let (ran, nanos) = (busy.ran() - ran, profiles.iter().map(nanos).sum::<u64>());
        let share = nanos as f64 / ran as f64;
        assert!((share - 1.0).abs() < 0.1, "{tier}: {nanos} of {ran} ns");
        let periods: Vec<_> = profiles.iter().map(|it| it.period).collect();
        assert!(periods.contains(&PERIOD), "{tier}: {periods:?}");
        assert_eq!(strict.take().period, PERIOD * 3, "{tier}");
        let later = sampling.start(&elastic).unwrap().take();
        assert!(
            is_slow(&later),
            "{tier}: a new session has {:?}",
            later.period
        );
    }
}

/// Works until there is the file of its second argument, then becomes its first. Its functions lie where those
/// of another build of it lie.
const BECOMES: &str = "
    #include <unistd.h>
    volatile unsigned long sum;
    __attribute__((noinline)) void WORK(void) { for (int i = 0; i < LOOPS; i++) sum += i; }
    int main(int count, char **of) {
        for (int n = 1;; n++) {
            WORK();
            if (count > 2 && n % 50 == 0 && !access(of[2], F_OK)) execl(of[1], of[1], (char *)0);
        }
    }
";

/// A program that becomes another when its file is made.
fn start_that_becomes(directory: &Path) -> Child {
    // With the same code they would have the same build ID, and the names of one of them.
    let build = |name: &str, loops: u32| {
        let (source, program) = (directory.join("becomes.c"), directory.join(name));
        fs::write(&source, BECOMES).unwrap();
        let compiled = Command::new("cc")
            .args(["-O0", "-no-pie", "-o"])
            .arg(&program)
            .arg(&source)
            .arg(format!("-DWORK=work_of_{name}"))
            .arg(format!("-DLOOPS={loops}"))
            .status();
        assert!(compiled.unwrap().success());
        program
    };
    let (former, latter) = (build("former", 100_000), build("latter", 100_001));
    let mut command = Command::new(former);
    command.arg(latter).arg(directory.join("now"));
    command.spawn().unwrap()
}

/// Asserts that samples have the name and the functions of what the process was when they were taken.
fn assert_programs_are_told_apart(capture: &dyn Capture, how: &str) {
    let directory = tempfile::tempdir().unwrap();
    let busy = Busy {
        child: start_that_becomes(directory.path()),
        _directory: directory,
    };
    let mut session = capture.start(&request(only(&busy), PERIOD)).unwrap();
    let mut second = capture.start(&request(only(&busy), PERIOD * 3)).unwrap();
    let mut seen = [(0, 0); 2];
    let mut wait_for = |which: usize| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while seen[which].1 < 300 {
            assert!(Instant::now() < deadline, "{how}: {seen:?}");
            thread::sleep(LONG / 2);
            for profile in [session.take(), second.take()] {
                for (seen, name) in seen.iter_mut().zip(["former", "latter"]) {
                    let mut of = profile.clone();
                    of.stacks
                        .retain(|it| of.processes[it.process as usize].name == name);
                    let (found, all) = through(&[of], &["main", &format!("work_of_{name}")]);
                    *seen = (seen.0 + found, seen.1 + all);
                }
            }
        }
    };
    wait_for(0);
    // Some that are of the former program are named only after its end.
    thread::sleep(LONG / 2);
    fs::write(busy._directory.path().join("now"), "").unwrap();
    wait_for(1);
    for found in seen {
        assert_nearly_all(found);
    }
}

#[test]
fn rings_tell_a_program_from_what_it_was_before() {
    let Some(_alone) = alone() else { return };
    for tier in [Tier::PerfRing, Tier::OwnProcesses] {
        let sampling = Sampling::open(Settings::default(), tier).unwrap();
        assert_programs_are_told_apart(&sampling, &tier.to_string());
    }
}

#[test]
fn programs_in_the_kernel_tell_a_program_from_what_it_was_before() {
    let Some(_alone) = alone() else { return };
    for walker in [Walker::Tables, Walker::FramePointers] {
        let kernel = Kernel::open(Settings::default(), walker).unwrap();
        assert_programs_are_told_apart(&kernel, &format!("{walker:?}"));
    }
}

#[test]
fn two_sessions_of_one_program_count_each_at_its_own_rate() {
    let Some(_alone) = alone() else { return };
    let busy = Busy::start("twice", &[]);
    let kernel = Kernel::open(Settings::default(), Walker::Tables).unwrap();
    let mut fast = kernel.start(&request(Targets::All, PERIOD)).unwrap();
    let mut slow = kernel.start(&request(only(&busy), PERIOD * 10)).unwrap();
    take(&mut *slow, 100);
    // Of the same second now, all of it.
    let (_, _) = (fast.take(), slow.take());
    thread::sleep(3 * LONG);
    let (many, few) = (fast.take(), slow.take());
    let of_busy = |profile: &Profile| {
        let stacks = profile.stacks.iter();
        let own = stacks.filter(|it| profile.processes[it.process as usize].pid == busy.pid());
        own.map(|it| it.nanos).sum::<u64>()
    };
    let (many, few) = (of_busy(&many) as f64, of_busy(&few) as f64);
    assert!(
        (many / few - 1.0).abs() < 0.1,
        "{many} ns and {few} ns of CPU time"
    );
    drop(slow);
    drop(kernel.start(&request(Targets::All, PERIOD * 7)).unwrap());
    fast.take();
    assert_nearly_all(through(&take(&mut *fast, 100), &[]));
}

#[test]
fn a_session_yields_each_sample_once_and_follows_its_targets() {
    let Some(_alone) = alone() else { return };
    let (one, other) = (Busy::start("one", &[]), Busy::start("other", &[]));
    let kernel = Kernel::open(Settings::default(), Walker::Tables).unwrap();
    let began = Instant::now();
    let mut session = kernel.start(&request(only(&one), PERIOD)).unwrap();
    let mut taken = take(&mut *session, 200);
    taken.push(session.take());
    let time = taken
        .iter()
        .flat_map(|it| &it.stacks)
        .map(|it| it.nanos)
        .sum::<u64>();
    assert!(
        Duration::from_nanos(time) <= began.elapsed(),
        "{time} ns in {:?}",
        began.elapsed()
    );
    session.retarget(&only(&other)).unwrap();
    session.take();
    let after = take(&mut *session, 100);
    let names: BTreeSet<_> = after
        .iter()
        .flat_map(|it| &it.processes)
        .map(|it| &*it.name)
        .collect();
    assert_eq!(names, BTreeSet::from(["other"]));
}

#[test]
fn a_denied_program_is_in_no_profile() {
    let Some(_alone) = alone() else { return };
    let (secret, open) = (Busy::start("secret", &[]), Busy::start("open", &[]));
    let access = AccessSettings {
        deny: vec!["/secret$".to_owned()],
        ..AccessSettings::default()
    };
    let settings = Settings {
        access: Access::new(&access).unwrap(),
        ..Settings::default()
    };
    for (way, capture) in [
        (
            "BPF",
            Box::new(Kernel::open(settings.clone(), Walker::Tables).unwrap()) as Box<dyn Capture>,
        ),
        (
            "rings",
            Box::new(Sampling::open(settings, Tier::PerfRing).unwrap()),
        ),
    ] {
        let refused = capture
            .start(&request(only(&secret), PERIOD))
            .err()
            .unwrap();
        assert!(
            refused.to_string().contains("matches `/secret$` in deny"),
            "{refused}"
        );
        let mut session = capture.start(&request(Targets::All, PERIOD)).unwrap();
        let mut seen = BTreeSet::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !seen.contains(&open.pid()) {
            assert!(
                Instant::now() < deadline,
                "{way}: nothing of the other program"
            );
            thread::sleep(LONG);
            let profile = session.take();
            seen.extend(
                profile
                    .stacks
                    .iter()
                    .map(|it| profile.processes[it.process as usize].pid),
            );
        }
        assert!(!seen.contains(&secret.pid()), "{way}");
    }
}

#[test]
fn starts_and_ends_of_programs_are_told() {
    let Some(_alone) = alone() else { return };
    let kernel = Kernel::open(Settings::default(), Walker::Tables).unwrap();
    let events = kernel.watch();
    // A second command is obeyed after the first.
    drop(
        kernel
            .start(&request(Targets::Processes(BTreeSet::new()), PERIOD))
            .unwrap(),
    );
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let mut wanted = vec![
        ProcessEvent::Exec(child.id()),
        ProcessEvent::Exit(child.id()),
    ];
    while let Some(next) = wanted.first() {
        let event = events.recv_timeout(Duration::from_secs(30)).unwrap();
        if event == *next {
            wanted.remove(0);
        }
    }
}

#[test]
fn nothing_is_left_when_the_last_handle_is_gone() {
    let Some(_alone) = alone() else { return };
    let kernel = Kernel::open(Settings::default(), Walker::Tables).unwrap();
    let session = kernel.start(&request(Targets::All, PERIOD)).unwrap();
    let ours = || {
        let links = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|it| fs::read_link(it.ok()?.path()).ok());
        let is_ours = |it: &PathBuf| {
            ["bpf-prog", "bpf-map", "[perf_event]"]
                .iter()
                .any(|name| it.to_string_lossy().contains(name))
        };
        links.filter(is_ours).count()
    };
    assert!(ours() > 0);
    drop(session);
    drop(kernel);
    let deadline = Instant::now() + Duration::from_secs(10);
    while ours() > 0 {
        assert!(Instant::now() < deadline, "{} descriptors are left", ours());
        thread::yield_now();
    }
}
