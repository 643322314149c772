//! Sessions that share a capture thread: each has its own samples, all of them and no others. Needs root and BPF.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end here"
)]

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use perigee_ebpf_profiler::access::{Access, AccessSettings};
use perigee_ebpf_profiler::bpf::programs::Walker;
use perigee_ebpf_profiler::engine::{Capture, Kernel, Request, Session, Settings, Targets};
use perigee_ebpf_profiler::profile::{Kind, Profile};

struct Program(Child);

impl Program {
    fn shell(script: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("sh"))
    }

    fn only(&self) -> Targets {
        Targets::Processes([self.0.id()].into())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kernel(settings: Settings) -> Option<Kernel> {
    match Kernel::open(settings, Walker::Tables) {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn request(kind: Kind, targets: Targets, millis: u64) -> Request {
    Request {
        kind,
        targets,
        period: Duration::from_millis(millis),
        minimum: Duration::ZERO,
        elastic: false,
    }
}

fn nanos(profile: &Profile) -> Duration {
    Duration::from_nanos(profile.stacks.iter().map(|it| it.nanos).sum())
}

fn assert_less(profile: &Profile, time: Duration) {
    let (all, duration) = (nanos(profile), profile.duration);
    assert!(all < time, "{all:?} in {duration:?}");
}

fn secs(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds));
}

const BUSY: &str = "while :; do :; done";

#[test]
fn one_session_of_everybody_ends_and_the_other_goes_on() {
    let Some(kernel) = kernel(Settings::default()) else {
        return;
    };
    let busy = Program::shell(BUSY);
    let mut stays = kernel
        .start(&request(Kind::OnCpu, Targets::All, 10))
        .expect("start");
    let goes = kernel
        .start(&request(Kind::OnCpu, Targets::All, 20))
        .expect("start");
    secs(0.5);
    drop(goes);
    stays.take();
    secs(1.0);
    let profile = stays.take();
    assert!(
        profile.summary.samples > 50,
        "{} samples",
        profile.summary.samples
    );
    drop(busy);
}

#[test]
fn a_session_has_no_samples_from_before_it_began() {
    let Some(kernel) = kernel(Settings::default()) else {
        return;
    };
    let busy = Program::shell(BUSY);
    let first = kernel
        .start(&request(Kind::OnCpu, busy.only(), 10))
        .expect("start");
    // Collected after a second, then every five.
    secs(5.0);
    let mut second = kernel
        .start(&request(Kind::OnCpu, busy.only(), 10))
        .expect("start");
    secs(0.5);
    let profile = second.take();
    assert_less(&profile, Duration::from_secs(1));
    drop(first);
}

#[test]
fn a_wait_is_not_longer_than_the_session() {
    let Some(kernel) = kernel(Settings::default()) else {
        return;
    };
    let sleeper = Program::shell("exec perl -e 'select(undef,undef,undef,0.2) while 1'");
    secs(0.3);
    let first = kernel
        .start(&request(Kind::OffCpu, sleeper.only(), 10))
        .expect("start");
    secs(1.0);
    drop(first);
    secs(4.0);
    let mut second = kernel
        .start(&request(Kind::OffCpu, sleeper.only(), 10))
        .expect("start");
    secs(1.0);
    let profile = second.take();
    assert_less(&profile, Duration::from_millis(1500));
}

/// A session of everybody but those who are denied.
fn all_but_denied(pattern: &str) -> Option<(Kernel, Box<dyn Session>)> {
    let lists = AccessSettings {
        deny: vec![pattern.to_owned()],
        ..AccessSettings::default()
    };
    let kernel = kernel(Settings {
        access: Access::new(&lists).expect("an expression"),
        ..Settings::default()
    })?;
    let session = kernel.start(&request(Kind::OnCpu, Targets::All, 5));
    Some((kernel, session.expect("start")))
}

#[test]
fn who_is_denied_is_not_seen_when_it_has_ended() {
    let Some((_kernel, mut session)) = all_but_denied("h1-secret") else {
        return;
    };
    secs(1.5);
    session.take();
    let child = Command::new("python3")
        .args([
            "-c",
            "import time\nt=time.time()\nwhile time.time()-t<1: pass",
            "h1-secret",
        ])
        .spawn();
    let mut child = child.expect("python3");
    let pid = child.id();
    let _ = child.wait();
    secs(0.2);
    let profile = session.take();
    let seen: Vec<_> = profile
        .processes
        .iter()
        .filter(|it| it.pid == pid)
        .collect();
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn who_is_denied_is_not_seen_as_its_fork() {
    let Some((_kernel, mut session)) = all_but_denied("h1-secret") else {
        return;
    };
    let script = "import os,time\ndef spin(s):\n t=time.time()\n while time.time()-t<s: pass\nspin(1)\np=os.fork()\nspin(60)";
    let mut child = Command::new("python3")
        .args(["-c", script, "h1-secret"])
        .spawn()
        .expect("python3");
    secs(3.0);
    let profile = session.take();
    let forks = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()))
        .expect("children");
    let fork: u32 = forks.trim().parse().expect("pid");
    let _ = Command::new("kill").arg(forks.trim()).status();
    let _ = child.kill();
    let _ = child.wait();
    let samples: u64 = profile
        .stacks
        .iter()
        .filter(|it| profile.processes[it.process as usize].pid == fork)
        .map(|it| it.count)
        .sum();
    assert_eq!(samples, 0);
}

