//! Bytes of whatever kind are survived, and all of them are accounted for.

use std::time::Duration;

use perigee_plugin_api::protocol::Adapter;
use perigee_protocols::adapter::Loss;
use proptest::prelude::*;

use super::queue::{Call, cuts, sent};

const ADAPTERS: [Adapter; 9] = [
    Adapter::Keyed(&[&[1, 3], &[1, 4]]),
    Adapter::Logs,
    Adapter::Meters,
    Adapter::EnvoyAccessLogs,
    Adapter::EnvoyMetrics,
    Adapter::EbpfAccessLogs,
    Adapter::EbpfProfiling,
    Adapter::GoProfiles,
    Adapter::Events,
];

/// Fields as they may stand in a message, in messages that may be cut.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        (1..12_u8, any::<[u8; 1]>()).prop_map(|(number, value)| vec![number << 3, value[0] & 0x7f]),
        (1..12_u8, prop::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(n, bytes)| holding(n, &bytes)),
        (1..12_u8).prop_map(|number| vec![number << 3 | 3, number << 3 | 4]),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    let inner = prop::collection::vec(leaf, 0..4).prop_map(|fields| fields.concat());
    let nested = inner.prop_recursive(3, 16, 3, |inner| {
        prop::collection::vec((1..5_u8, inner), 0..3).prop_map(|fields| {
            let fields = fields.iter().map(|(number, inner)| holding(*number, inner));
            fields.collect::<Vec<_>>().concat()
        })
    });
    (nested, 0..4_u8, any::<prop::sample::Index>()).prop_map(|(mut bytes, cut, length)| {
        if cut == 0 && !bytes.is_empty() {
            bytes.truncate(length.index(bytes.len()));
        }
        bytes
    })
}

fn holding(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    [field, bytes.to_vec()].concat()
}

proptest! {
    #[test]
    fn every_message_goes_on_or_is_lost(
        messages in prop::collection::vec((message(), 0..1500_u64), 0..30),
        cuts in cuts(),
    ) {
        for adapter in ADAPTERS {
            let mut call = Call::new(adapter);
            for (message, pause) in &messages {
                call.take(message);
                call.pass(Duration::from_millis(*pause));
            }
            let call = call.end();
            let accounted = call.stood_for + call.lost();
            prop_assert_eq!(accounted as usize, messages.len(), "{:?}", adapter);
            // Nothing is lost or cut on the way out.
            let all = sent(adapter, &call.queued).len();
            let queued = call.queued.len();
            let chunks = call.stood_for as usize;
            let expected = if adapter == Adapter::GoProfiles { chunks } else { queued };
            prop_assert_eq!(all, expected, "{:?}", adapter);
            let parts = cuts.upstream_calls(adapter, &[call]);
            prop_assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), expected, "{:?}", adapter);
        }
    }

    #[test]
    fn a_request_of_metrics_goes_on_in_parts_or_is_lost(message in message()) {
        let mut call = Call::with_labels(Adapter::OtlpMetrics, &["service.name"]);
        call.take(&message);
        let call = call.end();
        prop_assert_eq!(call.queued.is_empty(), call.lost() == 1);
    }

    #[test]
    fn what_says_all_of_it_goes_on_as_it_came(messages in prop::collection::vec(message(), 0..30)) {
        let mut call = Call::new(ADAPTERS[0]);
        messages.iter().for_each(|message| call.take(message));
        let queued: Vec<_> = call.queued.iter().map(|queued| queued.message().to_vec()).collect();
        prop_assert_eq!(queued, messages);
    }
}

#[test]
fn groups_that_are_not_closed_as_they_are_opened_are_malformed() {
    let bad: [&[u8]; 3] = [b"\x7b\x74", b"\x7b", &[0x7b; 500]];
    let deep = [[0x7b; 500], [0x7c; 500]].concat();
    for bad in bad.into_iter().chain([&*deep]) {
        let mut call = Call::new(Adapter::Logs);
        call.take(bad);
        assert_eq!(call.lost(), 1);
    }
    let mut call = Call::new(Adapter::Logs);
    call.take(b"\x7b\x73\x12\x01x\x74\x7c");
    assert_eq!(
        call.losses,
        [(Loss::Unattributed, 1)],
        "what is in a group is not the record's"
    );
}
