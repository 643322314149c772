use super::*;
use crate::balance::tests::{id, nodes};
use proptest::prelude::*;

const TIME: Duration = Duration::from_secs(180);
const SECOND: Duration = Duration::from_secs(1);

fn sticky(keys: usize, count: usize) -> Sticky {
    let mut sticky = Sticky::new(NonZeroUsize::new(keys).unwrap(), TIME);
    sticky.set_nodes(&nodes(&vec![1; count]));
    sticky
}

fn all(_: NodeId) -> bool {
    true
}

/// The key's first and second node on a ring of `count` nodes.
fn walk(key: &[u8], count: usize) -> (NodeId, NodeId) {
    let ring = Ring::new(&nodes(&vec![1; count]));
    let mut walk = ring.candidates(key);
    (walk.next().unwrap(), walk.next().unwrap())
}

#[test]
fn an_unknown_key_goes_where_the_ring_says() {
    let mut sticky = sticky(10, 3);
    let (first, _) = walk(b"key", 3);
    assert_eq!(sticky.place(b"key", Instant::now(), all), Some(first));
}

#[test]
fn a_known_key_stays_when_a_node_joins_that_the_ring_prefers() {
    let now = Instant::now();
    let moved = (0..1000_u32).map(u32::to_be_bytes);
    let moved = moved
        .filter(|key| walk(key, 3).0 != walk(key, 4).0)
        .take(20)
        .collect::<Vec<_>>();
    let mut sticky = sticky(100, 3);
    for key in &moved {
        sticky.place(key, now, all);
    }
    sticky.set_nodes(&nodes(&[1; 4]));
    for key in &moved {
        assert_eq!(sticky.place(key, now, all), Some(walk(key, 3).0));
        let expired = now + TIME;
        assert_eq!(sticky.place(key, expired, all), Some(walk(key, 4).0));
    }
    assert_eq!(moved.len(), 20);
}

#[test]
fn a_key_of_a_node_that_is_not_ready_moves_on_and_stays_there() {
    let mut sticky = sticky(10, 3);
    let now = Instant::now();
    let (first, second) = walk(b"key", 3);
    assert_eq!(sticky.place(b"key", now, all), Some(first));
    let without_first = |node| node != first;
    assert_eq!(sticky.place(b"key", now, without_first), Some(second));
    assert_eq!(sticky.place(b"key", now, all), Some(second));
}

#[test]
fn a_returned_node_gets_a_key_back_when_the_entry_expires() {
    let mut sticky = sticky(10, 3);
    let now = Instant::now();
    let (first, second) = walk(b"key", 3);
    sticky.place(b"key", now, |node| node != first);
    let just_before = now + TIME - SECOND;
    assert_eq!(sticky.place(b"key", just_before, all), Some(second));
    assert_eq!(sticky.place(b"key", just_before + TIME, all), Some(first));
}

#[test]
fn use_refreshes_an_entry() {
    let mut sticky = sticky(10, 3);
    let mut now = Instant::now();
    let (first, second) = walk(b"key", 3);
    sticky.place(b"key", now, |node| node != first);
    for _ in 0..10 {
        now += TIME - SECOND;
        assert_eq!(sticky.place(b"key", now, all), Some(second));
    }
}

#[test]
fn a_node_that_leaves_discovery_loses_its_keys_at_once() {
    let mut sticky = sticky(100, 3);
    let now = Instant::now();
    let keys: Vec<_> = (0..50_u32).map(u32::to_be_bytes).collect();
    for key in &keys {
        sticky.place(key, now, all);
    }
    let left = nodes(&[1; 3]).remove(1);
    let of_left = keys.iter().filter(|key| walk(*key, 3).0 == left.id).count();
    assert!(of_left > 0);
    let mut rest = nodes(&[1; 3]);
    rest.retain(|node| node.id != left.id);
    sticky.set_nodes(&rest);
    assert_eq!(sticky.len(), keys.len() - of_left);
    for key in &keys {
        assert_ne!(sticky.place(key, now, all), Some(left.id));
    }
}

#[test]
fn while_no_node_is_ready_a_key_has_none_but_keeps_its_place() {
    let mut sticky = sticky(10, 3);
    let now = Instant::now();
    let (first, second) = walk(b"key", 3);
    sticky.place(b"key", now, |node| node != first);
    assert_eq!(sticky.place(b"key", now, |_| false), None);
    assert_eq!(sticky.place(b"key", now, all), Some(second));
}

#[test]
fn the_least_recently_used_key_is_forgotten_first() {
    let mut sticky = sticky(2, 3);
    let now = Instant::now();
    assert!(sticky.is_empty());
    let moved_on = |key: &[u8]| {
        let first = walk(key, 3).0;
        move |node| node != first
    };
    sticky.place(b"old", now, moved_on(b"old"));
    sticky.place(b"used", now, moved_on(b"used"));
    sticky.place(b"old", now, all);
    sticky.place(b"new", now, all);
    assert_eq!(sticky.len(), 2);
    let (_, second) = walk(b"old", 3);
    assert_eq!(sticky.place(b"old", now, all), Some(second), "remembered");
    let (first, _) = walk(b"used", 3);
    assert_eq!(sticky.place(b"used", now, all), Some(first), "forgotten");
}

#[test]
fn a_clock_that_steps_back_does_not_expire_an_entry() {
    let mut sticky = sticky(10, 3);
    let now = Instant::now() + TIME;
    let (first, second) = walk(b"key", 3);
    sticky.place(b"key", now, |node| node != first);
    assert_eq!(sticky.place(b"key", now - SECOND, all), Some(second));
}

/// What the module's doc says, without a limit on keys.
#[derive(Default)]
struct Model(std::collections::HashMap<u8, (NodeId, Instant)>);

impl Model {
    fn place(&mut self, key: u8, now: Instant, ready: &[NodeId]) -> Option<NodeId> {
        let known = self.0.get(&key).copied();
        let known = known.filter(|(node, used)| now - *used < TIME && ready.contains(node));
        let ring = Ring::new(&nodes(&[1; 4]));
        let first = || ring.candidates(&[key]).find(|node| ready.contains(node));
        let node = known.map(|(node, _)| node).or_else(first)?;
        self.0.insert(key, (node, now));
        Some(node)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For all uses: places are those of a plain map with times.
    #[test]
    fn places_agree_with_the_model(
        uses in proptest::collection::vec(
            (0_u8..6, 0_u64..120, proptest::collection::btree_set(0_u32..4, 0..=4)),
            1..60,
        ),
    ) {
        let mut sticky = sticky(6, 4);
        let mut model = Model::default();
        let mut now = Instant::now();
        for (key, pause, ready) in uses {
            now += Duration::from_secs(pause);
            let ready: Vec<_> = ready.into_iter().map(id).collect();
            let placed = sticky.place(&[key], now, |node| ready.contains(&node));
            prop_assert_eq!(placed, model.place(key, now, &ready));
        }
    }
}
