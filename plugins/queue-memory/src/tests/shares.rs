//! Writers of several sources before a queue that is full.

use std::net::Ipv4Addr;

use super::*;

/// Messages in a run: as many of each writer, for what is small fits sooner.
const RUN: u64 = 2;

/// A call that always has another run in hand.
struct Writer {
    waiter: WaiterId,
    woken: Arc<Woken>,
    pushed: u64,
}

impl Writer {
    fn of(source: u8, connection: u64) -> Self {
        Self {
            waiter: WaiterId::of(Ipv4Addr::new(10, 0, 0, source).into(), connection),
            woken: Arc::default(),
            pushed: 0,
        }
    }

    /// Pushes until it has to wait.
    fn push(&mut self, bench: &mut Bench) {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        let arriving = Settled {
            count: RUN,
            bytes: RUN * ONE.bytes,
        };
        while bench
            .queue
            .poll_ready(0, self.waiter, arriving, &mut cx)
            .is_ready()
        {
            let run = vec![8; usize::try_from(RUN).unwrap()];
            assert_eq!(bench.push(&lane(0), &run), Dropped::default());
            self.pushed += RUN;
        }
    }
}

/// A slow node takes four messages at a time. Whoever was woken last runs first.
fn deliver(writers: &mut [Writer], bench: &mut Bench, batches: usize) {
    let limits = Limits {
        count: 4,
        linger: Duration::ZERO,
        ..LIMITS
    };
    for writer in &mut *writers {
        writer.push(bench);
    }
    for writer in &mut *writers {
        writer.pushed = 0;
    }
    for _ in 0..batches {
        let batch = bench.batch(&limits);
        bench.settle(&batch);
        for writer in writers.iter_mut().rev() {
            if writer.woken.0.swap(0, Ordering::SeqCst) > 0 {
                writer.push(bench);
            }
        }
        assert!(bench.queue.partitions[0].gate.level() <= 16);
    }
}

/// Scenario: a flood of 600 calls on three connections, and one call of another source; the queue is
/// full of messages, of bytes, or of both.
/// Guarantees: the one call gets its half.
#[test]
fn a_flood_of_calls_leaves_one_of_another_source_its_half() {
    for (messages, bytes) in [(16, 1 << 20), (1 << 20, 16 * 13), (16, 16 * 13)] {
        let mut bench = Bench::new(messages, bytes, WhenFull::Block);
        let mut writers: Vec<_> = (0..600).map(|call| Writer::of(1, call % 3)).collect();
        writers.push(Writer::of(2, 3));
        deliver(&mut writers, &mut bench, 1000);
        let modest = writers.pop().unwrap().pushed;
        let flood: u64 = writers.iter().map(|writer| writer.pushed).sum();
        assert!(modest * 10 >= flood * 9, "{modest} beside {flood}");
    }
}
