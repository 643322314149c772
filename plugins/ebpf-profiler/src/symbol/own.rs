//! Frames of the kernel that are there because we look.

/// The innermost frames that a program of ours may have added; deeper ones are the thread's.
const MOST: usize = 16;

/// What calls a program at a tracepoint or a perf event. One of these shows that the stack was taken from
/// within, and not of a thread that another's program happened to run in.
const CALLERS: [&str; 6] = [
    "bpf_trace_run",
    "__bpf_trace_",
    "__traceiter_",
    "bpf_overflow_handler",
    "__perf_event_overflow",
    "perf_event_overflow",
];

/// How many of the innermost frames are ours, given names innermost first: up to the outermost caller of
/// a program among them.
///
/// For stacks that a tracepoint's program took (off-CPU). A perf event's program gets the interrupted
/// code's frames, where a caller of this kind means that someone else's program was interrupted.
pub fn strip_own_frames<'a>(names: impl IntoIterator<Item = &'a str>) -> usize {
    let is_caller = |name: &str| CALLERS.iter().any(|caller| name.starts_with(caller));
    let innermost = names.into_iter().take(MOST).enumerate();
    let callers = innermost.filter(|(_, name)| is_caller(name));
    callers.last().map_or(0, |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracepoint_s_frames_go_with_all_that_they_called() {
        let stack = [
            "0xffffffffc0001234",
            "bpf_prog_8d2c1c0a_off_cpu",
            "bpf_trace_run4",
            "__traceiter_sched_switch",
            "__schedule",
            "schedule",
        ];
        assert_eq!(strip_own_frames(stack), 4);
    }

    #[test]
    fn a_stack_that_was_not_taken_from_within_stays() {
        assert_eq!(strip_own_frames(["__schedule", "schedule"]), 0);
        assert_eq!(strip_own_frames([]), 0);
        let foreign = ["bpf_prog_1234_xdp_filter", "veth_xdp_rcv", "veth_poll"];
        assert_eq!(strip_own_frames(foreign), 0);
    }

    #[test]
    fn a_deep_caller_is_the_thread_s() {
        let mut stack = vec!["f"; 20];
        stack.push("bpf_trace_run2");
        assert_eq!(strip_own_frames(stack), 0);
    }
}
