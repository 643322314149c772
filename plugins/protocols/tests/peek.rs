//! Peeking finds what decoding finds.

use perigee_proto::envoy::config::core::v3::{Node, SocketAddress};
use perigee_proto::envoy::service::metrics::v3::{StreamMetricsMessage, stream_metrics_message};
use perigee_proto::skywalking::v3::{MeterData, MeterDataCollection, MeterSingleValue, meter_data};
use perigee_protocols::peek::route_key;
use proptest::prelude::*;
use prost::Message;

const FIRST_METER: &[&[u32]] = &[&[1, 3], &[1, 4]];
const METER: &[&[u32]] = &[&[3], &[4]];

/// The key of these values, written independently of the code under test.
fn key(values: &[&[u8]]) -> Option<Vec<u8>> {
    if values.iter().all(|value| value.is_empty()) {
        return None;
    }
    let mut key = Vec::new();
    for value in values {
        key.extend((value.len() as u64).to_le_bytes());
        key.extend(*value);
    }
    Some(key)
}

fn peek(fields: &[&[u32]], message: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let found = route_key(fields, message, &mut out);
    assert!(out.starts_with(b"before"));
    assert!(
        found || out == b"before",
        "bytes of a key that was not found"
    );
    found.then(|| out.split_off(6))
}

fn key_of_meter(meter: &MeterData) -> Option<Vec<u8>> {
    key(&[meter.service.as_bytes(), meter.service_instance.as_bytes()])
}

fn meter() -> impl Strategy<Value = MeterData> {
    (".{0,20}", ".{0,20}", any::<i64>(), ".{0,200}").prop_map(
        |(service, service_instance, timestamp, name)| MeterData {
            service,
            service_instance,
            timestamp,
            metric: Some(meter_data::Metric::SingleValue(MeterSingleValue {
                name,
                value: 0.5,
                ..Default::default()
            })),
        },
    )
}

/// One field of any kind, well formed.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let number = 1_u8..16;
    let keyed = |wire_type: u8| {
        number
            .clone()
            .prop_map(move |number| (number << 3) | wire_type)
    };
    prop_oneof![
        (keyed(0), any::<u64>()).prop_map(|(key, value)| {
            let mut bytes = vec![key];
            prost::encoding::encode_varint(value, &mut bytes);
            bytes
        }),
        (keyed(1), any::<[u8; 8]>()).prop_map(|(key, value)| [&[key], value.as_slice()].concat()),
        (keyed(5), any::<[u8; 4]>()).prop_map(|(key, value)| [&[key], value.as_slice()].concat()),
        (keyed(2), "[a-z]{0,100}")
            .prop_map(|(key, text)| { [&[key, text.len() as u8], text.as_bytes()].concat() }),
        (keyed(3), "[a-z]{0,9}").prop_map(|(key, text)| {
            let inner = [&[0x1a, text.len() as u8], text.as_bytes()].concat();
            [&[key], inner.as_slice(), &[key + 1]].concat()
        }),
    ]
}

proptest! {
    #[test]
    fn the_first_meter_of_a_collection_gives_the_key(meters in prop::collection::vec(meter(), 0..4)) {
        let bytes = MeterDataCollection { meter_data: meters.clone() }.encode_to_vec();
        prop_assert_eq!(peek(FIRST_METER, &bytes), meters.first().and_then(key_of_meter));
    }

    #[test]
    fn the_last_value_of_a_field_counts(first in meter(), second in meter()) {
        let bytes = [first.encode_to_vec(), second.encode_to_vec()].concat();
        let merged = MeterData::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(peek(METER, &bytes), key_of_meter(&merged));
    }

    #[test]
    fn whatever_decodes_gives_the_decoded_key(fields in prop::collection::vec(field(), 0..12)) {
        let bytes = fields.concat();
        if let Ok(meter) = MeterData::decode(bytes.as_slice()) {
            prop_assert_eq!(peek(METER, &bytes), key_of_meter(&meter));
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        peek(METER, &bytes);
        peek(FIRST_METER, &bytes);
        peek(&[&[1], &[1, 1, 1], &[]], &bytes);
    }

    #[test]
    fn a_cut_message_is_survived(meter in meter(), length in any::<prop::sample::Index>()) {
        let bytes = MeterDataCollection { meter_data: vec![meter] }.encode_to_vec();
        peek(FIRST_METER, &bytes[..length.index(bytes.len())]);
    }
}

#[test]
fn values_that_are_split_differently_make_different_keys() {
    let keyed = |service: &str, service_instance: &str| {
        let meter = MeterData {
            service: service.into(),
            service_instance: service_instance.into(),
            ..Default::default()
        };
        peek(METER, &meter.encode_to_vec()).unwrap()
    };
    assert_ne!(keyed("ab", "c"), keyed("a", "bc"));
    assert_ne!(keyed("a", ""), keyed("", "a"));
}

#[test]
fn a_path_goes_through_several_messages() {
    let message = StreamMetricsMessage {
        identifier: Some(stream_metrics_message::Identifier {
            node: Some(Node {
                id: "sidecar".into(),
                ..Default::default()
            }),
        }),
        ..Default::default()
    };
    assert_eq!(
        peek(&[&[1, 1, 1]], &message.encode_to_vec()),
        key(&[b"sidecar"])
    );
    assert_eq!(peek(&[&[1, 1, 1]], b""), None);
}

#[test]
fn numbers_make_keys_unless_they_are_zero() {
    let message = SocketAddress {
        protocol: 1,
        ..Default::default()
    };
    let one = peek(&[&[1]], &message.encode_to_vec());
    assert_eq!(one, key(&[&1_u64.to_le_bytes()]));
    assert_eq!(peek(&[&[1]], b"\x08\0"), None);
}

#[test]
fn a_message_that_ends_in_the_middle_has_no_key() {
    assert!(peek(METER, b"\x1a\x01s").is_some());
    assert_eq!(peek(METER, b"\x1a\x01s\x22\x05in"), None);
    assert_eq!(peek(METER, b"\x1a\x01s\x2b"), None, "a group stays open");
    assert_eq!(peek(METER, b"\x1a\x01s\x2c"), None, "a group ends unopened");
    assert_eq!(peek(METER, b"\x1a\x01s\x02\0"), None, "field number 0");
}
