//! What the demo prints: the live table, and the reconciliation at the end.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::reconcile::{Line, Live, NODES, Outcome, Queued, spread};
use crate::telemetry::books::DropReason;

/// Up `n` lines, to their beginning, and everything below erased.
fn rewind(lines: usize) -> String {
    format!("\x1b[{lines}F\x1b[J")
}

/// The live table.
pub(super) struct Screen {
    redraws: bool,
    /// Lines of the table that is on the screen.
    drawn: usize,
}

impl Screen {
    /// In place on a terminal; otherwise one line at a time.
    pub(super) fn new() -> Self {
        Self {
            redraws: io::stdout().is_terminal(),
            drawn: 0,
        }
    }

    /// Shows how things stand.
    pub(super) fn show(&mut self, elapsed: Duration, lines: &[Line]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.redraws {
            writeln!(out, "{}", compact(elapsed, lines))?;
            return out.flush();
        }
        let table = live_table(elapsed, lines);
        if self.drawn > 0 {
            write!(out, "{}", rewind(self.drawn - 1))?;
        }
        self.drawn = table.lines().count();
        // No line break at the end: the table has the 24 lines of a common terminal.
        write!(out, "{}", table.trim_end())?;
        out.flush()
    }

    /// Leaves the last table where it is.
    pub(super) fn finish(self) -> io::Result<()> {
        if self.drawn > 0 {
            writeln!(io::stdout().lock())?;
        }
        Ok(())
    }
}

/// Both kinds of a pipe in one.
struct Moving {
    sent: u64,
    nodes: [u64; NODES],
    queued: u64,
    dropped: u64,
}

impl Moving {
    fn of(line: &Line) -> Self {
        let queued = line.queued.clone().unwrap_or_default();
        let live = line.live.clone().unwrap_or_default();
        Self {
            sent: queued.sent + live.sent,
            nodes: std::array::from_fn(|node| queued.nodes[node] + live.arrived[node]),
            queued: queued.books.outstanding(),
            dropped: queued.books.dropped_in_all(),
        }
    }
}

fn compact(elapsed: Duration, lines: &[Line]) -> String {
    let all: Vec<Moving> = lines.iter().map(Moving::of).collect();
    let sum = |of: fn(&Moving) -> u64| all.iter().map(of).sum::<u64>();
    format!(
        "{:>3} s  sent {}, delivered {} + {} + {}, queued {}, dropped {}",
        elapsed.as_secs(),
        sum(|line| line.sent),
        sum(|line| line.nodes[0]),
        sum(|line| line.nodes[1]),
        sum(|line| line.nodes[2]),
        sum(|line| line.queued),
        sum(|line| line.dropped),
    )
}

fn live_table(elapsed: Duration, lines: &[Line]) -> String {
    let mut table = format!(
        "{:<28}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}\n",
        format!("after {} s", elapsed.as_secs()),
        "sent",
        "node 1",
        "node 2",
        "node 3",
        "queued",
        "dropped"
    );
    for line in lines {
        let Moving {
            sent,
            nodes: [one, two, three],
            queued,
            dropped,
        } = Moving::of(line);
        let name = &line.pipe;
        table += &format!("{name:<28}{sent:>8}{one:>8}{two:>8}{three:>8}{queued:>8}{dropped:>8}\n");
    }
    table
}

/// What every side has counted, and whether it adds up.
pub(super) fn reconciliation(outcome: &Outcome) -> String {
    let mut text = format!(
        "\nmessages that the gateway took over; sent by agents, booked by the gateway, accepted \
         by nodes\n(merged: went on in another message, as a meter in its set)\n{:<28} {:>7} {:>7} {:>9} {:>7} {:>7} {:>7} {:>6} {:>6}  {}\n",
        "",
        "sent",
        "acked",
        "delivered",
        "node 1",
        "node 2",
        "node 3",
        "merged",
        "resent",
        "dropped"
    );
    for line in &outcome.lines {
        if let Some(queued) = &line.queued {
            text += &queued_line(&line.pipe, queued);
        }
    }
    text += &format!(
        "\ncalls that an OAP answered, whose messages are also part of what the lines above call \
         sent\n{:<28} {:>7} {:>8} {:>7} {:>7} {:>7} {:>7} {:>9}\n",
        "", "calls", "answered", "booked", "node 1", "node 2", "node 3", "messages"
    );
    for line in &outcome.lines {
        if let Some(live) = &line.live {
            text += &live_line(&line.pipe, live);
        }
    }
    text += "\n";
    for probe in &outcome.probes {
        text += &format!(
            "{}: {} of {} calls answered as they should be\n",
            probe.what, probe.as_expected, probe.calls
        );
    }
    let (instances, split) = outcome.instances;
    let (files, whole) = outcome.files;
    let [one, two, three] = outcome.unkeyed;
    text += &format!(
        "profiler files: {whole} of {files} arrived byte for byte\n\
         meter instances kept on one node: {} of {instances}\n\
         messages that may go to any node, by node: {one}, {two}, {three}; {:.2} % apart\n",
        instances - split,
        spread(outcome.unkeyed) * 100.0,
    );
    text
}

fn queued_line(name: &str, queued: &Queued) -> String {
    let Queued {
        sent,
        acknowledged,
        books,
        nodes: [one, two, three],
    } = queued;
    format!(
        "{name:<28} {sent:>7} {acknowledged:>7} {:>9} {one:>7} {two:>7} {three:>7} {:>6} {:>6}  \
         {}\n",
        books.delivered,
        books.merged,
        books.resent,
        dropped(queued),
    )
}

fn dropped(queued: &Queued) -> String {
    let reasons = DropReason::ALL.into_iter();
    let dropped: Vec<String> = reasons
        .filter(|reason| queued.books.dropped_for(*reason) > 0)
        .map(|reason| format!("{} {}", queued.books.dropped_for(reason), reason.label()))
        .collect();
    if dropped.is_empty() {
        return "0".to_owned();
    }
    dropped.join(", ")
}

fn live_line(pipe: &str, live: &Live) -> String {
    let Live {
        calls,
        answered,
        sent,
        booked,
        nodes: [one, two, three],
        ..
    } = live;
    format!(
        "{pipe:<28} {calls:>7} {answered:>8} {booked:>7} {one:>7} {two:>7} {three:>7} {sent:>9}\n"
    )
}
