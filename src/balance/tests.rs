use super::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::{prop_assert, prop_assert_eq, proptest};

/// An endpoint at 10.0.0.`host`.
pub(super) fn endpoint(host: u8, weight: u32) -> Endpoint {
    let address = std::net::SocketAddr::from(([10, 0, 0, host], 11800));
    Endpoint {
        address,
        host: address.ip().to_string().into(),
        weight,
    }
}

/// Nodes 0, 1, 2 ... at 10.0.0.1, 10.0.0.2 ... with these weights.
pub(super) fn nodes(weights: &[u32]) -> Vec<Node> {
    let numbered = (0_u8..).zip(weights);
    numbered
        .map(|(number, weight)| Node {
            id: id(u32::from(number)),
            endpoint: endpoint(number + 1, *weight),
        })
        .collect()
}

pub(super) fn id(number: u32) -> NodeId {
    NodeId(number)
}

/// What a test says about its nodes: free and idle where it says nothing.
#[derive(Default)]
struct Cluster {
    conditions: BTreeMap<NodeId, Condition>,
    in_flight: BTreeMap<NodeId, u64>,
}

impl Cluster {
    fn set(&mut self, node: NodeId, condition: Condition) {
        self.conditions.insert(node, condition);
    }
}

impl View for Cluster {
    fn condition(&self, node: NodeId) -> Condition {
        let condition = self.conditions.get(&node).copied();
        condition.unwrap_or(Condition::Free)
    }

    fn in_flight(&self, node: NodeId) -> u64 {
        self.in_flight.get(&node).copied().unwrap_or(0)
    }
}

fn set(hosts: &[u8]) -> EndpointSet {
    hosts.iter().map(|host| endpoint(*host, 1)).collect()
}

fn balancer(settings: Settings, hosts: &[u8]) -> Balancer {
    let mut balancer = Balancer::new(settings, Rng::with_seed(1));
    balancer.set_nodes(&set(hosts));
    balancer
}

fn any(count: u32) -> Request<'static> {
    Request {
        pipe: 0,
        route: Route::Any,
        count,
        avoid: None,
    }
}

fn keyed(key: &[u8]) -> Request<'_> {
    Request {
        route: Route::Key(key),
        ..any(1)
    }
}

fn ids(balancer: &Balancer) -> Vec<NodeId> {
    balancer.nodes().iter().map(|node| node.id).collect()
}

#[test]
fn without_nodes_nothing_is_picked() {
    let mut balancer = balancer(Settings::default(), &[]);
    let now = Instant::now();
    let cluster = Cluster::default();
    assert_eq!(balancer.pick(&any(1), &cluster, now), None);
    assert_eq!(balancer.pick(&keyed(b"key"), &cluster, now), None);
}

#[test]
fn a_node_keeps_its_name_while_it_stays_and_gets_a_new_one_when_it_returns() {
    let mut balancer = Balancer::new(Settings::default(), Rng::with_seed(1));
    let changes = balancer.set_nodes(&set(&[2, 3]));
    assert_eq!(changes.joined, ids(&balancer));
    assert!(changes.left.is_empty());
    let before = ids(&balancer);

    let changes = balancer.set_nodes(&set(&[1, 3]));
    let after = ids(&balancer);
    assert_eq!(after[1], before[1]);
    assert_eq!(changes.joined, [after[0]]);
    assert_eq!(changes.left, [before[0]]);

    let changes = balancer.set_nodes(&set(&[1, 2, 3]));
    assert_eq!(changes.joined.len(), 1);
    assert!(!before.contains(&changes.joined[0]), "a name is used once");
}

#[test]
fn the_same_set_again_changes_nothing() {
    let mut balancer = balancer(Settings::default(), &[1, 2]);
    assert_eq!(balancer.set_nodes(&set(&[1, 2])), Changes::default());
}

#[test]
fn a_node_under_another_host_leaves_and_joins() {
    let mut balancer = balancer(Settings::default(), &[1]);
    let before = ids(&balancer);
    let renamed = Endpoint {
        host: "oap.example".into(),
        ..endpoint(1, 1)
    };
    let changes = balancer.set_nodes(&EndpointSet::new(vec![renamed]));
    assert_eq!(changes.left, before);
    assert_eq!(changes.joined, ids(&balancer));
    assert_eq!(balancer.endpoint(before[0]), None);
    let endpoint = balancer.endpoint(changes.joined[0]).unwrap();
    assert_eq!(&*endpoint.host, "oap.example");
}

#[test]
fn a_node_of_another_weight_stays_and_gets_another_share() {
    let mut balancer = balancer(Settings::default(), &[1, 2]);
    let heavier = EndpointSet::new(vec![endpoint(1, 3), endpoint(2, 1)]);
    assert_eq!(balancer.set_nodes(&heavier), Changes::default());
    let shares = deliver(&mut balancer, &Cluster::default(), &[1; 400]);
    assert_eq!(shares, [300, 100]);
}

