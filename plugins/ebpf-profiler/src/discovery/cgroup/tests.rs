use super::*;

const ID: &str = "7dae778c37bd1204677518f1032bbecf01f5c41878ea7bd370021263417cc626";
const OUTER: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const UID: &str = "2d2f9f0e-8a1c-4b7e-9c55-0a6f1e2d3c4b";
const SLICE: &str = "2d2f9f0e_8a1c_4b7e_9c55_0a6f1e2d3c4b";
/// Of a static pod: a hash of its file.
const STATIC: &str = "0123456789abcdef0123456789abcdef";

/// `/proc/PID/cgroup`, and unit, container and pod as they should be found.
type Case = (
    &'static str,
    String,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
);

fn check(cases: &[Case]) {
    for (style, text, unit, container, pod) in cases {
        let groups = Groups::parse(text);
        assert_eq!(groups.unit.as_deref(), *unit, "unit, {style}");
        assert_eq!(groups.container(), *container, "container, {style}");
        assert_eq!(groups.pod.as_deref(), *pod, "pod, {style}");
    }
}

#[test]
fn units_are_found_in_every_version() {
    let hybrid = "12:cpu,cpuacct:/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n0::/system.slice/nginx.service\n";
    let desktop =
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-2113.scope\n";
    check(&[
        (
            "version 2",
            "0::/system.slice/nginx.service\n".into(),
            Some("nginx.service"),
            None,
            None,
        ),
        ("both", hybrid.into(), Some("nginx.service"), None, None),
        (
            "version 1 without systemd's hierarchy",
            "5:pids:/system.slice/cron.service\n4:memory:/\n".into(),
            Some("cron.service"),
            None,
            None,
        ),
        (
            "an instance",
            "0::/system.slice/system-getty.slice/getty@tty1.service".into(),
            Some("getty@tty1.service"),
            None,
            None,
        ),
        (
            "a session",
            "0::/user.slice/user-0.slice/session-3.scope".into(),
            Some("session-3.scope"),
            None,
            None,
        ),
        (
            "a user's unit",
            desktop.into(),
            Some("app-gnome-firefox-2113.scope"),
            None,
            None,
        ),
        (
            "a group of the service's own",
            "0::/system.slice/perigee.service/payload".into(),
            Some("perigee.service"),
            None,
            None,
        ),
        (
            "a name that systemd escaped",
            r"0::/system.slice/my\x2dapp.service".into(),
            Some(r"my\x2dapp.service"),
            None,
            None,
        ),
        (
            "a name that the kernel could mistake",
            "0::/system.slice/_cpu.service".into(),
            Some("cpu.service"),
            None,
            None,
        ),
        (
            "a slice only",
            "0::/system.slice\n".into(),
            None,
            None,
            None,
        ),
        ("a suffix only", "0::/.service\n".into(), None, None, None),
        ("no group", "0::/\n".into(), None, None, None),
        ("nothing", String::new(), None, None, None),
        (
            "no lines of this kind",
            "what\n\n1:2\n::\n".into(),
            None,
            None,
            None,
        ),
    ]);
}

#[test]
fn containers_are_found_whatever_the_runtime_and_the_driver() {
    let docker = Some(&*format!("docker-{ID}.scope").leak());
    let podman = Some(&*format!("libpod-{ID}.scope").leak());
    let monitor = Some(&*format!("libpod-conmon-{ID}.scope").leak());
    let containerd = Some(&*format!("cri-containerd-{ID}.scope").leak());
    check(&[
        (
            "docker, systemd",
            format!("0::/system.slice/docker-{ID}.scope\n"),
            docker,
            Some(ID),
            None,
        ),
        (
            "podman",
            format!("0::/machine.slice/libpod-{ID}.scope/container"),
            podman,
            Some(ID),
            None,
        ),
        (
            "docker, cgroupfs, version 1",
            format!("11:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n"),
            None,
            Some(ID),
            None,
        ),
        (
            "docker, cgroupfs, version 2",
            format!("0::/docker/{ID}\n"),
            None,
            Some(ID),
            None,
        ),
        ("our own namespace", "0::/\n".into(), None, None, None),
        (
            "beside our own namespace",
            format!("0::/../cri-containerd-{ID}.scope\n"),
            containerd,
            Some(ID),
            None,
        ),
        (
            "the monitor of a container",
            format!("0::/machine.slice/libpod-conmon-{ID}.scope"),
            monitor,
            None,
            None,
        ),
        (
            "63 digits",
            format!("0::/docker/{}", &ID[1..]),
            None,
            None,
            None,
        ),
        ("65 digits", format!("0::/docker/{ID}0"), None, None, None),
        (
            "64 letters",
            format!("0::/docker/{}", "g".repeat(64)),
            None,
            None,
            None,
        ),
    ]);
}

