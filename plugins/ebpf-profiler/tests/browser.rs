//! The flame graph and the icicle page as a browser shows them: headless Chromium, real mouse and keys.
//! `browser/check.mjs` drives it and says what is wrong.
#![cfg(test)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use perigee_ebpf_profiler::output::Destination;
use perigee_ebpf_profiler::profile::{Frame, Kind, Module, Process, Profile, Stack, Summary};

/// Runs checks of `browser/check.mjs` on files in a directory.
fn check(what: &str, directory: &Path) {
    for (command, package) in [("node", "nodejs"), ("chromium", "chromium")] {
        let version = Command::new(command)
            .arg("--version")
            .stderr(Stdio::null())
            .output();
        if !version.is_ok_and(|it| it.status.success()) {
            println!("skipped: no {command}; apt-get install {package}");
            return;
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/check.mjs");
    let mut node = Command::new("node");
    let output = node.arg(script).arg(what).arg(directory).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{what}: see above");
}

/// A web shop under load, 10,000 samples less 10: `_[k]` marks the kernel, `_[j]` code compiled at run
/// time. `price` holds 30 percent.
const SHOP: &str = include_str!("browser/shop.folded");

/// A profile of lines as in [`SHOP`].
fn profile(kind: Kind, lines: &[(String, u64)]) -> Profile {
    let modules = ["/usr/bin/shop", "[kernel]"].map(|path| Module {
        path: path.to_owned(),
        build_id: None,
        start: 0,
        end: 1 << 20,
        offset: 0,
    });
    let mut profile = Profile {
        kind,
        period: Duration::from_nanos(10_101_010),
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_000_000),
        duration: Duration::from_secs(60),
        processes: vec![Process {
            pid: 4242,
            name: "shop".to_owned(),
        }],
        modules: modules.to_vec(),
        frames: Vec::new(),
        stacks: Vec::new(),
        summary: Summary::default(),
    };
    for (line, count) in lines {
        let mut stack = Stack {
            process: 0,
            kernel: Vec::new(),
            user: Vec::new(),
            count: *count,
            nanos: count * 10_101_010,
            complete: true,
            preempted: false,
        };
        for name in line.split(';').rev() {
            let kernel = name.ends_with("_[k]");
            let frame = frame(name, kernel);
            let known = profile.frames.iter().position(|it| *it == frame);
            let index = known.unwrap_or_else(|| {
                profile.frames.push(frame);
                profile.frames.len() - 1
            }) as u32;
            let part = match kernel {
                true => &mut stack.kernel,
                false => &mut stack.user,
            };
            part.push(index);
        }
        profile.stacks.push(stack);
        profile.summary.samples += count;
    }
    profile
}

fn frame(name: &str, kernel: bool) -> Frame {
    let compiled = name.ends_with("_[j]") || name.starts_with("0x");
    Frame {
        name: Arc::from(name.trim_end_matches("_[k]").trim_end_matches("_[j]")),
        kernel,
        module: (!compiled).then_some(u32::from(kernel)),
        address: 0,
    }
}

/// [`SHOP`] and ten samples in functions too narrow to be seen.
fn shop(kind: Kind) -> Profile {
    let split = |line: &str| {
        line.rsplit_once(' ')
            .map(|(stack, count)| (stack.to_owned(), count.parse().unwrap()))
    };
    let lines = SHOP.lines().map(|line| split(line).unwrap());
    let thin = (0..10).map(|it| {
        (
            format!("clone3;start_thread;worker::run;thin_{it};thinner_{it}"),
            1,
        )
    });
    profile(kind, &lines.chain(thin).collect::<Vec<_>>())
}

/// Names that try to become markup, script, lines; and one that is wider than it is long.
const HOSTILE: [&str; 7] = [
    "</script><script>alert(1)</script>",
    "]]></metadata></svg><img src=x onerror=alert(1)>",
    "\"' onload='alert(1)' x=\"",
    "<!-- &amp; &#0; \\u0000 \\",
    "a\0b\x07c\x1b[31m\u{fffe}\u{ffff}\u{202e}gnp\n",
    "\u{4e2d}\u{6587}\u{1f600}\u{1f601}\u{1f602}\u{1f603}\u{1f604}\u{1f605}\u{1f606}\u{1f609}\u{1f60a}\u{1f60b}\u{1f60c}\u{1f60d}",
    "",
];

fn hostile() -> Profile {
    let lines = (0..HOSTILE.len()).map(|it| (format!("main;name_{it};leaf_{it}"), 1000));
    let mut profile = profile(Kind::OnCpu, &lines.collect::<Vec<_>>());
    for frame in &mut profile.frames {
        let index = frame.name.strip_prefix("name_").map(str::parse::<usize>);
        if let Some(Ok(index)) = index {
            frame.name = HOSTILE[index].into();
        }
    }
    profile.frames.push(frame(&"x".repeat(100_000), false));
    let mut long = profile.stacks[0].clone();
    long.user[1] = profile.frames.len() as u32 - 1;
    profile.stacks.push(long);
    profile.processes[0].name = HOSTILE[0].to_owned();
    profile.modules[0].path = HOSTILE[1].to_owned();
    profile
}

/// 20,000 stacks of which no two are alike, and one that is 127 deep.
fn large() -> Profile {
    let line = |it: u64| {
        let (module, handler) = (it % 97, it % 1013);
        format!("main;serve;module_{module}::run;handler_{handler}::call;step_{it};leaf_{module}")
    };
    let lines = (0..20_000).map(|it| (line(it), 1 + 20_000 / (it + 1)));
    let levels: Vec<String> = (0..127).map(|it| format!("level_{it}")).collect();
    let deep = (levels.join(";"), 40_000);
    let frames: Vec<(String, u64)> = lines.chain([deep]).collect();
    profile(Kind::OnCpu, &frames)
}

fn save(profile: &Profile, path: &Path) {
    Destination::new(path).unwrap().save(profile).unwrap();
}

/// Writes profiles to an empty directory and runs a check there.
fn check_files(what: &str, files: &[(&str, &Profile)]) {
    let directory = tempfile::tempdir().unwrap();
    for (name, profile) in files {
        save(profile, &directory.path().join(name));
    }
    check(what, directory.path());
}

#[test]
fn a_flame_graph_zooms_searches_and_can_be_read() {
    check_files("svg", &[("shop.svg", &shop(Kind::OnCpu))]);
}

#[test]
fn an_icicle_page_zooms_searches_sorts_and_can_be_read() {
    check_files("html", &[("shop.html", &shop(Kind::OffCpu))]);
}

#[test]
fn a_flame_graph_works_within_a_page_and_is_a_picture_without_scripts() {
    check_files("embedded", &[("shop.svg", &shop(Kind::OnCpu))]);
}

#[test]
fn names_of_functions_and_processes_are_text_whatever_they_say() {
    let hostile = hostile();
    check_files(
        "hostile",
        &[("hostile.svg", &hostile), ("hostile.html", &hostile)],
    );
}

#[test]
fn an_empty_and_a_large_profile_can_be_looked_at() {
    let empty = profile(Kind::OnCpu, &[]);
    let large = large();
    let files = [
        ("empty.svg", &empty),
        ("empty.html", &empty),
        ("large.svg", &large),
        ("large.html", &large),
    ];
    check_files("sizes", &files);
}
