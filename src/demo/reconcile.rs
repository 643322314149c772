//! Whether three independent counts agree: the agents', the gateway's books, and the sinks'.
//!
//! Pure: everything here is made of numbers that [`sides`](super::sides) has collected.

use crate::telemetry::books::PipeSnapshot;

/// Sinks of the demo.
pub(super) const NODES: usize = 3;

/// How far the nodes' shares may be apart: (largest - smallest) / mean.
const TOLERANCE: f64 = 0.10;

/// The three counts of one pipe.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) pipe: String,
    /// If the pipe has queued methods.
    pub(super) queued: Option<Queued>,
    /// If the pipe has methods that an OAP answers.
    pub(super) live: Option<Live>,
}

/// Messages that the gateway took over.
#[derive(Clone, Debug, Default)]
pub(super) struct Queued {
    /// Handed in by agents.
    pub(super) sent: u64,
    /// Of these, in calls that were answered with OK.
    pub(super) acknowledged: u64,
    /// The gateway's books.
    pub(super) books: PipeSnapshot,
    /// Accepted by each sink.
    pub(super) nodes: [u64; NODES],
}

/// Calls that an OAP answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// Begun by agents.
    pub(super) calls: u64,
    /// Answered with OK.
    pub(super) answered: u64,
    /// Messages on them.
    pub(super) sent: u64,
    /// In the gateway's books.
    pub(super) booked: u64,
    /// Failures in the gateway's books.
    pub(super) failures: u64,
    /// Calls at each sink.
    pub(super) nodes: [u64; NODES],
    /// Messages at each sink.
    pub(super) arrived: [u64; NODES],
}

/// One method.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) path: &'static str,
    /// By agents.
    pub(super) sent: u64,
    /// At all sinks, on the path that the method leaves by.
    pub(super) arrived: u64,
    /// Why a call failed, if one did.
    pub(super) failure: Option<String>,
}

/// Something that agents do beside the table, and how often it went as it should.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe {
    pub(super) what: &'static str,
    pub(super) calls: u64,
    pub(super) as_expected: u64,
    /// Calls that reached a sink, and that should have.
    pub(super) at_sinks: (u64, u64),
    /// Why a call failed, if one did.
    pub(super) failure: Option<String>,
}

/// Everything that is known when the demo ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) lines: Vec<Line>,
    pub(super) rows: Vec<Row>,
    pub(super) probes: Vec<Probe>,
    /// Messages at each sink that might have gone to any.
    pub(super) unkeyed: [u64; NODES],
    /// Meter instances, and those of them that more than one sink has seen.
    pub(super) instances: (usize, usize),
    /// Files that were sent, and that arrived byte for byte.
    pub(super) files: (usize, usize),
}

impl Outcome {
    /// Everything that does not add up; nothing if all is well.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut found: Vec<String> = self.lines.iter().flat_map(Line::differences).collect();
        found.extend(self.rows.iter().filter_map(Row::difference));
        found.extend(self.probes.iter().filter_map(Probe::difference));
        if spread(self.unkeyed) > TOLERANCE {
            found.push(format!(
                "shares of unkeyed data: {:?} are {:.1} % apart",
                self.unkeyed,
                spread(self.unkeyed) * 100.0
            ));
        }
        let (instances, split) = self.instances;
        if instances == 0 || split > 0 {
            found.push(format!(
                "meters: {split} of {instances} instances were not kept on one node"
            ));
        }
        let (sent, whole) = self.files;
        if sent != whole {
            found.push(format!("files: {whole} of {sent} arrived as they were"));
        }
        found
    }
}

impl Line {
    fn differences(&self) -> Vec<String> {
        let mut check = Check {
            pipe: &self.pipe,
            found: Vec::new(),
        };
        if let Some(queued) = &self.queued {
            queued.check(&mut check);
        }
        if let Some(live) = &self.live {
            live.check(&mut check);
        }
        check.found
    }
}

impl Queued {
    fn check(&self, check: &mut Check<'_>) {
        let books = &self.books;
        check.equal("sent", self.sent, "acknowledged", self.acknowledged);
        check.equal("sent", self.sent, "received by the gateway", books.received);
        check.equal(
            "acknowledged",
            self.acknowledged,
            "acknowledged by the gateway's books",
            books.acknowledged,
        );
        check.equal(
            "received",
            books.received,
            "delivered + merged + dropped",
            books.delivered + books.merged + books.dropped_in_all(),
        );
        // What is sent again may arrive twice.
        let arrived: u64 = self.nodes.iter().sum();
        let most = books.delivered + books.resent;
        if !(books.delivered..=most).contains(&arrived) {
            check.equal(
                "delivered",
                books.delivered,
                "accepted by the sinks",
                arrived,
            );
        }
    }
}

impl Live {
    fn check(&self, check: &mut Check<'_>) {
        check.equal("calls", self.calls, "answered calls", self.answered);
        check.equal(
            "calls",
            self.calls,
            "calls in the gateway's books",
            self.booked,
        );
        check.equal(
            "failed calls in the gateway's books",
            self.failures,
            "none",
            0,
        );
        let at_sinks = self.nodes.iter().sum();
        check.equal("calls", self.calls, "calls at the sinks", at_sinks);
        let arrived = self.arrived.iter().sum();
        check.equal("sent", self.sent, "accepted by the sinks", arrived);
    }
}

impl Row {
    fn difference(&self) -> Option<String> {
        let path = self.path;
        if let Some(failure) = &self.failure {
            return Some(format!("{path}: a call failed: {failure}"));
        }
        let moved = self.sent > 0 && self.arrived > 0;
        (!moved).then(|| {
            format!(
                "{path} did not move: {} sent, {} at the sinks",
                self.sent, self.arrived
            )
        })
    }
}

impl Probe {
    fn difference(&self) -> Option<String> {
        let Self {
            what,
            calls,
            as_expected,
            at_sinks: (reached, expected),
            failure,
        } = self;
        if *calls > 0 && calls == as_expected && reached == expected {
            return None;
        }
        let why = failure.as_deref().unwrap_or("none failed");
        Some(format!(
            "{what}: {calls} calls, {as_expected} as expected, {reached} of {expected} at the \
             sinks ({why})"
        ))
    }
}

struct Check<'a> {
    pipe: &'a str,
    found: Vec<String>,
}

impl Check<'_> {
    fn equal(&mut self, what: &str, left: u64, other: &str, right: u64) {
        if left != right {
            let pipe = self.pipe;
            self.found
                .push(format!("{pipe}: {what} {left}, but {other} {right}"));
        }
    }
}

/// (largest - smallest) / mean; infinite when there is nothing, which is no share.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
pub(super) fn spread(nodes: [u64; NODES]) -> f64 {
    let sum: u64 = nodes.iter().sum();
    let largest = nodes.into_iter().max().unwrap_or(0);
    let smallest = nodes.into_iter().min().unwrap_or(0);
    if sum == 0 {
        return f64::INFINITY;
    }
    (largest - smallest) as f64 * NODES as f64 / sum as f64
}

#[cfg(test)]
mod tests;
