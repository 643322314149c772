//! What a hostile reader found: each test fails for the defect that it names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::skywalking::v3 as sw;
use perigee_protocols::adapter::{Options, Outbox, inbound};
use prost::Message;

use super::queue::Call;

const MIB: usize = 1 << 20;

/// Bytes of this process in memory: now, or at most so far.
fn memory(what: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// It is charged to what all clients share, and nothing is ever due.
#[test]
fn the_name_of_a_task_that_was_given_up_is_not_held_for_ever() {
    let mut call = Call::new(Adapter::GoProfiles);
    for number in 0..4 {
        let data = sw::GoProfileData {
            task_id: format!("{number}{}", "x".repeat(33 * MIB)),
            payload: Vec::new(),
            is_last: false,
        };
        call.take(&data.encode_to_vec());
    }
    call.pass(Duration::from_secs(24 * 3600));
    assert!(call.held() < MIB as u64, "{} after a day", call.held());
}

#[test]
fn a_task_that_had_to_make_room_is_not_delivered_without_its_beginning() {
    let mut call = Call::new(Adapter::GoProfiles);
    let chunk = |task: &str, payload: &[u8], is_last| {
        let data = sw::GoProfileData { task_id: task.into(), payload: payload.into(), is_last };
        data.encode_to_vec()
    };
    for number in 0..17 {
        call.take(&chunk(&format!("t{number}"), b"beginning", false));
    }
    call.take(&chunk("t0", b"end", true));
    assert_eq!(call.queued.len(), 0, "{:?}", call.queued);
}

fn long_key(adapter: Adapter, message: &[u8]) {
    let before = memory("VmRSS");
    let mut calls = Vec::new();
    let mut held = 0;
    for _ in 0..10 {
        let mut inbound = inbound(adapter, &Arc::new(Options::default())).unwrap();
        let mut out = Outbox::default();
        inbound.take(message, Instant::now(), &mut out);
        out.clear();
        held += inbound.held();
        calls.push(inbound);
    }
    let kept = memory("VmRSS") - before;
    assert!(kept < 16 * MIB, "ten silent calls keep {kept} bytes, {held} of them charged");
}

/// Run alone, e.g. `cargo test --test adapters keeps_no_long -- --test-threads 1`.
#[test]
fn a_silent_call_keeps_no_long_key() {
    let meter = sw::MeterData { service: "x".repeat(20 * MIB), ..Default::default() };
    let set = sw::MeterDataCollection { meter_data: vec![meter] }.encode_to_vec();
    long_key(Adapter::Keyed(&[&[1, 3], &[1, 4]]), &set);
}

#[test]
fn a_record_after_one_whose_service_cannot_be_read_is_not_of_the_service_before() {
    let log = |service: &[u8], text: &str| {
        let log = sw::LogData { endpoint: text.to_owned(), ..Default::default() };
        let mut log = log.encode_to_vec();
        if !service.is_empty() {
            log.extend([2 << 3 | 2, service.len() as u8]);
            log.extend(service);
        }
        log
    };
    let mut call = Call::new(Adapter::Logs);
    call.take(&log(b"cart", "1"));
    call.take(&log(b"shop\xff", "2"));
    call.take(&log(b"", "whose?"));
    let groups: Vec<_> = call.queued.iter().map(|queued| queued.lane.group.as_deref()).collect();
    assert!(groups.len() == 1 || groups[1] != Some(b"cart".as_slice()), "{groups:?}");
}

/// Run alone.
#[test]
fn splitting_a_request_takes_no_more_than_a_few_times_its_size() {
    let mut request = Vec::new();
    let mut number = 0_u32;
    while request.len() < 10 * MIB {
        let mut value = vec![1 << 3 | 2, 4];
        value.extend(number.to_string().bytes().chain(*b"abcd").take(4));
        let name = format!("{number:05x}");
        value = [&[1 << 3 | 2, 5][..], name.as_bytes()].concat();
        let wrap = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
        let attribute = [wrap(1, b"job"), wrap(2, &value)].concat();
        request.extend(wrap(1, &wrap(1, &wrap(1, &attribute))));
        number += 1;
    }
    let options = Options { label_keys: vec!["job".to_owned()] };
    let mut inbound = inbound(Adapter::OtlpMetrics, &Arc::new(options)).unwrap();
    let (before, began) = (memory("VmRSS"), Instant::now());
    let mut out = Outbox::default();
    inbound.take(&request, Instant::now(), &mut out);
    let (most, kept) = (memory("VmHWM") - before, memory("VmRSS") - before);
    let took = began.elapsed();
    println!("{number} resources, {} bytes: most {most}, kept {kept}, took {took:?}", request.len());
    assert!(most < 4 * request.len(), "{most} bytes for {} (and {kept} while it waits)", request.len());
}

/// Run alone. What is inherited is kept as long as the call is open, and nobody is charged.
#[test]
fn what_a_silent_call_inherits_is_charged() {
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length as u8) | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(bytes);
        out
    };
    let context = field(15, &vec![1; 250 * 1024]);
    let message = [field(1, &context), field(2, &context)].concat();
    let before = memory("VmRSS");
    let mut calls = Vec::new();
    let mut held = 0;
    for _ in 0..100 {
        let mut inbound = inbound(Adapter::EbpfAccessLogs, &Arc::new(Options::default())).unwrap();
        let mut out = Outbox::default();
        inbound.take(&message, Instant::now(), &mut out);
        out.clear();
        held += inbound.held();
        calls.push(inbound);
    }
    let kept = memory("VmRSS") - before;
    assert!(held as usize > kept / 2, "a hundred silent calls keep {kept} bytes, {held} of them charged");
}
