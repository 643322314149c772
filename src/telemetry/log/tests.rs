//! The log as a whole, onto an output that the test holds.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use tracing::{debug, error, info, warn};

use super::*;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output that says when it is written to, and waits until it may.
struct Gated {
    page: Page,
    entered: Sender<()>,
    go: Receiver<()>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        // A dropped sender opens the gate for good.
        let _ = self.go.recv();
        self.page.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(options: &LogOptions, write: impl FnOnce()) -> String {
    let page = Page::default();
    let (dispatch, guard) = start(options, page.clone(), LINES).unwrap();
    tracing::dispatcher::with_default(&dispatch, write);
    drop(guard);
    page.text()
}

fn untimed(level: Level) -> LogOptions {
    LogOptions {
        pattern: "[%level][%field] - %msg".to_owned(),
        level,
        ..LogOptions::default()
    }
}

#[test]
fn lines_follow_satellites_pattern() {
    let text = logged(&untimed(Level::INFO), || {
        let address = "127.0.0.1:11800";
        info!(%address, batch_bytes = 7, "node is ready");
        warn!("no fields");
    });
    assert_eq!(
        text,
        "[info][address=127.0.0.1:11800,batch_bytes=7] - node is ready\n\
         [warning][] - no fields\n"
    );
}

#[test]
fn satellites_default_pattern_begins_with_the_time() {
    let text = logged(&LogOptions::default(), || {
        info!(pipe = "logpipe", "started");
    });
    let (time, rest) = text.split_at("2006-01-02 15:04:05.000".len());
    assert_eq!(rest, " [info][pipe=logpipe] - started\n");
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00 00:00:00.000");
}

#[test]
fn lower_levels_and_chatty_libraries_are_left_out() {
    let write = || {
        debug!("ours");
        debug!(target: "h2::codec", "theirs");
        info!(target: "h2::codec", "their news");
    };
    assert_eq!(
        logged(&untimed(Level::DEBUG), write),
        "[debug][] - ours\n[info][] - their news\n"
    );
    assert_eq!(logged(&untimed(Level::WARN), write), "");
}

#[test]
fn text_from_outside_cannot_begin_a_line() {
    let text = logged(&untimed(Level::INFO), || {
        error!(path = "/a\n[error][] - forged", "refused\r\n");
    });
    assert_eq!(
        text,
        "[error][path=/a\\n[error][] - forged] - refused\\r\\n\n"
    );
}

#[test]
fn json_lines_are_objects_with_the_fields_beside_the_message() {
    let options = LogOptions {
        json: true,
        ..LogOptions::default()
    };
    let text = logged(&options, || info!(pipe = "logpipe", batch = 3, "started"));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["message"], "started");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["pipe"], "logpipe");
    assert_eq!(line["batch"], 3);
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    let notice = LineFormat::Json.dropped(5, std::time::SystemTime::now());
    let notice: serde_json::Value = serde_json::from_str(&notice).unwrap();
    assert_eq!(notice["lines"], 5);
}

#[test]
fn a_slow_output_drops_lines_and_says_how_many() {
    const ROOM: usize = 4;
    let page = Page::default();
    let (entered, writing) = bounded(100);
    let (gate, go) = bounded(1);
    let output = Gated {
        page: page.clone(),
        entered,
        go,
    };
    let (dispatch, guard) = start(&untimed(Level::INFO), output, ROOM).unwrap();
    let before = dropped_lines();
    tracing::dispatcher::with_default(&dispatch, || {
        info!("first");
        writing.recv().unwrap();
        for line in 0..ROOM + 3 {
            info!("line {line}");
        }
    });
    assert_eq!(dropped_lines() - before, 3);
    drop(gate);
    drop(guard);
    let text = page.text();
    let lines: Vec<&str> = text.lines().collect();
    let notice = "[warning][lines=3] - log lines dropped: standard output is too slow";
    assert_eq!(lines.len(), 1 + ROOM + 1, "{text}");
    assert!(lines.contains(&notice), "{text}");
    assert!(lines.contains(&"[info][] - line 3") && !lines.contains(&"[info][] - line 4"));
}