#[test]
fn after_a_back_off_a_session_does_not_count_anothers_samples() {
    let settings = Settings {
        cpu_percent: 0.0001,
        ..Settings::default()
    };
    let Some(kernel) = kernel(settings) else {
        return;
    };
    let busy = Program::shell(BUSY);
    let elastic = Request {
        elastic: true,
        ..request(Kind::OnCpu, busy.only(), 10)
    };
    let mut backs_off = kernel.start(&elastic).expect("start");
    // Each look is a measurement; after two the period doubles, 16 times is the most.
    for _ in 0..10 {
        secs(1.1);
        backs_off.take();
    }
    let other = kernel
        .start(&request(Kind::OnCpu, busy.only(), 80))
        .expect("start");
    secs(4.0);
    let profile = backs_off.take();
    assert_eq!(profile.period, Duration::from_millis(160));
    assert_less(&profile, Duration::from_secs(5));
    drop(other);
}

#[test]
fn a_sample_from_before_exec_has_the_name_that_the_process_had_then() {
    let Some(kernel) = kernel(Settings::default()) else {
        return;
    };
    let counting = "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done";
    let spinning = "exec python3 -c 'while True: pass'";
    let program = Program::shell(&format!("{counting}; {spinning}"));
    let began = Instant::now();
    let request = request(Kind::OnCpu, program.only(), 5);
    let mut session = kernel.start(&request).expect("start");
    let (mut shell, mut other) = (Duration::ZERO, Duration::ZERO);
    while other < Duration::from_millis(500) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{shell:?}, {other:?}"
        );
        secs(1.0);
        let profile = session.take();
        for stack in &profile.stacks {
            let of_shell = profile.processes[stack.process as usize].name == "sh";
            let named = |prefix| {
                let mut frames = profile.frames_of(stack);
                frames.any(|frame| frame.name.starts_with(prefix))
            };
            let time = if of_shell { &mut shell } else { &mut other };
            *time += Duration::from_nanos(stack.nanos);
            assert!(!of_shell || !named("_PyEval"), "Python in the shell");
        }
    }
    assert!(
        shell >= Duration::from_millis(100),
        "{shell:?} of the shell"
    );
}

#[test]
fn the_end_of_a_short_program_has_its_name_and_not_its_parents() {
    let Some(kernel) = kernel(Settings::default()) else {
        return;
    };
    let program = Program::shell("while :; do /bin/true; done");
    let mut session = kernel
        .start(&request(Kind::OnCpu, Targets::All, 1))
        .expect("start");
    secs(4.0);
    let profile = session.take();
    let (mut own, mut parents) = (0, 0);
    for stack in &profile.stacks {
        let process = &profile.processes[stack.process as usize];
        let ends = profile.frames_of(stack).any(|it| &*it.name == "do_exit");
        if ends && process.pid != program.0.id() {
            match &*process.name {
                "true" => own += stack.count,
                "sh" => parents += stack.count,
                _ => {}
            }
        }
    }
    assert!(own > 20, "{own} of its own");
    assert!(parents * 20 < own, "{parents} of the parent's, {own} own");
}
