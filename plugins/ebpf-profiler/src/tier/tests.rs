use super::*;
use crate::doctor::Finding;

/// A machine where all that is named fails.
fn without(failing: &[Thing]) -> Report {
    let all = [
        Thing::PerfEventProgram,
        Thing::Loop,
        Thing::RingBuffer,
        Thing::Maps,
        Thing::PerfEventAttach,
        Thing::Switches,
        Thing::ProcessEvents,
        Thing::EveryCpu,
        Thing::EveryCpuUser,
        Thing::OwnProcesses,
        Thing::Btf,
        Thing::Lockdown,
    ];
    let finding = |thing| {
        let works = !failing.contains(&thing);
        let (because, grant) = (Some("EPERM".to_owned()), Some("CAP_X".to_owned()));
        Finding {
            thing,
            works,
            because,
            grant,
        }
    };
    Report {
        findings: all.into_iter().map(finding).collect(),
    }
}

fn chosen(kind: Kind, failing: &[Thing]) -> Tier {
    Tier::choose(&without(failing), kind).0
}

#[test]
fn where_everything_works_the_best_tier_is_taken_without_a_word() {
    for kind in [Kind::OnCpu, Kind::OffCpu] {
        assert_eq!(
            Tier::choose(&without(&[]), kind),
            (Tier::Tables, Vec::new())
        );
    }
}

#[test]
fn on_cpu_goes_down_step_by_step() {
    let all = [
        (Thing::Loop, Tier::FramePointers),
        (Thing::PerfEventProgram, Tier::PerfRing),
        (Thing::EveryCpu, Tier::PerfRing),
        (Thing::EveryCpuUser, Tier::OwnProcesses),
        (Thing::OwnProcesses, Tier::Off),
    ];
    for length in 0..all.len() {
        let failing: Vec<_> = all[..=length].iter().map(|(thing, _)| *thing).collect();
        assert_eq!(
            chosen(Kind::OnCpu, &failing),
            all[length].1,
            "without {failing:?}"
        );
    }
}

#[test]
fn each_step_down_has_its_reason() {
    let (tier, steps) = Tier::choose(&without(&[Thing::Loop, Thing::EveryCpu]), Kind::OnCpu);
    assert_eq!(tier, Tier::PerfRing);
    let tiers: Vec<_> = steps.iter().map(|it| it.tier).collect();
    assert_eq!(tiers, [Tier::Tables, Tier::FramePointers]);
    for step in steps {
        let reason = "CPU clock of all CPUs, kernel included: EPERM; needs CAP_X";
        assert_eq!(step.reason, reason);
    }
    let (_, steps) = Tier::choose(&without(&[Thing::Loop]), Kind::OnCpu);
    assert_eq!(
        steps[0].reason,
        "BPF program with bpf_loop: EPERM; needs CAP_X"
    );
}

#[test]
fn off_cpu_is_by_bpf_or_off_and_never_touches_on_cpu() {
    assert_eq!(chosen(Kind::OffCpu, &[Thing::Switches]), Tier::Off);
    assert_eq!(chosen(Kind::OnCpu, &[Thing::Switches]), Tier::Tables);
    assert_eq!(chosen(Kind::OffCpu, &[Thing::Loop]), Tier::FramePointers);
    let ends = [
        Thing::EveryCpu,
        Thing::EveryCpuUser,
        Thing::OwnProcesses,
        Thing::PerfEventProgram,
    ];
    assert_eq!(chosen(Kind::OffCpu, &ends), Tier::Tables);
}

#[test]
fn what_was_not_tried_does_not_work() {
    let (tier, steps) = Tier::choose(
        &Report {
            findings: Vec::new(),
        },
        Kind::OnCpu,
    );
    assert_eq!((tier, steps.len()), (Tier::Off, 4));
    assert!(
        steps[3].reason.ends_with(": not tried"),
        "{}",
        steps[3].reason
    );
}

#[test]
fn the_tier_is_exported_by_kind() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    ::metrics::with_local_recorder(&recorder, || {
        announce(Kind::OnCpu, Tier::FramePointers, &[]);
        announce(Kind::OffCpu, Tier::Off, &[]);
    });
    let page = page.render();
    assert!(
        page.contains("perigee_capture_tier{kind=\"on_cpu\"} 3\n"),
        "{page}"
    );
    assert!(
        page.contains("perigee_capture_tier{kind=\"off_cpu\"} 0\n"),
        "{page}"
    );
}
