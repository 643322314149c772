//! One line on a terminal while a capture runs; nothing where nobody looks.

use std::io::{IsTerminal, Write};
use std::time::Duration;

/// To the beginning of the line, and nothing behind it.
const ANEW: &str = "\r\x1b[K";

/// The line.
pub(super) struct Progress<W: Write> {
    /// `None`: nobody looks.
    out: Option<W>,
    shown: String,
}

impl Progress<std::io::Stderr> {
    /// On standard error, if that is a terminal.
    pub(super) fn on_terminal() -> Self {
        let stderr = std::io::stderr();
        let is_terminal = stderr.is_terminal();
        Self::new(is_terminal.then_some(stderr))
    }
}

impl<W: Write> Progress<W> {
    pub(super) fn new(out: Option<W>) -> Self {
        Self {
            out,
            shown: String::new(),
        }
    }

    /// Shows how far it is, once a second.
    pub(super) fn show(&mut self, passed: Duration, length: Duration, processes: Option<usize>) {
        let of = match processes {
            None => "all processes".to_owned(),
            Some(1) => "1 process".to_owned(),
            Some(0) => "no process yet".to_owned(),
            Some(count) => format!("{count} processes"),
        };
        let (passed, length) = (passed.as_secs(), length.as_secs());
        self.rewrite(format!(
            "{passed} of {length} s, {of}; Ctrl-C ends it early"
        ));
    }

    /// Shows that the wait is for names now.
    pub(super) fn show_naming(&mut self) {
        self.rewrite("naming functions".to_owned());
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        self.rewrite(String::new());
    }

    fn rewrite(&mut self, line: String) {
        if line == self.shown {
            return;
        }
        if let Some(out) = &mut self.out {
            // Whoever has closed the terminal does not miss it.
            let _unseen = write!(out, "{ANEW}{line}").and_then(|()| out.flush());
        }
        self.shown = line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_rewritten_once_a_second_and_taken_away() {
        let mut written = Vec::new();
        let mut progress = Progress::new(Some(&mut written));
        let length = Duration::from_secs(5);
        for millis in [0, 100, 999, 1000] {
            progress.show(Duration::from_millis(millis), length, Some(2));
        }
        progress.clear();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "\r\x1b[K0 of 5 s, 2 processes; Ctrl-C ends it early\
             \r\x1b[K1 of 5 s, 2 processes; Ctrl-C ends it early\r\x1b[K"
        );
    }
}