/// Sends batches of these sizes and says how many messages each node got.
fn deliver(balancer: &mut Balancer, cluster: &Cluster, sizes: &[u32]) -> Vec<u32> {
    let now = Instant::now();
    let nodes = ids(balancer);
    let mut shares = vec![0; nodes.len()];
    for size in sizes {
        let picked = balancer.pick(&any(*size), cluster, now).unwrap();
        let index = nodes.iter().position(|node| *node == picked).unwrap();
        shares[index] += size;
    }
    shares
}

#[test]
fn a_burst_cut_into_small_batches_is_even_in_messages() {
    let mut balancer = balancer(Settings::default(), &[1, 2, 3]);
    let mut sizes = vec![300, 25, 25];
    sizes.extend([25; 22]);
    let shares = deliver(&mut balancer, &Cluster::default(), &sizes);
    assert_eq!(shares, [300, 300, 300]);
}

#[test]
fn each_kind_of_data_is_even_by_itself() {
    let mut balancer = balancer(Settings::default(), &[1, 2, 3]);
    let nodes = ids(&balancer);
    let cluster = Cluster::default();
    let mut pings = BTreeMap::new();
    for _ in 0..30 {
        // One large batch of another pipe between any two pings, always of the same phase.
        let large = Request {
            pipe: 4,
            ..any(1000)
        };
        let ping = balancer.pick(&any(1), &cluster, Instant::now()).unwrap();
        balancer.pick(&large, &cluster, Instant::now()).unwrap();
        balancer.pick(&large, &cluster, Instant::now()).unwrap();
        *pings.entry(ping).or_insert(0) += 1;
    }
    assert_eq!(pings, nodes.iter().map(|node| (*node, 10)).collect());
}

#[test]
fn workers_and_pipes_begin_at_different_nodes() {
    let first = |offset, pipe| {
        let settings = Settings {
            offset,
            ..Settings::default()
        };
        let request = Request { pipe, ..any(1) };
        let mut balancer = balancer(settings, &[1, 2, 3]);
        balancer.pick(&request, &Cluster::default(), Instant::now())
    };
    let by_worker: BTreeSet<_> = (0..3).map(|offset| first(offset, 0)).collect();
    let by_pipe: BTreeSet<_> = (0..3).map(|pipe| first(7, pipe)).collect();
    assert_eq!(by_worker.len(), 3);
    assert_eq!(by_pipe.len(), 3);
}

#[test]
fn an_unkeyed_batch_waits_while_no_node_is_free() {
    let mut balancer = balancer(Settings::default(), &[1, 2]);
    let nodes = ids(&balancer);
    let mut cluster = Cluster::default();
    cluster.set(nodes[0], Condition::Busy);
    cluster.set(nodes[1], Condition::NotReady);
    for strategy in [Strategy::RoundRobin, Strategy::LeastInFlight] {
        balancer.settings.strategy = strategy;
        assert_eq!(balancer.pick(&any(1), &cluster, Instant::now()), None);
    }
    cluster.set(nodes[0], Condition::Free);
    for strategy in [Strategy::RoundRobin, Strategy::LeastInFlight] {
        balancer.settings.strategy = strategy;
        let picked = balancer.pick(&any(1), &cluster, Instant::now());
        assert_eq!(picked, Some(nodes[0]));
    }
}

#[test]
fn a_busy_node_keeps_its_keys() {
    let mut balancer = balancer(Settings::default(), &[1, 2, 3]);
    let mut cluster = Cluster::default();
    let now = Instant::now();
    let home = balancer.pick(&keyed(b"key"), &cluster, now).unwrap();
    cluster.set(home, Condition::Busy);
    assert_eq!(balancer.pick(&keyed(b"key"), &cluster, now), Some(home));
    cluster.set(home, Condition::NotReady);
    let other = balancer.pick(&keyed(b"key"), &cluster, now).unwrap();
    assert_ne!(other, home);
}

#[test]
fn keyed_batches_leave_the_shares_alone() {
    let mut balancer = balancer(Settings::default(), &[1, 2]);
    let cluster = Cluster::default();
    for _ in 0..100 {
        balancer.pick(&keyed(b"key"), &cluster, Instant::now());
    }
    assert_eq!(deliver(&mut balancer, &cluster, &[1; 10]), [5, 5]);
}

#[test]
fn the_node_that_failed_is_avoided_while_another_one_is_ready() {
    let mut cluster = Cluster::default();
    for strategy in [Strategy::RoundRobin, Strategy::LeastInFlight] {
        let settings = Settings {
            strategy,
            ..Settings::default()
        };
        for request in [any(1), keyed(b"key")] {
            let mut balancer = balancer(settings, &[1, 2]);
            let nodes = ids(&balancer);
            cluster.set(nodes[1], Condition::Free);
            for failed in [0, 1, 0] {
                let retry = Request {
                    avoid: Some(nodes[failed]),
                    ..request
                };
                let picked = balancer.pick(&retry, &cluster, Instant::now());
                assert_eq!(picked, Some(nodes[1 - failed]), "{strategy:?} {request:?}");
            }
            let retry = Request {
                avoid: Some(nodes[0]),
                ..request
            };
            cluster.set(nodes[1], Condition::NotReady);
            let picked = balancer.pick(&retry, &cluster, Instant::now());
            assert_eq!(picked, Some(nodes[0]), "the only one is better than none");
        }
    }
}

