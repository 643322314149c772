//! Profiles for tests.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::profile::{Frame, Kind, Module, Process, Profile, Stack, Summary};

/// What a process may call its functions to break what shows them.
pub(super) const HOSTILE: [&str; 8] = [
    "</script><script>alert(1)</script>",
    "]]></style></svg><img src=x onerror=alert(1)>",
    "\"' onload='alert(1)' x=\"",
    "<!-- &amp; &lt; &#0; \\u0000 \\",
    "a\0b\x07c\x1b[31m\u{fffe}\u{ffff}\u{202e}gnp",
    "line\nfeed;semicolon\r\ttab",
    "std::map<int, std::vector<T>>::operator<<(char const&)",
    "",
];

/// Nothing was seen.
pub(super) fn empty() -> Profile {
    Profile {
        kind: Kind::OnCpu,
        period: Duration::from_nanos(10_101_010),
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        duration: Duration::from_secs(10),
        processes: Vec::new(),
        modules: Vec::new(),
        frames: Vec::new(),
        stacks: Vec::new(),
        summary: Summary::default(),
    }
}

/// One stack of these functions, from the outside in, of process `chain` with PID 7.
pub(super) fn chain(names: &[&str], count: u64) -> Profile {
    let mut profile = empty();
    profile.processes.push(Process {
        pid: 7,
        name: "chain".to_owned(),
    });
    let frames = names.iter().map(|name| frame(name, None));
    profile.frames.extend(frames);
    let user = (0..names.len() as u32).rev().collect();
    profile.stacks.push(stack(&profile, user, count));
    profile.summary.samples = count;
    profile
}

/// A program with a hot and a warm function, a system call, code without a name and compiled code:
/// 100 samples.
pub(super) fn shop() -> Profile {
    let mut profile = empty();
    profile.processes.push(Process {
        pid: 42,
        name: "shop".to_owned(),
    });
    profile.modules = vec![
        module("/usr/bin/shop", Some("c0ffee"), 0x1000, 0x9000),
        module("/usr/lib/libshop.so", None, 0x1000, 0x2000),
        module(
            "[kernel]",
            None,
            0xffff_ffff_8100_0000,
            0xffff_ffff_8200_0000,
        ),
    ];
    let names = [
        ("_start", Some(0)),
        ("main", Some(0)),
        ("hot", Some(0)),
        ("warm", Some(0)),
        ("libshop.so+0x1234", Some(1)),
        ("JS:*total shop.js:12", None),
        ("node::Start", Some(0)),
    ];
    let frames = names.iter().map(|(name, module)| frame(name, *module));
    profile.frames = frames.collect();
    for name in ["entry_SYSCALL_64", "do_syscall_64"] {
        let mut kernel = frame(name, Some(2));
        kernel.kernel = true;
        kernel.address = 0xffff_ffff_8100_1000;
        profile.frames.push(kernel);
    }
    for (user, count) in [
        (vec![2, 1, 0], 60),
        (vec![3, 1, 0], 20),
        (vec![4, 1, 0], 5),
        (vec![5, 6], 5),
    ] {
        let stack = stack(&profile, user, count);
        profile.stacks.push(stack);
    }
    let mut call = stack(&profile, vec![2, 1, 0], 10);
    call.kernel = vec![8, 7];
    profile.stacks.push(call);
    profile.summary.samples = 100;
    profile
}

/// As many stacks as that, no two alike, each of eight frames below three that all share.
pub(super) fn distinct(stacks: u32) -> Profile {
    let mut profile = chain(
        &["_start", "main", "tokio::runtime::context::enter_runtime"],
        1,
    );
    let module = module("/usr/bin/server", None, 0x1000, 0x100_0000);
    profile.modules.push(module);
    for index in 0..5_000 {
        let name = format!("<server::module_{index}::Handler as core::future::Future>::poll");
        profile.frames.push(frame(&name, Some(0)));
    }
    for index in 0..stacks {
        let (step, lap) = (index % 5_000, index / 5_000);
        let frame = |level: u32| 3 + (step * level + lap * level * level) % 5_000;
        let mut user: Vec<u32> = (1..=8).map(frame).collect();
        user.extend([2, 1, 0]);
        let stack = stack(&profile, user, 1 + u64::from(20_000 / (index + 1)));
        profile.stacks.push(stack);
    }
    profile.summary.samples = profile.stacks.iter().map(|it| it.count).sum();
    profile
}

/// Each hostile name in a function, a process and a module.
pub(super) fn hostile() -> Profile {
    let long = "x".repeat(100_000);
    let names: Vec<&str> = HOSTILE.into_iter().chain([long.as_str()]).collect();
    let mut profile = chain(&names, 3);
    for (index, name) in names.iter().enumerate() {
        profile.modules.push(module(name, Some(name), 0, 1));
        profile.frames[index].module = Some(index as u32);
        profile.processes.push(Process {
            pid: 100 + index as u32,
            name: (*name).to_owned(),
        });
        let mut stack = profile.stacks[0].clone();
        stack.process = 1 + index as u32;
        profile.stacks.push(stack);
    }
    profile
}

/// A stack of 127 frames of the kernel on 127 of the program.
pub(super) fn deep() -> Profile {
    let names: Vec<String> = (0..127).map(|it| format!("level_{it}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut profile = chain(&names, 3);
    for level in 0..127 {
        let mut kernel = frame(&format!("sys_{level}"), None);
        kernel.kernel = true;
        profile.frames.push(kernel);
        profile.stacks[0].kernel.insert(0, 127 + level);
    }
    profile
}

pub(super) fn every() -> Vec<(&'static str, Profile)> {
    vec![
        ("empty", empty()),
        ("shop", shop()),
        ("hostile", hostile()),
        ("deep", deep()),
        ("distinct", distinct(20_000)),
    ]
}

/// What Python prints that is given a program and an input; `None` where there is no Python.
pub(super) fn python(program: &str, input: &[u8]) -> Option<String> {
    let mut child = match Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            println!("skipped: no python3: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "python3 failed, see above");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn frame(name: &str, module: Option<u32>) -> Frame {
    Frame {
        name: Arc::from(name),
        kernel: false,
        module,
        address: 0x1234,
    }
}

fn module(path: &str, build_id: Option<&str>, start: u64, end: u64) -> Module {
    Module {
        path: path.to_owned(),
        build_id: build_id.map(str::to_owned),
        start,
        end,
        offset: 0x1000,
    }
}

fn stack(profile: &Profile, user: Vec<u32>, count: u64) -> Stack {
    Stack {
        process: 0,
        kernel: Vec::new(),
        user,
        count,
        nanos: count * profile.period.as_nanos() as u64,
        complete: true,
        preempted: false,
    }
}
