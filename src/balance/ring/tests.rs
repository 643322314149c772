use super::*;
use crate::balance::tests::{endpoint, id, nodes};
use proptest::collection::vec;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

fn home(ring: &Ring, key: &[u8]) -> Option<NodeId> {
    ring.candidates(key).next()
}

/// The specification in the module's doc, written down plainly.
fn oracle(nodes: &[Node], key: &[u8]) -> Vec<NodeId> {
    let mut points = Vec::new();
    for node in nodes {
        let address = node.endpoint.address.to_string();
        for point in 0..POINTS * node.endpoint.weight as usize {
            let hash = xxh3_64(format!("{address}#{point}").as_bytes());
            points.push((hash, address.clone(), node.id));
        }
    }
    points.sort();
    let start = points.partition_point(|(hash, ..)| *hash < xxh3_64(key));
    let mut walk = Vec::new();
    for (_, _, node) in points[start..].iter().chain(&points[..start]) {
        if !walk.contains(node) {
            walk.push(*node);
        }
    }
    walk
}

/// If this test fails, replicas of different versions disagree while they are being replaced.
#[test]
fn placement_is_pinned() {
    let ring = Ring::new(&nodes(&[1, 1, 1, 1, 1]));
    let placed = (0..20).map(|number| {
        let key = format!("service-{number}");
        home(&ring, key.as_bytes()).unwrap().0
    });
    assert_eq!(placed.collect::<Vec<_>>(), GOLDEN_PLACEMENT);
    let walk: Vec<_> = ring.candidates(b"").map(|node| node.0).collect();
    assert_eq!(walk, GOLDEN_WALK);
}

// Checked against Python's `xxhash` module following the specification.
const GOLDEN_PLACEMENT: [u32; 20] = [2, 2, 2, 0, 4, 4, 3, 1, 0, 4, 0, 3, 0, 0, 3, 3, 2, 3, 4, 1];
const GOLDEN_WALK: [u32; 5] = [3, 0, 4, 1, 2];

#[test]
fn an_empty_ring_has_no_candidates() {
    assert_eq!(Ring::new(&[]).candidates(b"key").count(), 0);
}

#[test]
fn a_walk_meets_every_node_once() {
    let ring = Ring::new(&nodes(&[1, 5, 1, 2]));
    let mut walk: Vec<_> = ring.candidates(b"key").collect();
    assert_eq!(walk.len(), 4);
    walk.sort();
    walk.dedup();
    assert_eq!(walk.len(), 4);
}

#[test]
fn names_of_nodes_do_not_matter() {
    let mut other = nodes(&[1, 1, 1]);
    for (node, number) in other.iter_mut().zip([70, 3, 55]) {
        node.id = id(number);
    }
    let (ring, other) = (Ring::new(&nodes(&[1, 1, 1])), Ring::new(&other));
    for key in 0..100_u32 {
        let key = key.to_be_bytes();
        let number = home(&ring, &key).unwrap().0 as usize;
        assert_eq!(home(&other, &key), Some(id([70, 3, 55][number])));
    }
}

#[test]
fn load_is_even_within_a_quarter() {
    const KEYS: u32 = 20_000;
    for count in 3..=10 {
        let ring = Ring::new(&nodes(&vec![1; count]));
        let mut load = vec![0_u32; count];
        for key in 0..KEYS {
            let key = format!("service-{key}instance");
            load[home(&ring, key.as_bytes()).unwrap().0 as usize] += 1;
        }
        let even = f64::from(KEYS) / count as f64;
        for load in &load {
            let ratio = f64::from(*load) / even;
            assert!(
                (0.75..=1.25).contains(&ratio),
                "{count} nodes: {load} of {even}"
            );
        }
    }
}

#[test]
fn load_follows_weight() {
    let ring = Ring::new(&nodes(&[1, 3]));
    let heavy = (0..20_000_u32).filter(|key| home(&ring, &key.to_be_bytes()) == Some(id(1)));
    let heavy = heavy.count();
    assert!((13_500..16_500).contains(&heavy), "{heavy} of 20000");
}

#[test]
fn an_absurd_weight_does_not_make_an_absurd_ring() {
    let ring = Ring::new(&nodes(&[u32::MAX]));
    assert_eq!(ring.points.len(), POINTS * LARGEST_WEIGHT as usize);
}

/// Distinct hosts with their weights.
fn weighted() -> impl Strategy<Value = Vec<Node>> {
    proptest::collection::btree_map(0_u8..=255, 1_u32..4, 1..8).prop_map(|hosts| {
        let numbered = (0..).zip(hosts);
        numbered
            .map(|(number, (host, weight))| Node {
                id: id(number),
                endpoint: endpoint(host, weight),
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// For all sets and keys: the walk is the one of the specification.
    #[test]
    fn walks_agree_with_the_oracle(nodes in weighted(), keys in vec(any::<Vec<u8>>(), 1..10)) {
        let ring = Ring::new(&nodes);
        for key in keys {
            let walk: Vec<_> = ring.candidates(&key).collect();
            prop_assert_eq!(walk, oracle(&nodes, &key));
        }
    }

    /// For all sets and keys: the order in which nodes are given does not matter.
    #[test]
    fn the_order_of_nodes_does_not_matter(
        (nodes, shuffled) in weighted().prop_flat_map(|nodes| {
            (Just(nodes.clone()), Just(nodes).prop_shuffle())
        }),
        keys in vec(any::<u64>(), 1..50),
    ) {
        let (ring, shuffled) = (Ring::new(&nodes), Ring::new(&shuffled));
        for key in keys {
            let key = key.to_be_bytes();
            prop_assert!(ring.candidates(&key).eq(shuffled.candidates(&key)));
        }
    }

    /// For all keys: removing a node moves only that node's keys, each to its next candidate.
    #[test]
    fn removing_a_node_moves_only_its_keys(
        nodes in weighted(),
        victim: prop::sample::Index,
        keys in vec(any::<u64>(), 1..100),
    ) {
        let ring = Ring::new(&nodes);
        let mut rest = nodes;
        let removed = rest.remove(victim.index(rest.len())).id;
        let smaller = Ring::new(&rest);
        for key in keys {
            let key = key.to_be_bytes();
            let expected = ring.candidates(&key).find(|node| *node != removed);
            prop_assert_eq!(home(&smaller, &key), expected);
        }
    }
}
