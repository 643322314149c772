use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;

fn words(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|it| it.to_ne_bytes()).collect()
}

/// Process 7, thread 8, time 9; a frame of the kernel, two of the program.
fn chain() -> Vec<u64> {
    let kernel = -128_i64 as u64;
    let user = -512_i64 as u64;
    vec![
        8 << 32 | 7,
        9,
        5,
        kernel,
        0xffff_8000_0000_1000,
        user,
        0x10,
        0x20,
    ]
}

#[test]
fn lists_of_cpus_are_read_with_gaps() {
    assert_eq!(parse_list("0-2,5,7-8"), Some(vec![0, 1, 2, 5, 7, 8]));
    assert_eq!(parse_list("0"), Some(vec![0]));
    for strange in ["", "a", "0-", "3-1", "0-4294967295"] {
        assert_eq!(parse_list(strange), None, "{strange:?}");
    }
}

#[test]
fn a_sample_is_read_with_both_parts_of_its_chain() {
    let body = words(&chain());
    let Record::Sample(sample) = record::parse(9, 0, &body, false) else {
        panic!("not a sample");
    };
    assert_eq!((sample.pid, sample.tid, sample.time), (7, 8, 9));
    assert_eq!(sample.kernel().collect::<Vec<_>>(), [0xffff_8000_0000_1000]);
    assert_eq!(sample.user().collect::<Vec<_>>(), [0x10, 0x20]);
    assert_eq!((sample.registers, sample.stack), (None, [].as_slice()));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_sample_has_registers_and_as_much_of_the_stack_as_was_copied() {
    let mut body = chain();
    body.extend([2, 0x30, 0x7000, 0x40]);
    body.extend([24, 1, 2, 3, 16]);
    let body = words(&body);
    let Record::Sample(sample) = record::parse(9, 0, &body, true) else {
        panic!("not a sample");
    };
    let registers = Registers {
        ip: 0x40,
        sp: 0x7000,
        fp: 0x30,
        link: 0,
    };
    assert_eq!(sample.registers, Some(registers));
    assert_eq!(sample.stack, words(&[1, 2]));
}

#[test]
fn a_thread_of_the_kernel_has_neither_registers_nor_stack() {
    let mut body = chain();
    body.extend([0, 0]);
    let body = words(&body);
    let Record::Sample(sample) = record::parse(9, 0, &body, true) else {
        panic!("not a sample");
    };
    assert_eq!((sample.registers, sample.stack), (None, [].as_slice()));
}

#[test]
fn what_is_cut_or_too_long_is_no_sample() {
    let mut body = chain();
    body.extend([2, 0x30, 0x7000, 0x40, 16, 1, 2, 16]);
    let body = words(&body);
    for length in 0..body.len() {
        assert_eq!(
            record::parse(9, 0, &body[..length], true),
            Record::Other(9),
            "cut to {length}"
        );
    }
    let mut long = chain();
    long[2] = u64::MAX / 4;
    assert_eq!(record::parse(9, 0, &words(&long), false), Record::Other(9));
}

#[test]
fn losses_are_told() {
    assert_eq!(
        record::parse(2, 0, &words(&[1, 42]), true),
        Record::Lost(42)
    );
}

#[test]
fn what_becomes_of_processes_is_told_apart_from_what_becomes_of_threads() {
    let exec = 1 << 13;
    // Process 7, its thread, `cat`, then process, thread and time again.
    let comm = words(&[
        7 << 32 | 7,
        u64::from(u32::from_le_bytes(*b"cat\0")),
        7 << 32 | 7,
        9,
    ]);
    let change = |pid, how| Record::Change(Change { pid, time: 9, how });
    assert_eq!(record::parse(3, exec, &comm, true), change(7, How::Exec));
    assert_eq!(record::parse(3, 0, &comm, true), Record::Thread);
    // Process and parent, thread and the thread that did it, time.
    let task = |kind, pid: u64, parent: u64, thread: u64| {
        let body = words(&[parent << 32 | pid, 5 << 32 | thread, 9, 0, 0]);
        for cut in 0..24 {
            assert_eq!(
                record::parse(kind, 0, &body[..cut], true),
                Record::Other(kind)
            );
        }
        match record::parse(kind, 0, &body, true) {
            Record::Change(change) => Some(change),
            other => {
                assert_eq!(other, Record::Thread);
                None
            }
        }
    };
    let change = |pid, how| Some(Change { pid, time: 9, how });
    assert_eq!(task(7, 8, 5, 8), change(8, How::Forked(5)));
    assert_eq!(task(7, 5, 5, 8), None);
    assert_eq!(task(4, 8, 5, 8), change(8, How::Exited));
    assert_eq!(task(4, 5, 1, 8), None);
    assert_eq!(record::parse(3, exec, &[0; 12], true), Record::Other(3));
}

/// A process that does nothing but run. It ends with the test.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", "while :; do :; done"])
            .stdin(Stdio::null());
        Busy(command.spawn().expect("there is a shell"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Rings of a clock on every CPU, or why there are none.
fn rings(period: Duration, stack: u32, pages: usize) -> Option<Vec<Ring>> {
    let open = |cpu| {
        let whom = Whom::Everyone;
        Ring::open(
            &Clock {
                whom,
                cpu: Some(cpu),
                period,
                kernel: true,
                stack,
            },
            pages,
        )
    };
    match online_cpus().and_then(|cpus| cpus.into_iter().map(open).collect()) {
        Ok(rings) => Some(rings),
        Err(error) => {
            println!("skipped: perf_event_open: {error}");
            None
        }
    }
}

#[test]
fn a_busy_process_is_sampled_once_a_period_and_the_ring_goes_round() {
    let period = Duration::from_millis(1);
    let Some(mut rings) = rings(period, 4096, 16) else {
        return;
    };
    let busy = Busy::start();
    let (mut times, mut lost, mut with_stack, mut bytes) = (Vec::new(), 0, 0, 0_u64);
    let deadline = Instant::now() + Duration::from_secs(60);
    while times.len() < 500 && Instant::now() < deadline {
        wait(&mut rings, Duration::from_millis(100)).expect("it can be waited for");
        for ring in &mut rings {
            while let Some(record) = ring.next_record() {
                match record {
                    Record::Sample(sample) if sample.pid == busy.0.id() => {
                        times.push(sample.time);
                        with_stack += u64::from(sample.registers.is_some_and(|it| it.sp > it.ip));
                        bytes += 4096;
                    }
                    Record::Sample(sample) => assert_ne!(sample.pid, 0, "the idle task"),
                    Record::Lost(count) => lost += count,
                    Record::Throttled | Record::Change(_) | Record::Thread => {}
                    Record::Other(kind) => panic!("record of kind {kind}"),
                }
            }
        }
    }
    assert!(times.len() >= 500, "{} samples, {lost} lost", times.len());
    assert!(bytes > 16 * 4096, "the ring has gone round");
    // Until it execs it is a thread of ours, whose stack may lie below the code.
    let without = times.len() as u64 - with_stack;
    assert!(without <= 10, "{without} of {} samples", times.len());
    // What the kernel says of it is read later than the last sample, and a virtual machine stands still
    // at times.
    let ran = std::fs::read_to_string(format!("/proc/{}/schedstat", busy.0.id()));
    let ran = ran.expect("the process is there");
    let nanos: u64 = ran
        .split(' ')
        .next()
        .and_then(|it| it.parse().ok())
        .expect("a number");
    let (periods, taken) = (nanos / 1_000_000, times.len() as u64);
    assert!(
        taken <= periods + periods / 10,
        "{taken} in {periods} periods"
    );
    assert!(
        taken + lost >= periods / 2,
        "{taken} and {lost} lost in {periods} periods"
    );
    let distinct: std::collections::BTreeSet<_> = times.iter().collect();
    assert_eq!(
        distinct.len(),
        times.len(),
        "each was taken at a time of its own"
    );
}

#[test]
fn a_period_can_be_changed_while_it_runs() {
    let Some(mut rings) = rings(Duration::from_secs(3600), 0, 16) else {
        return;
    };
    let _busy = Busy::start();
    let mut samples = 0;
    for ring in &rings {
        set_period(ring.event(), Duration::from_millis(1)).expect("the period is allowed");
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while samples < 100 && Instant::now() < deadline {
        wait(&mut rings, Duration::from_millis(100)).expect("it can be waited for");
        for ring in &mut rings {
            while let Some(record) = ring.next_record() {
                samples += u32::from(matches!(record, Record::Sample(_)));
            }
        }
    }
    assert!(samples >= 100, "{samples} samples");
}

#[test]
fn a_full_ring_counts_what_it_loses() {
    let Some(mut rings) = rings(Duration::from_micros(500), 16384, 8) else {
        return;
    };
    let _busy = Busy::start();
    // Nobody reads until the ring that the process runs on is full; a loss is told with the next room.
    let (mut lost, deadline) = (0, Instant::now() + Duration::from_secs(60));
    while lost == 0 && Instant::now() < deadline {
        for _half in 0..3 {
            wait(&mut rings, Duration::from_millis(50)).expect("it can be waited for");
        }
        for ring in &mut rings {
            while let Some(record) = ring.next_record() {
                if let Record::Lost(count) = record {
                    lost += count;
                }
            }
        }
    }
    assert!(lost > 0, "nothing was told lost");
}

#[test]
fn a_ring_takes_powers_of_two_of_pages_only() {
    let error = Ring::shared(0, 3, true).expect_err("three pages");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
