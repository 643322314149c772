//! Folded stacks: `process;outermost;...;innermost COUNT`, one line a stack, sorted.
//!
//! The value is samples on CPU and **microseconds** off CPU (at least 1, a wait is never nothing). The
//! kernel's frames end in `_[k]`. Processes of one name share their lines; the frame `[preempted]` below
//! the process holds the waits that the scheduler imposed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::tree::PREEMPTED;
use crate::profile::{Frame, Kind, Profile, Stack};

pub(super) fn write(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for stack in &profile.stacks {
        let value = match profile.kind {
            Kind::OnCpu => stack.count,
            Kind::OffCpu => stack.nanos,
        };
        let sum = lines.entry(line(profile, stack)).or_default();
        *sum = sum.saturating_add(value);
    }
    for (line, value) in lines {
        let value = match profile.kind {
            Kind::OnCpu => value,
            Kind::OffCpu => (value.saturating_add(500) / 1000).max(1),
        };
        writeln!(out, "{line} {value}")?;
    }
    Ok(())
}

fn line(profile: &Profile, stack: &Stack) -> String {
    let process = profile.processes.get(stack.process as usize);
    let mut line = plain(process.map_or("", |it| &it.name)).into_owned();
    if stack.preempted {
        line.push(';');
        line.push_str(PREEMPTED);
    }
    for Frame { name, kernel, .. } in profile.frames_of(stack).rev() {
        line.push(';');
        line.push_str(&plain(name));
        if *kernel {
            line.push_str("_[k]");
        }
    }
    line
}

/// A name without what separates frames and lines.
fn plain(name: &str) -> Cow<'_, str> {
    if name.trim().is_empty() {
        return Cow::Borrowed("[unnamed]");
    }
    let breaks = |it: char| it.is_control() || matches!(it, '\u{2028}' | '\u{2029}');
    if !name.contains(|it| it == ';' || breaks(it)) {
        return Cow::Borrowed(name);
    }
    let replaced = name.chars().map(|it| match it {
        ';' => ':',
        it if breaks(it) => ' ',
        it => it,
    });
    Cow::Owned(replaced.collect())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn folded(profile: &Profile) -> String {
        let mut out = Vec::new();
        write(profile, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn stacks_go_from_the_outside_in_and_the_kernel_is_marked() {
        let expected = "\
            shop;_start;main;hot 60\n\
            shop;_start;main;hot;entry_SYSCALL_64_[k];do_syscall_64_[k] 10\n\
            shop;_start;main;libshop.so+0x1234 5\n\
            shop;_start;main;warm 20\n\
            shop;node::Start;JS:*total shop.js:12 5\n";
        assert_eq!(folded(&samples::shop()), expected);
    }

    #[test]
    fn processes_of_one_name_share_their_lines() {
        let mut profile = samples::chain(&["main", "work"], 3);
        profile.processes.push(profile.processes[0].clone());
        profile.processes[1].pid += 1;
        let mut other = profile.stacks[0].clone();
        other.process = 1;
        profile.stacks.push(other);
        assert_eq!(folded(&profile), "chain;main;work 6\n");
    }

    #[test]
    fn a_wait_counts_its_microseconds_and_is_never_nothing() {
        let mut profile = samples::chain(&["main", "work"], 3);
        profile.kind = Kind::OffCpu;
        profile.stacks[0].nanos = 2_500_499;
        let mut preempted = profile.stacks[0].clone();
        preempted.preempted = true;
        preempted.nanos = 12;
        profile.stacks.push(preempted);
        assert_eq!(
            folded(&profile),
            "chain;[preempted];main;work 1\nchain;main;work 2500\n"
        );
    }

    #[test]
    fn a_name_cannot_make_a_frame_or_a_line() {
        let profile = samples::chain(&["a;b 7\nc", "", "d\r\0e"], 3);
        assert_eq!(folded(&profile), "chain;a:b 7 c;[unnamed];d  e 3\n");
    }

    #[test]
    fn an_empty_profile_is_an_empty_file() {
        assert_eq!(folded(&samples::empty()), "");
    }
}
