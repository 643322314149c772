//! Logs (`protocols.md` T2).

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::skywalking::v3::LogData;
use perigee_protocols::adapter::Loss;
use proptest::prelude::*;
use prost::Message;

use super::queue::{Call, cuts, sent, taken};

/// A record, known by its instance, which is its own.
fn record(service: &str, instance: &str) -> LogData {
    LogData {
        timestamp: 1_700_000_000_000,
        service: service.into(),
        service_instance: instance.into(),
        layer: "GENERAL".into(),
        ..Default::default()
    }
}

fn bytes(records: &[LogData]) -> Vec<Vec<u8>> {
    records.iter().map(LogData::encode_to_vec).collect()
}

/// OAP gives every record of a call the first service that the call names. Nobody's are skipped.
fn oap(call: &[Vec<u8>]) -> Vec<LogData> {
    let decoded = call
        .iter()
        .map(|record| LogData::decode(&**record).unwrap());
    let mut first = String::new();
    let records = decoded.map(|mut record| {
        if first.is_empty() {
            first.clone_from(&record.service);
        }
        record.service.clone_from(&first);
        record
    });
    records
        .filter(|record| !record.service.is_empty())
        .collect()
}

/// What the client means: the service before.
fn meant(call: &[LogData]) -> Vec<LogData> {
    let mut before = String::new();
    let records = call.iter().cloned().map(|mut record| {
        if record.service.is_empty() {
            record.service.clone_from(&before);
        }
        before.clone_from(&record.service);
        record
    });
    records
        .filter(|record| !record.service.is_empty())
        .collect()
}

fn sorted(mut records: Vec<LogData>) -> Vec<LogData> {
    records.sort_by_key(LogData::encode_to_vec);
    records
}

fn calls() -> impl Strategy<Value = Vec<Vec<LogData>>> {
    let record = ("[ab]?", "[i-k]").prop_map(|(service, instance)| record(&service, &instance));
    prop::collection::vec(prop::collection::vec(record, 0..12), 1..4)
}

proptest! {
    #[test]
    fn every_record_keeps_its_service_however_the_queue_cuts(calls in calls(), cuts in cuts()) {
        let queued: Vec<Call> = calls.iter().map(|call| taken(Adapter::Logs, &bytes(call))).collect();
        let upstream = cuts.upstream_calls(Adapter::Logs, &queued);
        let found = upstream.iter().flat_map(|call| oap(call)).collect();
        let meant = calls.iter().flat_map(|call| meant(call)).collect();
        prop_assert_eq!(sorted(found), sorted(meant));
    }
}

#[test]
fn two_services_that_alternate_on_one_call_keep_their_records() {
    let records: Vec<LogData> = (0..20)
        .map(|number| record(["a", "b"][number % 2], "i"))
        .collect();
    let call = taken(Adapter::Logs, &bytes(&records));
    for service in ["a", "b"] {
        let own = |queued: &&super::queue::Queued| {
            queued.lane.group.as_deref() == Some(service.as_bytes())
        };
        let queued: Vec<_> = call.queued.iter().filter(own).cloned().collect();
        assert_eq!(
            oap(&sent(Adapter::Logs, &queued)),
            vec![record(service, "i"); 10]
        );
    }
}

#[test]
fn nothing_but_the_service_is_filled_in() {
    let named = record("a", "i");
    let unnamed = LogData {
        service: String::new(),
        service_instance: String::new(),
        layer: String::new(),
        ..named.clone()
    };
    let call = taken(Adapter::Logs, &bytes(&[named, unnamed]));
    let second = LogData::decode(call.queued[1].message()).unwrap();
    assert_eq!(second.service, "a");
    assert_eq!((&*second.service_instance, &*second.layer), ("", ""));
}

#[test]
fn a_record_that_names_its_service_is_not_touched() {
    // Out of order, with a field that nobody knows.
    let message = b"\xba\x3e\x03new\x1a\x01i\x12\x01a";
    let call = taken(Adapter::Logs, &[message.to_vec()]);
    assert_eq!(call.queued[0].message(), message);
}

#[test]
fn what_nobody_knows_stays_in_a_record_that_gets_its_service() {
    let named = record("a", "i").encode_to_vec();
    let call = taken(Adapter::Logs, &[named, b"\xba\x3e\x03new".to_vec()]);
    assert_eq!(call.queued[1].message(), b"\xba\x3e\x03new\x12\x01a");
}

#[test]
fn of_several_services_in_a_record_the_last_counts() {
    let call = taken(Adapter::Logs, &[b"\x12\x01a\x12\x01b".to_vec(), Vec::new()]);
    let last = LogData::decode(call.queued[1].message()).unwrap();
    assert_eq!(last.service, "b");
    assert_eq!(call.queued[0].lane, call.queued[1].lane);
}

#[test]
fn a_service_that_no_oap_takes_is_not_inherited() {
    let huge = record(&"s".repeat(5000), "i").encode_to_vec();
    let good = record("a", "i").encode_to_vec();
    let call = taken(
        Adapter::Logs,
        &[good.clone(), b"\x12\x01\xff".to_vec(), Vec::new()],
    );
    let nobodys = (Loss::Unattributed, 1);
    assert_eq!(call.losses, [(Loss::Malformed, 1), nobodys]);

    let call = taken(Adapter::Logs, &[good, huge, Vec::new()]);
    assert_eq!(call.losses, [(Loss::Oversized, 1), nobodys]);
    assert_eq!(call.queued.len(), 1, "not of the one before");
}
