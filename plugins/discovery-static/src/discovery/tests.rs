use super::*;
use crate::{Lookup, parse_list};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

const REFRESH: Duration = Duration::from_secs(30);

/// What a name's next lookups give.
#[derive(Clone)]
enum Reply {
    Found(Vec<SocketAddr>),
    Fails,
    /// After this time, these addresses.
    Late(Duration, Vec<SocketAddr>),
}

/// A resolver that tests write to.
#[derive(Default)]
struct Names {
    replies: Mutex<HashMap<String, Reply>>,
    lookups: AtomicUsize,
}

impl Names {
    fn set(&self, host: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(host.to_owned(), reply);
    }
}

impl Resolve for Names {
    fn resolve(&self, host: &str, _port: u16) -> Lookup {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let reply = self.replies.lock().unwrap().get(host).cloned();
        Box::pin(async move {
            match reply {
                Some(Reply::Found(addresses)) => Ok(addresses),
                Some(Reply::Late(pause, addresses)) => {
                    time::sleep(pause).await;
                    Ok(addresses)
                }
                Some(Reply::Fails) | None => Err(io::Error::other("no such host")),
            }
        })
    }
}

/// A running discovery and what it publishes.
struct Run {
    names: Arc<Names>,
    sets: UnboundedReceiver<EndpointSet>,
    task: JoinHandle<()>,
    started: Instant,
}

impl Run {
    fn start(list: &str, names: Names) -> Self {
        let names = Arc::new(names);
        let resolver: Arc<dyn Resolve> = Arc::<Names>::clone(&names);
        let discovery = StaticDiscovery::new(parse_list(list).unwrap(), REFRESH, resolver);
        let (sender, sets) = unbounded_channel();
        let publish: Publish = Box::new(move |set| sender.send(set).is_ok());
        Self {
            names,
            sets,
            task: tokio::spawn(Box::new(discovery).run(publish)),
            started: Instant::now(),
        }
    }

    /// The next set, as `address (host)`.
    async fn next(&mut self) -> Vec<String> {
        let set = self.sets.recv().await.expect("discovery runs");
        let endpoints = set.as_slice().iter();
        endpoints
            .map(|endpoint| format!("{endpoint} ({})", endpoint.host))
            .collect()
    }

    /// Lets `rounds` more rounds of lookups pass; ends between two of them.
    async fn pass(&self, rounds: u32) {
        let over = self.started.elapsed().div_duration_f64(REFRESH) as u32;
        let until = self.started + REFRESH * (over + rounds) + REFRESH / 2;
        time::sleep_until(until).await;
    }

    fn assert_nothing_published(&mut self) {
        assert!(self.sets.try_recv().is_err());
    }
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 11800))
}

fn found(hosts: &[u8]) -> Reply {
    Reply::Found(hosts.iter().copied().map(address).collect())
}

fn names<const N: usize>(replies: [(&str, Reply); N]) -> Names {
    let names = Names::default();
    for (host, reply) in replies {
        names.set(host, reply);
    }
    names
}

