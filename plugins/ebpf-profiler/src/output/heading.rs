//! What a profile says about itself above a picture and in a comment.

use std::time::{Duration, UNIX_EPOCH};

use super::text::{clean, number, plural, share, three_digits, time};
use super::tree::{Node, Origin, Tree};
use crate::profile::{Kind, Profile};

/// The end of the year 9999, which is all that RFC 3339 can write.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// A title and what else is to know, ready to be shown.
pub(super) struct Heading {
    pub(super) title: String,
    pub(super) facts: String,
}

impl Heading {
    pub(super) fn of(profile: &Profile, tree: &Tree) -> Self {
        let what = match profile.kind {
            Kind::OnCpu => "On CPU",
            Kind::OffCpu => "Off CPU",
        };
        Self {
            title: format!("{what}: {}", whose(tree)),
            facts: facts(profile),
        }
    }
}

fn whose(tree: &Tree) -> String {
    let mut named = tree.nodes.iter().filter(|node| node.depth == 1);
    let name = |node: &Node| tree.function(node).name.clone();
    match (named.next(), named.next(), named.next(), named.count()) {
        (None, ..) => "nothing seen".to_owned(),
        (Some(one), None, ..) => name(one),
        (Some(one), Some(two), None, _) => format!("{}, {}", name(one), name(two)),
        (Some(one), Some(two), Some(_), more) => {
            format!(
                "{}, {} and {} more",
                name(one),
                name(two),
                number(more as u64 + 1)
            )
        }
    }
}

/// Class and label of each kind of code that occurs.
pub(super) fn legend(tree: &Tree) -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = [
        (Origin::Native, "n0", "native code"),
        (Origin::Jit, "j0", "compiled at run time"),
        (Origin::Kernel, "k0", "kernel"),
        (Origin::Unknown, "u0", "without a name"),
    ];
    let occurs = |origin| tree.functions.iter().any(|it| it.origin == origin);
    let occurring = kinds
        .into_iter()
        .filter(move |(origin, ..)| occurs(*origin));
    occurring.map(|(_, class, label)| (class, label))
}

/// `12,345 samples, one every 10.1 ms (99 Hz) of each CPU, for 10 s from ...; 3 incomplete (0.1%), 0 lost`.
pub(super) fn facts(profile: &Profile) -> String {
    let summary = &profile.summary;
    let seen = match profile.kind {
        Kind::OnCpu => {
            let samples = plural(summary.samples, "sample", "samples");
            let hertz = 1.0 / profile.period.as_secs_f64();
            let period = time(profile.period.as_nanos());
            match hertz.is_finite() {
                true => format!(
                    "{samples}, one every {period} ({} Hz) of each CPU",
                    three_digits(hertz)
                ),
                false => samples,
            }
        }
        Kind::OffCpu => {
            let waited = profile.stacks.iter().map(|it| u128::from(it.nanos)).sum();
            let waits = plural(summary.samples, "wait", "waits");
            format!("{waits}, {} in all", time(waited))
        }
    };
    let started = profile.started.duration_since(UNIX_EPOCH);
    let started = started.unwrap_or_default().min(LAST_DATE);
    let started = humantime::format_rfc3339_seconds(UNIX_EPOCH + started);
    let incomplete = plural(summary.incomplete, "incomplete stack", "incomplete stacks");
    clean(&format!(
        "{seen}; {} from {started}; {incomplete} ({}), {} lost",
        time(profile.duration.as_nanos()),
        share(summary.incomplete, summary.samples),
        number(summary.lost),
    ))
}
