use super::*;
use crate::balance::tests::{id, nodes};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn shares(weights: &[u32]) -> Shares {
    let mut shares = Shares::new(0);
    shares.set_nodes(&nodes(weights));
    shares
}

fn all_free(_: NodeId) -> Condition {
    Condition::Free
}

fn all_free_but(node: u32, condition: Condition) -> impl Fn(NodeId) -> Condition {
    move |other| {
        if other == id(node) {
            condition
        } else {
            Condition::Free
        }
    }
}

/// Picks for batches of `size` messages until `total` are assigned.
fn send(
    shares: &mut Shares,
    total: u32,
    size: u32,
    condition: impl Fn(NodeId) -> Condition,
) -> BTreeMap<u32, u32> {
    let mut sent = BTreeMap::new();
    for _ in 0..total / size {
        let node = shares.pick(&condition, None).unwrap();
        shares.assign(node, size);
        *sent.entry(node.0).or_insert(0) += size;
    }
    sent
}

#[test]
fn batches_of_one_size_go_round() {
    let mut shares = shares(&[1, 1, 1]);
    let picks = (0..7).map(|_| {
        let node = shares.pick(all_free, None).unwrap();
        shares.assign(node, 10);
        node.0
    });
    assert_eq!(picks.collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn open_ended_batches_go_round_too() {
    let mut shares = shares(&[1, 1, 1]);
    let picks = (0..6).map(|_| shares.pick(all_free, None).unwrap().0);
    assert_eq!(picks.collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_first_pick_is_at_the_offset() {
    for offset in 0..7 {
        let mut shares = Shares::new(offset);
        shares.set_nodes(&nodes(&[1, 1, 1]));
        let expected = id(u32::try_from(offset % 3).unwrap());
        assert_eq!(shares.pick(all_free, None), Some(expected));
    }
}

#[test]
fn after_a_large_batch_the_others_catch_up() {
    let mut shares = shares(&[1, 1, 1]);
    shares.assign(id(0), 850);
    assert_eq!(
        send(&mut shares, 1700, 25, all_free),
        [(1, 850), (2, 850)].into()
    );
    assert_eq!(
        send(&mut shares, 75, 25, all_free),
        [(0, 25), (1, 25), (2, 25)].into()
    );
}

#[test]
fn weights_are_kept_exactly() {
    let mut shares = shares(&[1, 2, 7]);
    assert_eq!(
        send(&mut shares, 1000, 1, all_free),
        [(0, 100), (1, 200), (2, 700)].into()
    );
}

#[test]
fn a_node_that_joins_late_gets_its_share_and_no_more() {
    let mut shares = shares(&[1, 1]);
    send(&mut shares, 1_000_000, 100, all_free);
    shares.set_nodes(&nodes(&[1, 1, 1]));
    assert_eq!(
        send(&mut shares, 900, 100, all_free),
        [(0, 300), (1, 300), (2, 300)].into()
    );
}

#[test]
fn a_heavy_node_that_joins_late_starts_with_the_others_too() {
    let mut shares = shares(&[3, 3]);
    send(&mut shares, 1_000_020, 10, all_free);
    shares.set_nodes(&nodes(&[3, 3, 6]));
    assert_eq!(
        send(&mut shares, 1200, 10, all_free),
        [(0, 300), (1, 300), (2, 600)].into()
    );
}

#[test]
fn a_node_that_becomes_ready_again_does_not_make_up_for_its_absence() {
    let mut shares = shares(&[1, 1, 1]);
    let sent = send(
        &mut shares,
        60_000,
        100,
        all_free_but(1, Condition::NotReady),
    );
    assert_eq!(sent, [(0, 30_000), (2, 30_000)].into());
    assert_eq!(
        send(&mut shares, 900, 100, all_free),
        [(0, 300), (1, 300), (2, 300)].into()
    );
}

#[test]
fn a_node_ahead_of_the_others_is_not_set_back_by_its_absence() {
    let mut shares = shares(&[1, 1]);
    shares.assign(id(0), 500);
    assert_eq!(
        shares.pick(all_free_but(0, Condition::NotReady), None),
        Some(id(1))
    );
    assert_eq!(send(&mut shares, 500, 100, all_free), [(1, 500)].into());
}

#[test]
fn nodes_that_return_one_after_the_other_are_even_from_then_on() {
    let mut shares = shares(&[1, 1, 1]);
    let only_first = |node| {
        if node == id(0) {
            Condition::Free
        } else {
            Condition::NotReady
        }
    };
    send(&mut shares, 50_000, 100, only_first);
    send(
        &mut shares,
        4_000,
        100,
        all_free_but(2, Condition::NotReady),
    );
    assert_eq!(
        send(&mut shares, 900, 100, all_free),
        [(0, 300), (1, 300), (2, 300)].into()
    );
}

#[test]
fn a_node_that_was_busy_catches_up() {
    let mut shares = shares(&[1, 1, 1]);
    let sent = send(&mut shares, 600, 100, all_free_but(1, Condition::Busy));
    assert_eq!(sent, [(0, 300), (2, 300)].into());
    assert_eq!(send(&mut shares, 300, 100, all_free), [(1, 300)].into());
}

#[test]
fn a_busy_node_is_waited_for_once_the_others_are_ahead() {
    let mut shares = shares(&[1, 1]);
    let busy = all_free_but(1, Condition::Busy);
    let mut sent = 0;
    while let Some(node) = shares.pick(&busy, None) {
        assert_eq!(node, id(0));
        shares.assign(node, 100);
        sent += 100;
    }
    assert!(sent > AHEAD && sent <= AHEAD + 100, "{sent}");
    assert_eq!(shares.pick(all_free, None), Some(id(1)));
}

#[test]
fn a_lagging_node_is_neither_waited_for_nor_made_up_for() {
    let mut shares = shares(&[1, 1, 1]);
    let lagging = all_free_but(1, Condition::Lagging);
    let sent = send(&mut shares, 40_000, 100, lagging);
    assert_eq!(sent, [(0, 20_000), (2, 20_000)].into());
    let sent = send(&mut shares, 900, 100, all_free);
    assert_eq!(sent, [(0, 300), (1, 300), (2, 300)].into());
}

#[test]
fn nothing_is_picked_while_none_is_free() {
    let mut shares = shares(&[1, 1]);
    assert_eq!(shares.pick(|_| Condition::Busy, None), None);
    assert_eq!(shares.pick(|_| Condition::NotReady, None), None);
    assert_eq!(Shares::new(3).pick(all_free, None), None);
}

#[test]
fn the_avoided_node_keeps_its_turn() {
    let mut shares = shares(&[1, 1]);
    assert_eq!(shares.pick(all_free, Some(id(0))), Some(id(1)));
    shares.assign(id(1), 10);
    assert_eq!(shares.pick(all_free, None), Some(id(0)));
}

#[test]
fn messages_for_a_node_that_left_are_ignored() {
    let mut shares = shares(&[1, 1]);
    shares.assign(id(9), 1_000_000);
    assert_eq!(
        send(&mut shares, 20, 10, all_free),
        [(0, 10), (1, 10)].into()
    );
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let mut shares = shares(&[u32::MAX, 1]);
    for share in &mut shares.shares {
        share.time.messages = u64::MAX;
    }
    shares.assign(id(0), u32::MAX);
    assert_eq!(shares.pick(all_free, None), Some(id(0)));
    shares.set_nodes(&nodes(&[1, u32::MAX]));
    assert!(shares.pick(all_free, None).is_some());
}

proptest! {
    /// For all sizes of batches and all weights: no node is ever ahead of another by more than
    /// one batch a weight unit.
    #[test]
    fn shares_differ_by_no_more_than_one_batch(
        sizes in proptest::collection::vec(1_u32..1000, 1..300),
        weights in proptest::collection::vec(1_u32..5, 1..6),
        offset: usize,
    ) {
        let mut shares = Shares::new(offset);
        shares.set_nodes(&nodes(&weights));
        let mut sent = vec![0_u64; weights.len()];
        let largest = f64::from(*sizes.iter().max().unwrap());
        for size in sizes {
            let node = shares.pick(all_free, None).unwrap();
            shares.assign(node, size);
            sent[node.0 as usize] += u64::from(size);
            let time = |index: usize| sent[index] as f64 / f64::from(weights[index]);
            let times: Vec<f64> = (0..weights.len()).map(time).collect();
            let first = times.iter().copied().fold(f64::INFINITY, f64::min);
            let last = times.iter().copied().fold(0.0, f64::max);
            prop_assert!(last - first <= largest, "{:?}", times);
        }
    }

    /// For all patterns of readiness: a node that was away gets no more, while it and another are
    /// both free, than the other plus one batch and what the other was ahead.
    #[test]
    fn whoever_returns_never_floods(
        away in proptest::collection::vec(proptest::bool::ANY, 1..200),
        size in 1_u32..500,
    ) {
        let mut shares = shares(&[1, 1]);
        let mut behind = 0_i64;
        for away in away {
            if away {
                let node = shares.pick(all_free_but(1, Condition::NotReady), None).unwrap();
                prop_assert_eq!(node, id(0));
                shares.assign(node, size);
                behind = 0;
            } else {
                let node = shares.pick(all_free, None).unwrap();
                shares.assign(node, size);
                behind += if node == id(1) { 1 } else { -1 };
                prop_assert!(behind <= 1, "{} batches in a row", behind);
            }
        }
    }
}
