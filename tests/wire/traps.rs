//! The traps of `protocols.md` section 5, each by its number.
//!
//! Those that need an adapter are below, through the gateway to sinks that file what they get as
//! an OAP would. The others stand where their subject is; `every_trap_has_its_test` finds them.
//! `TRAPS.md` says how each was seen to fail.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use perigee::telemetry::books::DropReason;

use crate::client::Call;
use crate::gateway::Gateway;
use crate::messages::framed;

mod ebpf;
mod envoy;
mod events;
mod keep_alive;
mod logs;
mod meters;
mod otlp;
mod pings;
mod profiles;
mod sticky;

/// Entries by the name that a sink filed them under, in the order of their arrival at each sink.
type Filed = BTreeMap<String, Vec<String>>;

impl Gateway {
    /// What all sinks have filed for a path.
    fn filed(&self, path: &str) -> Filed {
        let mut filed = Filed::new();
        for id in self.sinks.iter().flat_map(|sink| sink.ids(path)) {
            let name = format!("{}/{}", id.service, id.instance);
            filed.entry(name).or_default().push(id.id);
        }
        filed
    }

    /// Waits until so many entries are filed for a path.
    async fn wait_for_entries(&self, path: &str, count: usize) -> Filed {
        let what = format!("{count} entries on {path}");
        self.wait_for(&what, |gateway| {
            gateway.filed(path).values().map(Vec::len).sum::<usize>() >= count
        })
        .await;
        self.filed(path)
    }

    /// Waits until so many messages of whatever pipe have been dropped for a reason.
    async fn wait_for_dropped(&self, reason: DropReason, count: u64) {
        self.wait_for(reason.label(), |gateway| {
            gateway.app.books.totals().dropped_for(reason) == count
        })
        .await;
    }

    /// Nothing may have been sent that an OAP would have dropped without a word.
    fn assert_nothing_unfiled(&self) {
        for sink in &self.sinks {
            for (path, method) in sink.snapshot().methods {
                assert_eq!(method.unfiled(), 0, "{path}: {method:?}");
            }
        }
    }
}

/// Sends each message in a frame of its own.
async fn send_each(call: &mut Call, messages: impl IntoIterator<Item = Vec<u8>>) {
    for message in messages {
        call.send(framed(&message)).await.unwrap();
    }
}

fn names(range: std::ops::Range<usize>, prefix: &str) -> Vec<String> {
    range.map(|number| format!("{prefix}{number}")).collect()
}

/// A meter set is whole after a second of silence.
const SILENCE: Duration = Duration::from_secs(1);

#[test]
fn every_trap_has_its_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut found = String::new();
    for folder in [tests.clone(), tests.join("traps")] {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                found += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    for trap in 1..=22 {
        let name = format!("async fn t{trap:02}_");
        assert!(found.contains(&name), "no test is called t{trap:02}_...");
    }
}
