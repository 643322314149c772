//! Writers and the consumer on threads of their own: no wake-up is lost.

use std::thread::{self, Thread};

use super::*;

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Parks until woken; a wake-up that never comes fails the test.
fn park() {
    let parked = Instant::now();
    thread::park_timeout(Duration::from_secs(60));
    assert!(
        parked.elapsed() < Duration::from_secs(50),
        "a wake-up was lost"
    );
}

fn write(queue: &MemoryQueue, writer: u32, messages: u32) {
    let waiter = WaiterId::next();
    let waker = this_thread();
    let mut cx = Context::from_waker(&waker);
    let lane = if writer == 0 { lane(0) } else { routed(writer) };
    for number in 0..messages {
        let mut message = vec![0, 0, 0, 0, 8];
        message.extend_from_slice(&u64::from(number).to_be_bytes());
        while queue.poll_ready(0, waiter, ONE, &mut cx).is_pending() {
            park();
        }
        let now = Instant::now();
        let record = Record {
            lane: &lane,
            messages: &message,
            count: 1,
            now,
        };
        assert_eq!(queue.push(0, &record), Dropped::default());
    }
}

#[test]
fn blocked_writers_and_a_waiting_consumer_always_go_on() {
    const WRITERS: u32 = 4;
    const MESSAGES: u32 = 3000;
    for (messages, bytes) in [(16, 1 << 20), (1 << 20, 200), (16, 200)] {
        let bench = Bench::new(messages, bytes, WhenFull::Block);
        let limits = Limits {
            linger: Duration::ZERO,
            ..LIMITS
        };
        let mut taken = 0;
        thread::scope(|scope| {
            let queue = &bench.queue;
            for writer in 0..WRITERS {
                scope.spawn(move || write(queue, writer, MESSAGES));
            }
            let waker = this_thread();
            let mut previous = None;
            while taken < WRITERS * MESSAGES {
                match queue.next(0, &limits, Instant::now(), &waker) {
                    Next::Batch(batch) => {
                        taken += batch.count;
                        // One stays in flight for a while, so that routed lanes are held.
                        if let Some(previous) = previous.replace(batch) {
                            bench.settle(&previous);
                        }
                    }
                    Next::Wait(_) => match previous.take() {
                        Some(previous) => bench.settle(&previous),
                        None => park(),
                    },
                    Next::Closed => panic!("nobody closed it"),
                }
            }
            if let Some(previous) = previous {
                bench.settle(&previous);
            }
        });
        bench.assert_empty();
    }
}
