use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;

/// Seven tenths of its time in `hot`, three in `warm`; prints where its functions begin. GCC gives a leaf
/// a frame only if it asks for its address.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdint.h>
static volatile uint64_t sink;
static void *volatile frame;
#define RUN(n) do { frame = __builtin_frame_address(0); for (uint64_t i = 0; i < (n); i++) sink += i; } while (0)
__attribute__((noinline)) void hot(uint64_t n) { RUN(n); }
__attribute__((noinline)) void warm(uint64_t n) { RUN(n); }
__attribute__((noinline)) void work(void) { hot(70000); warm(30000); sink++; }
int main(void) {
    printf("%lx %lx %lx %lx\n", (long)hot, (long)warm, (long)work, (long)main);
    fflush(stdout);
    for (;;) work();
}
"#;

/// A program that runs until the test ends.
struct Program {
    child: Child,
    /// Beginnings of `hot`, `warm`, `work` and `main`, which follow each other.
    functions: Vec<u64>,
}

impl Program {
    fn start(directory: &Path) -> Option<Self> {
        let (source, program) = (directory.join("program.c"), directory.join("program"));
        std::fs::write(&source, PROGRAM).expect("the source can be written");
        let flags = [
            "-O1",
            "-fno-omit-frame-pointer",
            "-fno-toplevel-reorder",
            "-o",
        ];
        let built = Command::new("cc")
            .args(flags)
            .arg(&program)
            .arg(&source)
            .output()
            .ok()?;
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let mut child = Command::new(program)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it prints");
        let hex = |word: &str| u64::from_str_radix(word, 16).expect("an address");
        let functions: Vec<_> = line.split_whitespace().map(hex).collect();
        assert!(functions.is_sorted(), "the compiler keeps the order");
        Some(Program { child, functions })
    }

    /// Which function an address lies in.
    fn function(&self, address: u64) -> Option<usize> {
        self.functions
            .iter()
            .rposition(|&start| (start..start + 4096).contains(&address))
    }

    fn only(&self) -> Targets {
        Targets::Processes(BTreeSet::from([self.child.id()]))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn build(directory: &Path, code: &str) -> Option<PathBuf> {
    let (source, program) = (directory.join("program.c"), directory.join("program"));
    std::fs::write(&source, code).expect("the source can be written");
    let flags = [
        "-O1",
        "-pthread",
        "-fno-omit-frame-pointer",
        "-fno-toplevel-reorder",
        "-o",
    ];
    let Ok(built) = Command::new("cc")
        .args(flags)
        .arg(&program)
        .arg(&source)
        .output()
    else {
        println!("skipped: there is no C compiler");
        return None;
    };
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Some(program)
}

/// What a sampler sees of a program until it has so many samples.
fn sample(mut sampler: Sampler, pid: u32, wanted: u64) -> (Vec<RawStack>, Losses) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut stacks, mut count) = (Vec::new(), 0);
    while count < wanted && Instant::now() < deadline {
        sampler
            .poll(Duration::from_millis(100), &mut FramePointers)
            .expect("it polls");
        let (new, losses) = sampler.take();
        assert_eq!(losses.strange, 0);
        count += new
            .iter()
            .filter(|it| it.pid == pid)
            .map(|it| it.count)
            .sum::<u64>();
        stacks.extend(new);
    }
    assert!(count >= wanted, "{count} samples of {wanted}");
    let losses = sampler.take().1;
    (stacks, losses)
}

fn options(tier: Tier, targets: Targets) -> Options {
    Options {
        tier,
        proc: "/proc".into(),
        targets,
        period: Duration::from_millis(1),
        memory: 8 << 20,
    }
}

/// Opens, or says why the test cannot run here.
fn open(options: Options) -> Option<Sampler> {
    match Sampler::open(options) {
        Ok(sampler) => Some(sampler),
        Err(refused) => {
            println!("skipped: {refused}");
            None
        }
    }
}

fn has_the_right_shares(tier: Tier) {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(program) = Program::start(directory.path()) else {
        return;
    };
    let Some(sampler) = open(options(tier, program.only())) else {
        return;
    };
    let pid = program.child.id();
    let (stacks, _) = sample(sampler, pid, 1_000);
    assert!(
        stacks.iter().all(|it| it.pid == pid),
        "somebody else's stacks"
    );
    let (mut all, mut hot, mut called) = (0, 0, 0);
    for stack in &stacks {
        assert_eq!(stack.nanos, stack.count * 1_000_000);
        assert!(!stack.preempted);
        all += stack.count;
        let callers: Vec<_> = stack.user.iter().map(|it| program.function(*it)).collect();
        if callers[0] == Some(0) {
            hot += stack.count;
        }
        // The loops run with their frame set up, but for the instructions that do so.
        if matches!(callers[..], [Some(0 | 1), Some(2), Some(3), ..]) {
            called += stack.count;
        }
    }
    let share = hot as f64 / all as f64;
    assert!((share - 0.7).abs() < 0.06, "hot has {share} of {all}");
    assert!(
        called * 100 > all * 97,
        "{called} of {all} have their callers"
    );
}

#[test]
fn rings_of_all_cpus_attribute_time_to_functions_and_their_callers() {
    has_the_right_shares(Tier::PerfRing);
}

#[test]
fn clocks_of_own_threads_attribute_time_to_functions_and_their_callers() {
    has_the_right_shares(Tier::OwnProcesses);
}

