//! What is left without privileges: each test starts itself again as nobody, with few capabilities or
//! none, where it examines the machine and samples a process.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may end here")]
#![expect(clippy::print_stdout, reason = "what is skipped is told")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use perigee_ebpf_profiler::doctor::{self, Thing};
use perigee_ebpf_profiler::engine::Targets;
use perigee_ebpf_profiler::engine::ring::{FramePointers, Options, Sampler};
use perigee_ebpf_profiler::profile::Kind;
use perigee_ebpf_profiler::tier::Tier;
use serde_json::{Value, json};

const AGAIN: &str = "PERIGEE_TEST_AS_NOBODY";
const MARK: &str = "seen: ";

#[test]
fn nobody_without_capabilities_samples_its_own_processes() {
    let name = "nobody_without_capabilities_samples_its_own_processes";
    let Some(seen) = as_nobody(name, &[]) else {
        return;
    };
    let both = "CAP_BPF+CAP_PERFMON";
    let clock = "CAP_PERFMON (or kernel.perf_event_paranoid=0)";
    let expected = [
        (Thing::PerfEventProgram, both),
        (Thing::Loop, both),
        (Thing::RingBuffer, "CAP_BPF"),
        (Thing::Maps, "CAP_BPF"),
        (Thing::PerfEventAttach, both),
        (Thing::Switches, both),
        (Thing::ProcessEvents, both),
        (Thing::EveryCpu, clock),
        (Thing::EveryCpuUser, clock),
        (Thing::KernelSymbols, "CAP_SYSLOG"),
        (
            Thing::Capabilities,
            "CAP_BPF+CAP_PERFMON+CAP_SYS_PTRACE+CAP_DAC_READ_SEARCH+CAP_SYSLOG+\
             CAP_CHECKPOINT_RESTORE",
        ),
        (Thing::OtherProcesses, "CAP_SYS_PTRACE"),
        (Thing::Lockdown, both),
        (Thing::UnprivilegedBpf, "CAP_BPF"),
    ];
    assert_eq!(seen.missing, named(&expected));
    assert_eq!(seen.on_cpu, "perf rings of own processes");
    assert_eq!(seen.off_cpu, "off");
    let because = "bpf(PROG_LOAD): EPERM; needs CAP_BPF+CAP_PERFMON";
    let steps = [
        format!("BPF program for perf events: {because}"),
        format!("BPF program for perf events: {because}"),
        "CPU clock of all CPUs, programs only: perf_event_open: EACCES; kernel.perf_event_paranoid \
         is 2; needs CAP_PERFMON (or kernel.perf_event_paranoid=0)"
            .to_owned(),
    ];
    assert_eq!(seen.on_cpu_steps, steps);
    let step = format!("BPF program at tp_btf/sched_switch: {because}");
    assert_eq!(seen.off_cpu_steps, [step.clone(), step]);
    assert!(seen.samples >= 20, "{} samples", seen.samples);
    assert!(!seen.sees_kernel);
}

#[test]
fn nobody_with_perfmon_samples_every_cpu() {
    let name = "nobody_with_perfmon_samples_every_cpu";
    let Some(seen) = as_nobody(name, &["perfmon"]) else {
        return;
    };
    let expected = [
        (Thing::PerfEventProgram, "CAP_BPF"),
        (Thing::Loop, "CAP_BPF"),
        (Thing::RingBuffer, "CAP_BPF"),
        (Thing::Maps, "CAP_BPF"),
        (Thing::PerfEventAttach, "CAP_BPF"),
        (Thing::Switches, "CAP_BPF"),
        (Thing::ProcessEvents, "CAP_BPF"),
        (Thing::KernelSymbols, "CAP_SYSLOG"),
        (
            Thing::Capabilities,
            "CAP_BPF+CAP_SYS_PTRACE+CAP_DAC_READ_SEARCH+CAP_SYSLOG+CAP_CHECKPOINT_RESTORE",
        ),
        (Thing::OtherProcesses, "CAP_SYS_PTRACE"),
        (Thing::Lockdown, "CAP_BPF"),
        (Thing::UnprivilegedBpf, "CAP_BPF"),
    ];
    assert_eq!(seen.missing, named(&expected));
    assert_eq!(
        (seen.on_cpu.as_str(), seen.off_cpu.as_str()),
        ("perf rings", "off")
    );
    assert!(seen.samples >= 20, "{} samples", seen.samples);
    assert!(seen.sees_kernel);
}

#[test]
fn nobody_with_bpf_and_perfmon_has_both_kinds_of_profile() {
    let name = "nobody_with_bpf_and_perfmon_has_both_kinds_of_profile";
    let Some(seen) = as_nobody(name, &["bpf", "perfmon"]) else {
        return;
    };
    let expected = [
        (Thing::KernelSymbols, "CAP_SYSLOG"),
        (
            Thing::Capabilities,
            "CAP_SYS_PTRACE+CAP_DAC_READ_SEARCH+CAP_SYSLOG+CAP_CHECKPOINT_RESTORE",
        ),
        (Thing::OtherProcesses, "CAP_SYS_PTRACE"),
    ];
    assert_eq!(seen.missing, named(&expected));
    let tier = "BPF with unwind tables";
    assert_eq!((seen.on_cpu.as_str(), seen.off_cpu.as_str()), (tier, tier));
    assert_eq!(
        (seen.on_cpu_steps, seen.off_cpu_steps),
        (Vec::new(), Vec::new())
    );
    assert!(seen.samples >= 20, "{} samples", seen.samples);
}

/// What the test saw as nobody.
struct Seen {
    /// What to grant, for each thing that a capability grants.
    missing: BTreeMap<String, String>,
    on_cpu: String,
    off_cpu: String,
    on_cpu_steps: Vec<String>,
    off_cpu_steps: Vec<String>,
    samples: u64,
    sees_kernel: bool,
}

