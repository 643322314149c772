//! The thread that writes lines, and its bounded channel.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tracing_subscriber::fmt::MakeWriter;

use super::format::LineFormat;

/// Lines that wait for a slow output: some megabytes at worst.
pub(super) const LINES: usize = 8192;

/// Longest wait for the last lines at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(2);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that this process did not write because its output was too slow.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

#[derive(Debug)]
enum Order {
    Write(Box<[u8]>),
    /// Write what came before, say so, and end.
    Finish(Sender<()>),
}

/// Writes what is left when dropped, for at most two seconds: an output that nobody reads must not
/// keep the process from ending.
#[derive(Debug)]
#[must_use = "the log ends when its guard is dropped"]
pub struct Guard(Sender<Order>);

impl Drop for Guard {
    fn drop(&mut self) {
        let (finished, last) = bounded(1);
        let finish = Order::Finish(finished);
        if self.0.send_timeout(finish, LAST_WORDS).is_ok() {
            // Timed out or not, there is nothing left to do.
            let _ = last.recv_timeout(LAST_WORDS);
        }
    }
}

/// Offers lines to the writer; never waits.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    orders: Sender<Order>,
    dropped: Arc<AtomicU64>,
}

impl Write for &Lines {
    /// One call is one line: `tracing-subscriber` formats an event into one buffer.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.orders.try_send(Order::Write(line.into())) {
            Err(TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
            // After the guard is gone there is nobody to tell.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

/// What tells of dropped lines.
#[derive(Debug)]
pub(super) struct Notice(LineFormat);

impl Notice {
    pub(super) fn new(format: LineFormat) -> Self {
        Self(format)
    }
}

/// Starts the thread.
pub(super) fn start<W: Write + Send + 'static>(
    output: W,
    lines: usize,
    notice: Notice,
) -> io::Result<(Lines, Guard)> {
    let (orders, inbox) = bounded(lines);
    let dropped = Arc::new(AtomicU64::new(0));
    let writer = Writer {
        inbox,
        output,
        notice,
        dropped: Arc::clone(&dropped),
    };
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writer.run())?;
    let guard = Guard(orders.clone());
    Ok((Lines { orders, dropped }, guard))
}

struct Writer<W> {
    inbox: Receiver<Order>,
    output: W,
    notice: Notice,
    dropped: Arc<AtomicU64>,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut text = Vec::new();
        while let Ok(first) = self.inbox.recv() {
            text.clear();
            let mut order = Some(first);
            let mut finished = None;
            // What waits already goes out in one write; bounded by the channel's length.
            let mut room = self.inbox.capacity().unwrap_or(0);
            while let Some(next) = order {
                match next {
                    Order::Write(line) => text.extend_from_slice(&line),
                    Order::Finish(done) => {
                        finished = Some(done);
                        break;
                    }
                }
                room = room.saturating_sub(1);
                order = if room > 0 {
                    self.inbox.try_recv().ok()
                } else {
                    None
                };
            }
            self.write(&text);
            if let Some(done) = finished {
                // The guard may have stopped waiting.
                let _ = done.send(());
                return;
            }
        }
    }

    fn write(&mut self, text: &[u8]) {
        // A closed output cannot be reported anywhere, and the process lives on without a log.
        let _ = self.output.write_all(text);
        let lines = self.dropped.swap(0, Ordering::Relaxed);
        if lines > 0 {
            let notice = self.notice.0.dropped(lines, SystemTime::now());
            let _ = self.output.write_all(notice.as_bytes());
        }
        let _ = self.output.flush();
    }
}