#[test]
fn a_process_that_starts_later_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(sampler) = open(options(Tier::OwnProcesses, Targets::All)) else {
        return;
    };
    let Some(program) = Program::start(directory.path()) else {
        return;
    };
    let (stacks, _) = sample(sampler, program.child.id(), 50);
    assert!(
        stacks.iter().all(|it| it.pid != std::process::id()),
        "our own stacks"
    );
}

/// Its first thread starts another one when told to, and waits for it.
const THREADS: &str = r#"
#include <pthread.h>
#include <stdio.h>
static void *run(void *unused) { for (volatile long i = 0;; i++); return unused; }
int main(void) {
    pthread_t thread;
    getchar();
    pthread_create(&thread, 0, run, 0);
    pthread_join(thread, 0);
}
"#;

#[test]
fn threads_that_start_later_are_sampled_also_at_another_rate() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(path) = build(directory.path(), THREADS) else {
        return;
    };
    let mut command = Command::new(path);
    let child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut program = Program {
        child,
        functions: Vec::new(),
    };
    let pid = program.child.id();
    let targets = Targets::Processes(BTreeSet::from([pid]));
    let Some(mut sampler) = open(options(Tier::OwnProcesses, targets)) else {
        return;
    };
    drop(program.child.stdin.take());
    let deadline = Instant::now() + Duration::from_secs(60);
    while sampler.take().0.is_empty() && Instant::now() < deadline {
        let timeout = Duration::from_millis(100);
        sampler.poll(timeout, &mut FramePointers).expect("it polls");
    }
    let period = Duration::from_millis(5);
    sampler.set_period(period).expect("it is allowed");
    let before = cpu_nanos(pid);
    let (stacks, _) = sample(sampler, pid, 50);
    let sampled: u64 = stacks.iter().map(|it| it.nanos).sum();
    let ran = cpu_nanos(pid) - before;
    assert!(sampled >= 250_000_000, "{sampled}");
    assert!(sampled < ran + ran / 5, "{sampled} of {ran}");
}

/// CPU time of all threads of a process.
fn cpu_nanos(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let nanos = |thread: io::Result<std::fs::DirEntry>| -> Option<u64> {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    threads.filter_map(nanos).sum()
}

#[test]
fn targets_can_be_set_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(program) = Program::start(directory.path()) else {
        return;
    };
    for tier in [Tier::PerfRing, Tier::OwnProcesses] {
        let Some(mut sampler) = open(options(tier, Targets::Processes(BTreeSet::new()))) else {
            return;
        };
        sampler
            .poll(Duration::from_millis(200), &mut FramePointers)
            .expect("it polls");
        assert_eq!(sampler.take().0, Vec::new());
        sampler.retarget(&program.only());
        sample(sampler, program.child.id(), 20);
    }
}

#[test]
fn processes_are_looked_for_where_the_kernel_is_said_to_tell_of_them() {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let programs = directories.each_ref().map(|it| Program::start(it.path()));
    let [Some(told), Some(untold)] = programs else {
        return;
    };
    let proc = tempfile::tempdir().expect("a directory");
    let pid = told.child.id().to_string();
    std::os::unix::fs::symlink(Path::new("/proc").join(&pid), proc.path().join(&pid))
        .expect("a link");
    let Some(sampler) = open(Options {
        proc: proc.path().into(),
        ..options(Tier::OwnProcesses, Targets::All)
    }) else {
        return;
    };
    let (stacks, _) = sample(sampler, told.child.id(), 200);
    assert!(stacks.iter().all(|it| it.pid != untold.child.id()));
}

#[test]
fn what_becomes_of_a_process_is_told_in_order() {
    let Some(mut sampler) = open(options(Tier::PerfRing, Targets::All)) else {
        return;
    };
    let mut child = Command::new("true").spawn().expect("it starts");
    let pid = child.id();
    child.wait().expect("it ends");
    let (mut seen, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(60));
    while seen.last() != Some(&How::Exited) && Instant::now() < deadline {
        let change = sampler.poll(Duration::from_millis(20), &mut FramePointers);
        let change = change.expect("it polls").filter(|it| it.pid == pid);
        seen.extend(change.map(|it| it.how));
    }
    assert_eq!(
        seen,
        [How::Forked(std::process::id()), How::Exec, How::Exited]
    );
}

#[test]
fn rings_share_half_of_the_memory_and_are_never_too_small_for_a_stack() {
    let page = perf::page_size();
    assert_eq!(ring_pages(1 << 20, 2), Some((256 << 10) / page));
    assert_eq!(ring_pages(1 << 30, 2), Some(LARGEST_RING / page));
    assert_eq!(ring_pages(128 << 10, 2), Some(SMALLEST_RING / page));
    assert_eq!(ring_pages(100 << 10, 2), None);
    for pages in [SMALLEST_RING / page, LARGEST_RING / page] {
        let stack = stack_bytes(pages);
        assert!(stack.is_multiple_of(8) && stack >= 4096, "{stack}");
        assert!(stack as usize * 4 < pages * page, "{stack}");
    }
}

#[test]
fn too_little_memory_is_refused_with_what_is_needed() {
    let refused = Sampler::open(Options {
        memory: 1000,
        ..options(Tier::PerfRing, Targets::All)
    });
    let refused = refused.expect_err("a thousand bytes make no rings");
    assert!(
        refused.to_string().contains("1000 bytes make no rings"),
        "{refused}"
    );
    assert!(refused.missing.is_some_and(|it| it.ends_with(" bytes")));
}
