use super::*;

use Thing::*;

const ORDER: [Thing; 19] = [
    PerfEventProgram,
    Loop,
    RingBuffer,
    Maps,
    PerfEventAttach,
    Switches,
    ProcessEvents,
    EveryCpu,
    EveryCpuUser,
    OwnProcesses,
    Btf,
    Tracefs,
    KernelSymbols,
    Capabilities,
    OtherProcesses,
    Lockdown,
    Cgroups,
    LockedMemory,
    UnprivilegedBpf,
];

#[test]
fn everything_is_tried_in_one_order_and_failures_say_why() {
    let report = examine();
    let things: Vec<_> = report.findings.iter().map(|it| it.thing).collect();
    assert_eq!(things, ORDER);
    for finding in &report.findings {
        println!("{finding}");
        assert!(finding.works || finding.because.is_some(), "{finding:?}");
        assert!(!finding.works || finding.grant.is_none(), "{finding:?}");
    }
}

#[test]
fn examining_leaves_no_descriptor_behind() {
    // Other tests of this process open some too: BPF objects and perf events in a process of its own.
    const ALONE: &str = "PERIGEE_TEST_EXAMINE_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let program = std::env::current_exe().expect("the test knows itself");
        let name = "doctor::tests::examining_leaves_no_descriptor_behind";
        let mut command = std::process::Command::new(program);
        let run = command
            .args(["--exact", name, "--test-threads=1"])
            .env(ALONE, "1")
            .output();
        let run = run.expect("the test runs again");
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let count = || {
        std::fs::read_dir("/proc/self/fd")
            .expect("/proc is mounted")
            .count()
    };
    let before = count();
    examine();
    assert_eq!(count(), before);
}

#[test]
fn a_finding_is_one_line_with_what_to_grant() {
    let grant = Some("CAP_BPF+CAP_PERFMON".to_owned());
    let finding = Finding::fails(PerfEventProgram, "bpf(PROG_LOAD): EPERM", grant);
    let line = "BPF program for perf events: does not work: bpf(PROG_LOAD): EPERM; \
                needs CAP_BPF+CAP_PERFMON; without it: no samples by BPF";
    assert_eq!(finding.to_string(), line);
    assert_eq!(
        Finding::works(Btf).to_string(),
        "types of the kernel (BTF): works"
    );
    let mounted = Some("mount -t tracefs tracefs /sys/kernel/tracing".to_owned());
    let line = Finding::fails(Tracefs, "ENOENT", mounted).to_string();
    assert_eq!(line, "tracefs: does not work and is not needed: ENOENT");
    let json = serde_json::to_value(&finding).expect("it can be written");
    assert_eq!(json["thing"], "BPF program for perf events");
}