#[test]
fn an_unkeyed_retry_waits_for_another_ready_node_to_become_free() {
    let mut balancer = balancer(Settings::default(), &[1, 2]);
    let nodes = ids(&balancer);
    let mut cluster = Cluster::default();
    cluster.set(nodes[1], Condition::Busy);
    let retry = Request {
        avoid: Some(nodes[0]),
        ..any(1)
    };
    assert_eq!(balancer.pick(&retry, &cluster, Instant::now()), None);
}

#[test]
fn least_in_flight_follows_the_view() {
    let settings = Settings {
        strategy: Strategy::LeastInFlight,
        ..Settings::default()
    };
    let mut balancer = balancer(settings, &[1, 2]);
    let nodes = ids(&balancer);
    let mut cluster = Cluster::default();
    cluster.in_flight.insert(nodes[0], 500);
    assert_eq!(deliver(&mut balancer, &cluster, &[1; 50]), [0, 50]);
    cluster.in_flight.insert(nodes[1], 501);
    assert_eq!(deliver(&mut balancer, &cluster, &[1; 50]), [50, 0]);
}

#[test]
fn two_workers_place_keys_alike() {
    let mut one = balancer(Settings::default(), &[1, 2, 3, 4]);
    let mut other = balancer(Settings::default(), &[4, 9]);
    other.set_nodes(&set(&[4, 3, 2, 1]));
    let cluster = Cluster::default();
    let now = Instant::now();
    for key in 0..200_u32 {
        let key = key.to_be_bytes();
        let place = |balancer: &mut Balancer| {
            let node = balancer.pick(&keyed(&key), &cluster, now).unwrap();
            balancer.endpoint(node).unwrap().clone()
        };
        assert_eq!(place(&mut one), place(&mut other));
    }
}

/// Counts how often the balancer looks.
struct Counting(Cell<u32>);

impl View for Counting {
    fn condition(&self, _: NodeId) -> Condition {
        self.0.set(self.0.get() + 1);
        Condition::Free
    }

    fn in_flight(&self, _: NodeId) -> u64 {
        0
    }
}

#[test]
fn a_known_key_asks_about_its_own_node_only() {
    let mut balancer = balancer(Settings::default(), &[1, 2, 3, 4, 5]);
    let now = Instant::now();
    let view = Counting(Cell::new(0));
    balancer.pick(&keyed(b"key"), &view, now);
    view.0.set(0);
    balancer.pick(&keyed(b"key"), &view, now);
    assert_eq!(view.0.get(), 1);
}

proptest! {
    /// For all sequences of sets: names are unique, say what changed, and only ready nodes are
    /// picked.
    #[test]
    fn names_and_picks_are_consistent_over_changing_sets(
        steps in proptest::collection::vec(
            (proptest::collection::btree_set(0_u8..8, 0..6), 0_u8..8, any_route()),
            1..20,
        ),
    ) {
        let mut balancer = Balancer::new(Settings::default(), Rng::with_seed(1));
        let mut known: BTreeSet<NodeId> = BTreeSet::new();
        let mut used: BTreeSet<NodeId> = BTreeSet::new();
        let now = Instant::now();
        for (hosts, away, key) in steps {
            let hosts: Vec<u8> = hosts.into_iter().collect();
            let changes = balancer.set_nodes(&set(&hosts));
            for node in changes.left {
                prop_assert!(known.remove(&node));
            }
            for node in changes.joined {
                prop_assert!(known.insert(node) && used.insert(node));
            }
            prop_assert_eq!(&known, &ids(&balancer).into_iter().collect::<BTreeSet<_>>());
            let mut cluster = Cluster::default();
            let is_away = |node: &&Node| node.endpoint == endpoint(away, 1);
            let away = balancer.nodes().iter().find(is_away).map(|node| node.id);
            if let Some(away) = away {
                cluster.set(away, Condition::NotReady);
            }
            let request = key.as_ref().map_or(any(10), |key| keyed(key));
            let picked = balancer.pick(&request, &cluster, now);
            let some_ready = known.iter().any(|node| Some(*node) != away);
            prop_assert_eq!(picked.is_some(), some_ready);
            if let Some(picked) = picked {
                prop_assert!(known.contains(&picked) && Some(picked) != away);
            }
        }
    }
}

fn any_route() -> impl proptest::strategy::Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(proptest::num::u8::ANY, 0..3))
}
