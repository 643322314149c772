//! What a hostile reader found.

use super::*;

/// An Envoy that comes back with another identifier, or whose identifier was encoded in another
/// order; an instance that reports on `collect` and `collectBatch`.
#[test]
fn two_lanes_of_one_route_are_not_in_flight_together() {
    let mut bench = Bench::wide();
    let lane = |group: &[u8]| LaneKey {
        method: 0,
        route: Some(Arc::from(b"envoy".as_slice())),
        group: Some(Arc::from(group)),
        token: None,
    };
    bench.push(&lane(b"before"), &[8]);
    bench.push(&lane(b"after"), &[8]);
    bench.now += LINGER;
    let first = bench.batch(&LIMITS);
    assert_eq!(first.lane, lane(b"before"));
    let next = bench.next(&LIMITS);
    assert!(matches!(next, Next::Wait(_)), "{next:?}");
}