#[tokio::test(start_paused = true)]
async fn a_list_without_names_is_published_once_and_for_all() {
    let mut run = Run::start("10.0.0.2:11800,10.0.0.1:11800,[::1]:7", Names::default());
    assert_eq!(
        run.next().await,
        [
            "10.0.0.1:11800 (10.0.0.1)",
            "10.0.0.2:11800 (10.0.0.2)",
            "[::1]:7 (::1)"
        ]
    );
    run.task.await.unwrap();
    assert_eq!(run.names.lookups.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn literal_addresses_do_not_wait_for_names() {
    let late = Reply::Late(Duration::from_secs(5), vec![address(9)]);
    let mut run = Run::start("oap:11800,10.0.0.1:11800", names([("oap", late)]));
    assert_eq!(run.next().await, ["10.0.0.1:11800 (10.0.0.1)"]);
    assert_eq!(run.started.elapsed(), Duration::ZERO);
    assert_eq!(
        run.next().await,
        ["10.0.0.1:11800 (10.0.0.1)", "10.0.0.9:11800 (oap)"]
    );
    assert_eq!(run.started.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_name_stands_for_all_its_addresses() {
    let mut run = Run::start("oap:11800", names([("oap", found(&[3, 1, 2, 3]))]));
    assert_eq!(
        run.next().await,
        [
            "10.0.0.1:11800 (oap)",
            "10.0.0.2:11800 (oap)",
            "10.0.0.3:11800 (oap)"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_are_found_at_once_make_one_set() {
    let soon = Reply::Late(Duration::from_millis(900), vec![address(2)]);
    let replies = names([("a", found(&[1])), ("b", soon)]);
    let mut run = Run::start("a:11800,b:11800", replies);
    assert_eq!(run.next().await.len(), 2);
    assert_eq!(run.started.elapsed(), Duration::from_millis(900));
}

#[tokio::test(start_paused = true)]
async fn a_slow_name_does_not_hold_up_the_others_for_long() {
    let slow = Reply::Late(Duration::from_secs(8), vec![address(2)]);
    let replies = names([("a", found(&[1])), ("b", slow)]);
    let mut run = Run::start("a:11800,b:11800", replies);
    assert_eq!(run.next().await, ["10.0.0.1:11800 (a)"]);
    assert_eq!(run.started.elapsed(), GATHERING);
    assert_eq!(run.next().await.len(), 2);
    assert_eq!(run.started.elapsed(), Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_name_is_published_at_the_next_refresh() {
    let mut run = Run::start("oap:11800", names([("oap", found(&[1, 2]))]));
    assert_eq!(run.next().await.len(), 2);
    run.names.set("oap", found(&[2, 3]));
    assert_eq!(
        run.next().await,
        ["10.0.0.2:11800 (oap)", "10.0.0.3:11800 (oap)"]
    );
    assert_eq!(run.started.elapsed(), REFRESH);
}

#[tokio::test(start_paused = true)]
async fn the_same_addresses_in_another_order_are_not_published_again() {
    let mut run = Run::start("oap:11800", names([("oap", found(&[1, 2]))]));
    run.next().await;
    run.names.set("oap", found(&[2, 1]));
    run.pass(3).await;
    assert_eq!(run.names.lookups.load(Ordering::SeqCst), 4);
    run.assert_nothing_published();
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_keeps_the_addresses_of_that_name_only() {
    let replies = names([("a", found(&[1])), ("b", found(&[2]))]);
    let mut run = Run::start("a:11800,b:11800", replies);
    run.next().await;
    run.names.set("a", Reply::Fails);
    run.names.set("b", found(&[3]));
    assert_eq!(
        run.next().await,
        ["10.0.0.1:11800 (a)", "10.0.0.3:11800 (b)"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_addresses_and_one_that_never_comes_are_failures() {
    let never = Duration::from_secs(3600);
    let mut run = Run::start("oap:11800", names([("oap", found(&[1]))]));
    run.next().await;
    for reply in [found(&[]), Reply::Late(never, vec![address(7)])] {
        run.names.set("oap", reply);
        run.pass(2).await;
        run.assert_nothing_published();
    }
    run.names.set("oap", found(&[4]));
    assert_eq!(run.next().await, ["10.0.0.4:11800 (oap)"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_before_anything_is_known() {
    let mut run = Run::start("oap:11800", Names::default());
    run.pass(2).await;
    run.assert_nothing_published();
    run.names.set("oap", found(&[1]));
    assert_eq!(run.next().await, ["10.0.0.1:11800 (oap)"]);
}

#[tokio::test(start_paused = true)]
async fn of_one_address_under_two_names_the_first_in_the_list_stays() {
    let replies = names([("b", found(&[1])), ("a", found(&[1]))]);
    let mut run = Run::start("b:11800,a:11800", replies);
    assert_eq!(run.next().await, ["10.0.0.1:11800 (b)"]);
}

#[tokio::test(start_paused = true)]
async fn weights_reach_every_address_and_are_at_least_one() {
    let mut servers = parse_list("oap:11800,10.0.0.9:11800").unwrap();
    servers[0].weight = 3;
    servers[1].weight = 0;
    let names = Arc::new(names([("oap", found(&[1, 2]))]));
    let discovery = StaticDiscovery::new(servers, REFRESH, names);
    let (sender, mut sets) = unbounded_channel();
    let publish: Publish = Box::new(move |set| sender.send(set).is_ok());
    tokio::spawn(Box::new(discovery).run(publish));
    sets.recv().await.unwrap();
    let set = sets.recv().await.unwrap();
    let weights: Vec<_> = set.as_slice().iter().map(|one| one.weight).collect();
    assert_eq!(weights, [3, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn discovery_ends_when_nobody_listens() {
    let mut run = Run::start("oap:11800", names([("oap", found(&[1]))]));
    run.next().await;
    run.sets.close();
    run.names.set("oap", found(&[2]));
    run.task.await.unwrap();
    assert_eq!(run.started.elapsed(), REFRESH);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_zero_does_not_spin() {
    let names = Arc::new(names([("oap", found(&[1]))]));
    let resolver: Arc<dyn Resolve> = Arc::<Names>::clone(&names);
    let servers = parse_list("oap:11800").unwrap();
    let discovery = StaticDiscovery::new(servers, Duration::ZERO, resolver);
    let run = Box::new(discovery).run(Box::new(|_| true));
    assert!(
        time::timeout(Duration::from_millis(9500), run)
            .await
            .is_err()
    );
    assert_eq!(names.lookups.load(Ordering::SeqCst), 10);
}

#[test]
fn a_warning_is_due_at_the_first_failure_and_once_a_period_from_then_on() {
    let start = Instant::now();
    let mut failures = Failures::default();
    let due = [0, 30, 59, 60, 90, 119, 120].map(|second| {
        let now = start + Duration::from_secs(second);
        failures.another(now)
    });
    assert_eq!(due, [Some(1), None, None, Some(4), None, None, Some(7)]);
}
