//! Meters (`protocols.md` T4, T5).

use std::time::Duration;

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::skywalking::v3::{
    Label, MeterData, MeterDataCollection, MeterHistogram, MeterSingleValue, meter_data,
};
use perigee_protocols::adapter::Loss;
use proptest::prelude::*;
use prost::Message;

use super::queue::{Call, Queued, cuts, taken};

const TIME: i64 = 1_700_000_000_000;

fn meter(name: &str, value: f64) -> MeterData {
    MeterData {
        metric: Some(meter_data::Metric::SingleValue(MeterSingleValue {
            name: name.into(),
            value,
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn named(mut meter: MeterData, service: &str, instance: &str, timestamp: i64) -> MeterData {
    meter.service = service.into();
    meter.service_instance = instance.into();
    meter.timestamp = timestamp;
    meter
}

fn labelled(name: &str, labels: &[(&str, &str)]) -> MeterData {
    let labels = labels.iter().map(|(name, value)| Label {
        name: (*name).into(),
        value: (*value).into(),
    });
    MeterData {
        metric: Some(meter_data::Metric::SingleValue(MeterSingleValue {
            name: name.into(),
            labels: labels.collect(),
            value: 1.0,
        })),
        ..Default::default()
    }
}

/// A set as an OAP works it out.
#[derive(Clone, Debug, PartialEq)]
struct Set {
    service: String,
    instance: String,
    timestamp: i64,
    values: Vec<meter_data::Metric>,
}

/// Each message of `collectBatch` is a set; the last of the names in it count, empty ones do not.
fn oap(message: &[u8]) -> Set {
    let mut set = Set {
        service: String::new(),
        instance: String::new(),
        timestamp: 0,
        values: Vec::new(),
    };
    for meter in MeterDataCollection::decode(message).unwrap().meter_data {
        if !meter.service.is_empty() {
            set.service = meter.service;
        }
        if !meter.service_instance.is_empty() {
            set.instance = meter.service_instance;
        }
        if meter.timestamp != 0 {
            set.timestamp = meter.timestamp;
        }
        set.values.extend(meter.metric);
    }
    set
}

fn sets(call: &Call) -> Vec<Set> {
    call.queued
        .iter()
        .map(|queued| oap(queued.message()))
        .collect()
}

/// What a queued set consists of: its values' names.
fn names(set: &Set) -> Vec<&str> {
    let name = |value| match value {
        &meter_data::Metric::SingleValue(MeterSingleValue { ref name, .. })
        | &meter_data::Metric::Histogram(MeterHistogram { ref name, .. }) => name.as_str(),
    };
    set.values.iter().map(name).collect()
}

fn take(call: &mut Call, meters: &[MeterData]) {
    for meter in meters {
        call.take(&meter.encode_to_vec());
    }
}

fn of(meters: &[MeterData]) -> Call {
    let mut call = Call::new(Adapter::Meters);
    take(&mut call, meters);
    call.end()
}

/// Which of a report's meters say whose they are and when.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// Java, Node.
    FirstOfReport,
    /// Python, Rust: each looks at the clock for itself.
    All,
    /// Whoever it is, an OAP would understand it.
    FirstOfCall,
}

/// Reports of the same meters, 20 s apart.
fn reports(naming: Naming, instance: &str, rounds: &[Vec<f64>]) -> Vec<Vec<MeterData>> {
    let report = |(round, values): (usize, &Vec<f64>)| {
        let time = TIME + 20_000 * i64::try_from(round).unwrap();
        let meters = values.iter().enumerate().map(|(index, &value)| {
            let meter = meter(&format!("m{index}"), value);
            let drift = i64::try_from(index).unwrap() * 3;
            match naming {
                Naming::All => named(meter, "s", instance, time + drift),
                Naming::FirstOfReport if index == 0 => named(meter, "s", instance, time),
                Naming::FirstOfCall if index + round == 0 => named(meter, "s", instance, time),
                Naming::FirstOfReport | Naming::FirstOfCall => meter,
            }
        });
        meters.collect()
    };
    rounds.iter().enumerate().map(report).collect()
}

/// What an OAP makes of a call with one report, said by whoever made the report.
fn meant(instance: &str, round: usize, values: &[f64], drift: i64) -> Set {
    let value = |(index, &value): (usize, &f64)| meter(&format!("m{index}"), value).metric.unwrap();
    Set {
        service: "s".into(),
        instance: instance.into(),
        timestamp: TIME + 20_000 * i64::try_from(round).unwrap() + drift,
        values: values.iter().enumerate().map(value).collect(),
    }
}

fn rounds() -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec(0.0..9.0_f64, 1..8), 1..5)
}

fn naming() -> impl Strategy<Value = Naming> {
    prop_oneof![
        Just(Naming::FirstOfReport),
        Just(Naming::All),
        Just(Naming::FirstOfCall)
    ]
}

proptest! {
    #[test]
    fn every_report_of_a_call_that_never_ends_is_a_set_however_the_queue_cuts(
        naming in naming(),
        calls in prop::collection::vec(rounds(), 1..4),
        in_between in prop::sample::select(vec![900, 1000, 20_000_u64]),
        cuts in cuts(),
    ) {
        let mut all = Vec::new();
        let mut queued = Vec::new();
        for (number, rounds) in calls.iter().enumerate() {
            let instance = format!("i{number}");
            let mut call = Call::new(Adapter::Meters);
            for (round, report) in reports(naming, &instance, rounds).iter().enumerate() {
                take(&mut call, report);
                call.pass(Duration::from_millis(in_between));
                // Nobody has said when the report was, so it is as old as it is here.
                let since = 20_000 - i64::try_from(in_between).unwrap();
                let drift = match naming {
                    Naming::FirstOfReport => 0,
                    Naming::All => 3 * i64::try_from(report.len() - 1).unwrap(),
                    Naming::FirstOfCall => -since * i64::try_from(round).unwrap(),
                };
                all.push(meant(&instance, round, &rounds[round], drift));
            }
            queued.push(call.end());
        }
        let upstream = cuts.upstream_calls(Adapter::Meters, &queued);
        let found: Vec<Set> = upstream.iter().flatten().map(|message| oap(message)).collect();
        let order = |sets: Vec<Set>| {
            let mut sets = sets;
            sets.sort_by_key(|set| (set.instance.clone(), set.timestamp));
            sets
        };
        prop_assert_eq!(order(found), order(all));
    }

    #[test]
    fn whatever_comes_every_meter_is_in_one_set_and_once_in_it(
        meters in prop::collection::vec(("[ab]?", "[ij]?", "[m-o]", 0..4_i64), 0..30),
    ) {
        let meters: Vec<_> = meters
            .iter()
            .enumerate()
            .map(|(index, (service, instance, name, time))| {
                #[expect(clippy::cast_precision_loss, reason = "there are few")]
                let meter = meter(name, index as f64);
                named(meter, service, instance, 600 * time)
            })
            .collect();
        let call = of(&meters);
        let sets = sets(&call);
        let found: Vec<_> = sets.iter().flat_map(|set| set.values.clone()).collect();
        let sent: Vec<_> = meters.iter().filter_map(|meter| meter.metric.clone()).collect();
        prop_assert_eq!(found, sent);
        prop_assert_eq!(call.stood_for as usize, meters.len());
        for (set, queued) in sets.iter().zip(&call.queued) {
            let mut names = names(set);
            names.sort_unstable();
            prop_assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
            // Nothing in the message contradicts what counts for all of it.
            for meter in MeterDataCollection::decode(queued.message()).unwrap().meter_data {
                prop_assert!([&set.service[..], ""].contains(&&*meter.service));
                prop_assert!([&set.instance[..], ""].contains(&&*meter.service_instance));
                prop_assert!(meter.timestamp == 0 || meter.timestamp.abs_diff(set.timestamp) <= 1200);
            }
        }
    }
}

#[test]
fn a_set_goes_on_after_a_second_of_silence() {
    let mut call = Call::new(Adapter::Meters);
    take(&mut call, &[named(meter("a", 1.0), "s", "i", TIME)]);
    call.pass(Duration::from_millis(900));
    take(&mut call, &[meter("b", 1.0)]);
    call.pass(Duration::from_millis(999));
    assert!(call.queued.is_empty());
    call.pass(Duration::from_millis(1));
    assert_eq!(names(&sets(&call)[0]), ["a", "b"]);
    assert_eq!((call.held(), call.stood_for), (0, 2));
}

#[test]
fn a_name_and_labels_stand_once_in_a_set_in_whatever_order() {
    let one = labelled("m", &[("x", "1"), ("y", "2")]);
    let same = labelled("m", &[("y", "2"), ("x", "1")]);
    let other = labelled("m", &[("x", "2"), ("y", "1")]);
    assert_eq!(of(&[one.clone(), other.clone()]).queued.len(), 1);
    assert_eq!(of(&[one.clone(), same]).queued.len(), 2);
    assert_eq!(of(&[one, other.clone(), other]).queued.len(), 2);
}

#[test]
fn a_histogram_is_not_the_single_value_of_its_name() {
    let histogram = MeterData {
        metric: Some(meter_data::Metric::Histogram(MeterHistogram {
            name: "m".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let call = of(&[meter("m", 1.0), histogram.clone(), histogram]);
    let sets = sets(&call);
    assert_eq!(
        [names(&sets[0]), names(&sets[1])],
        [vec!["m", "m"], vec!["m"]]
    );
}

#[test]
fn another_instance_begins_another_set() {
    let call = of(&[
        named(meter("a", 1.0), "s", "i", TIME),
        meter("b", 1.0),
        named(meter("c", 1.0), "s", "j", TIME),
        meter("d", 1.0),
        named(meter("e", 1.0), "t", "j", TIME),
        named(meter("f", 1.0), "s", "i", TIME),
    ]);
    let whose: Vec<_> = sets(&call)
        .iter()
        .map(|set| (set.service.clone() + &set.instance, names(set).concat()))
        .collect();
    let expected = [("si", "ab"), ("sj", "cd"), ("tj", "e"), ("si", "f")];
    assert_eq!(
        whose,
        expected.map(|(whose, names)| (whose.to_owned(), names.to_owned()))
    );
    let routes: Vec<_> = call
        .queued
        .iter()
        .map(|queued| queued.lane.route.clone())
        .collect();
    assert_eq!(routes[0], routes[3]);
    assert_ne!(routes[0], routes[1]);
    assert!(routes.iter().all(Option::is_some));
}

#[test]
fn times_that_are_apart_begin_another_set() {
    let at = |name, time| named(meter(name, 1.0), "s", "i", time);
    let call = of(&[
        at("a", TIME),
        at("b", TIME + 3),
        meter("c", 1.0),
        at("d", TIME + 5000),
    ]);
    let sets = sets(&call);
    assert_eq!(names(&sets[0]), ["a", "b", "c"]);
    assert_eq!(
        (sets[0].timestamp, sets[1].timestamp),
        (TIME + 3, TIME + 5000)
    );
}

#[test]
fn names_that_come_late_in_a_set_are_the_set_s() {
    let call = of(&[
        meter("a", 1.0),
        named(meter("b", 1.0), "s", "i", TIME),
        meter("c", 1.0),
    ]);
    let sets = sets(&call);
    assert_eq!(
        (sets.len(), &*sets[0].service, &*sets[0].instance),
        (1, "s", "i")
    );
    assert_eq!(sets[0].timestamp, TIME);
}

#[test]
fn a_set_that_nobody_has_named_or_timed_stays_so() {
    let set = &sets(&of(&[meter("a", 1.0)]))[0];
    assert_eq!((&*set.service, &*set.instance, set.timestamp), ("", "", 0));
}

#[test]
fn a_long_set_goes_on_in_parts_that_all_say_whose_they_are() {
    let long = "n".repeat(1000);
    let meters: Vec<_> = (0..2500)
        .map(|number| match number {
            0 => named(meter("n0", 0.0), "s", "i", TIME),
            _ => meter(&format!("{long}{number}"), 1.0),
        })
        .collect();
    let call = of(&meters);
    assert_eq!((call.queued.len(), call.stood_for), (3, 2500));
    for (set, queued) in sets(&call).iter().zip(&call.queued) {
        assert!(queued.framed.len() < 1024 * 1024 + 1024);
        assert_eq!(
            (&*set.service, &*set.instance, set.timestamp),
            ("s", "i", TIME)
        );
    }
}

#[test]
fn one_that_does_not_decode_does_not_spoil_its_set() {
    let bad: [&[u8]; 4] = [
        b"\x1a\x05s",
        b"\x0a\x03\x0a\x01\xff",
        b"\x0a\x05\x12\x03\x0a\x01\xff",
        b"\x12\x04\x1a\x02\x09\x01",
    ];
    let mut call = Call::new(Adapter::Meters);
    take(&mut call, &[named(meter("a", 1.0), "s", "i", TIME)]);
    for bad in bad {
        assert!(MeterData::decode(bad).is_err());
        call.take(bad);
    }
    take(&mut call, &[meter("b", 1.0)]);
    let call = call.end();
    assert_eq!(names(&sets(&call)[0]), ["a", "b"]);
    assert_eq!(
        call.losses.iter().map(|loss| loss.0).collect::<Vec<_>>(),
        [Loss::Malformed; 4]
    );
}

#[test]
fn what_nobody_knows_stays_in_a_set() {
    let label = b"\x0a\x09\x0a\x01a\x12\x04\x1a\x02\xff\xff\xba\x3e\x03new".to_vec();
    let call = taken(Adapter::Meters, &[label.clone(), label.clone()]);
    for queued in &call.queued {
        let queued: &Queued = queued;
        assert!(
            queued.message().ends_with(&label),
            "and bytes in it need not be text"
        );
    }
    assert_eq!(call.queued.len(), 2);
}

#[test]
fn a_name_that_is_too_long_is_not_inherited() {
    let huge = named(meter("b", 1.0), &"s".repeat(5000), "i", TIME);
    let call = of(&[
        named(meter("a", 1.0), "s", "i", TIME),
        huge,
        meter("c", 1.0),
    ]);
    assert_eq!(call.losses, [(Loss::Oversized, 1)]);
    let sets = sets(&call);
    assert_eq!(
        (&*sets[0].service, &*sets[1].service, &*sets[1].instance),
        ("s", "", "")
    );
}