#[test]
fn pods_are_found_whatever_the_runtime_and_the_driver() {
    let burstable =
        format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICE}.slice");
    let unit = |prefix: &str| Some(&*format!("{prefix}{ID}.scope").leak());
    check(&[
        (
            "containerd, systemd, version 2",
            format!("0::/{burstable}/cri-containerd-{ID}.scope\n"),
            unit("cri-containerd-"),
            Some(ID),
            Some(UID),
        ),
        (
            "cri-o, systemd",
            format!("0::/{burstable}/crio-{ID}.scope/container\n"),
            unit("crio-"),
            Some(ID),
            Some(UID),
        ),
        (
            "docker, systemd",
            format!("0::/{burstable}/docker-{ID}.scope\n"),
            unit("docker-"),
            Some(ID),
            Some(UID),
        ),
        (
            "cri-o's monitor",
            format!("0::/{burstable}/crio-conmon-{ID}.scope\n"),
            unit("crio-conmon-"),
            None,
            Some(UID),
        ),
        (
            "guaranteed",
            format!("0::/kubepods.slice/kubepods-pod{SLICE}.slice/cri-containerd-{ID}.scope"),
            unit("cri-containerd-"),
            Some(ID),
            Some(UID),
        ),
        (
            "cgroupfs, version 1",
            format!(
                "4:memory:/kubepods/burstable/pod{UID}/{ID}\n1:name=systemd:/kubepods/burstable/pod{UID}/{ID}\n"
            ),
            None,
            Some(ID),
            Some(UID),
        ),
        (
            "cgroupfs, guaranteed",
            format!("0::/kubepods/pod{UID}/{ID}"),
            None,
            Some(ID),
            Some(UID),
        ),
        (
            "a static pod",
            format!("0::/kubepods/burstable/pod{STATIC}/{ID}"),
            None,
            Some(ID),
            Some(STATIC),
        ),
        (
            "containerd below its own service",
            format!(
                "1:name=systemd:/system.slice/containerd.service/kubepods-burstable-pod{SLICE}.slice:cri-containerd:{ID}\n"
            ),
            None,
            Some(ID),
            Some(UID),
        ),
        (
            "kind: a node in a container",
            format!(
                "0::/docker/{OUTER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SLICE}.slice/cri-containerd-{ID}.scope\n"
            ),
            unit("cri-containerd-"),
            Some(ID),
            Some(UID),
        ),
        (
            "something that is called a pod",
            "0::/kubepods/podium/pod-1.slice".into(),
            None,
            None,
            None,
        ),
    ]);
}

#[test]
fn a_container_in_a_container_has_both_ids() {
    let groups = Groups::parse(&format!("0::/kubepods/pod{UID}/{OUTER}/docker/{ID}"));
    assert_eq!(groups.containers, [ID, OUTER]);
    let systemd = format!("0::/docker/{ID}/system.slice/nginx.service");
    assert_eq!(
        Groups::parse(&systemd).unit.as_deref(),
        Some("nginx.service")
    );
}

#[test]
fn paths_are_listed_once_the_most_telling_first() {
    let text = "9:memory:/b\n3:cpu:/a\n1:name=systemd:/c:d\n0::/a\n";
    assert_eq!(Groups::parse(text).paths, ["/c:d", "/a", "/b"]);
}