fn named(expected: &[(Thing, &str)]) -> BTreeMap<String, String> {
    expected
        .iter()
        .map(|(thing, grant)| (thing.name().to_owned(), (*grant).to_owned()))
        .collect()
}

/// Runs a test again as nobody; `None` there, and where that cannot be done.
fn as_nobody(name: &str, capabilities: &[&str]) -> Option<Seen> {
    if std::env::var_os(AGAIN).is_some() {
        println!("{MARK}{}", look());
        return None;
    }
    if let Some(reason) = unsuitable() {
        println!("skipped: {reason}");
        return None;
    }
    // Where it was built, nobody may have no access.
    let directory = tempfile::tempdir().expect("a directory");
    let open = || fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), open()).expect("it is ours");
    let program = directory.path().join("test");
    fs::copy(
        std::env::current_exe().expect("the test knows itself"),
        &program,
    )
    .expect("a copy");
    fs::set_permissions(&program, open()).expect("it is ours");
    let set: String = capabilities.iter().map(|it| format!(",+{it}")).collect();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    for kind in ["bounding-set", "inh-caps", "ambient-caps"] {
        command.arg(format!("--{kind}=-all{set}"));
    }
    command
        .arg(&program)
        .args(["--exact", name, "--nocapture"])
        .env(AGAIN, "1");
    let output = command.current_dir("/").output().expect("setpriv runs");
    let text = String::from_utf8_lossy(&output.stdout);
    if text.is_empty() {
        println!(
            "skipped: setpriv: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        return None;
    }
    // Without a line of its own: the harness has begun one.
    let seen = text
        .lines()
        .find_map(|line| line.split_once(MARK))
        .map(|(_, seen)| seen);
    let failed = || format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    let seen = seen.unwrap_or_else(|| panic!("{}", failed()));
    Some(read(&serde_json::from_str(seen).expect("it is JSON")))
}

/// Why this machine says nothing about others.
fn unsuitable() -> Option<String> {
    let uid = fs::metadata("/proc/self").map(|it| std::os::unix::fs::MetadataExt::uid(&it));
    if uid.ok() != Some(0) {
        return Some("not root".to_owned());
    }
    if !Command::new("setpriv")
        .arg("--version")
        .output()
        .is_ok_and(|it| it.status.success())
    {
        return Some("there is no setpriv".to_owned());
    }
    let value = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let expected = |name, default: &str| match value(name) {
        Ok(value) if value.trim() == default => None,
        Ok(value) => Some(format!("kernel.{name} is {}", value.trim())),
        Err(error) => Some(format!("kernel.{name}: {error}")),
    };
    if value("unprivileged_bpf_disabled").is_ok_and(|it| it.trim() == "0") {
        return Some("kernel.unprivileged_bpf_disabled is 0".to_owned());
    }
    expected("perf_event_paranoid", "2")
        .or_else(|| expected("kptr_restrict", "0"))
        .or_else(|| {
            let report = doctor::examine();
            let found = report.of(Thing::PerfEventProgram).filter(|it| !it.works);
            found.map(ToString::to_string)
        })
}

fn read(seen: &Value) -> Seen {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let findings = seen["report"]["findings"].as_array().expect("findings");
    // Of a capability, or of a mount or limit that is not the same everywhere.
    let changing = [Thing::Tracefs, Thing::Cgroups, Thing::LockedMemory].map(Thing::name);
    let missing = findings
        .iter()
        .filter(|it| {
            it["works"] == false && !changing.contains(&it["thing"].as_str().unwrap_or(""))
        })
        .map(|it| (text(&it["thing"]), text(&it["grant"])))
        .collect();
    let steps = |kind: &str| {
        let steps = seen[kind][1].as_array().expect("steps");
        steps.iter().map(|it| text(&it["reason"])).collect()
    };
    Seen {
        missing,
        on_cpu: text(&seen["on_cpu"][0]),
        off_cpu: text(&seen["off_cpu"][0]),
        on_cpu_steps: steps("on_cpu"),
        off_cpu_steps: steps("off_cpu"),
        samples: seen["samples"].as_u64().expect("a number"),
        sees_kernel: seen["sees_kernel"] == true,
    }
}

/// Examines and samples.
fn look() -> Value {
    let report = doctor::examine();
    let on_cpu = Tier::choose(&report, Kind::OnCpu);
    let off_cpu = Tier::choose(&report, Kind::OffCpu);
    // What is better than rings is not tried here.
    let (samples, sees_kernel) = sample(on_cpu.0.min(Tier::PerfRing));
    json!({
        "report": report,
        "on_cpu": on_cpu,
        "off_cpu": off_cpu,
        "samples": samples,
        "sees_kernel": sees_kernel,
    })
}

/// A process that does nothing but run. It ends with the test.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn sample(tier: Tier) -> (u64, bool) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "while :; do :; done"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let busy = Busy(shell.spawn().expect("there is a shell"));
    let targets = Targets::Processes(BTreeSet::from([busy.0.id()]));
    let options = Options {
        tier,
        proc: "/proc".into(),
        targets,
        period: Duration::from_millis(1),
        memory: 4 << 20,
    };
    let mut sampler = Sampler::open(options).expect("the tier can be had");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut samples = 0;
    while samples < 20 && Instant::now() < deadline {
        sampler
            .poll(Duration::from_millis(100), &mut FramePointers)
            .expect("it polls");
        let (stacks, _) = sampler.take();
        assert!(stacks.iter().all(|it| !it.user.is_empty()), "{stacks:?}");
        samples += stacks.iter().map(|it| it.count).sum::<u64>();
    }
    (samples, sampler.sees_kernel())
}
