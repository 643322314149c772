//! SkyWalking's Python agent: segments, logs and meters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use perigee_loadtest::process::Running;
use perigee_loadtest::scenario::Scenario;

use crate::books::{self, Books, Signal, Value};
use crate::{CLIENT_WITHIN, collector, gateway, lines_of, prepared, said, source};

/// Segments of each agent, and logs.
const EACH: usize = 150;
/// Times that each agent reports its meters.
const ROUNDS: usize = 3;
/// The program's own meters, besides those of the Python virtual machine: counter, gauge, histogram.
const OWN_METERS: usize = 3;
/// Milliseconds: half of the time between two reports of the same meter.
const SAME_SET: u64 = 500;

fn start(directory: &Path, collector: &str, (service, instance): (&str, &str)) -> Command {
    let mut program = Command::new(directory.join("bin/python"));
    program
        .arg(source("python/agent.py"))
        .args([collector, service, instance, &EACH.to_string()])
        .env("SW_AGENT_LOG_REPORTER_ACTIVE", "True")
        .env("SW_AGENT_METER_REPORTER_ACTIVE", "True")
        .env("SW_AGENT_METER_REPORTER_PERIOD", "1");
    program
}

/// What agents have said: segments and logs, and apart from them the meters.
#[derive(Default)]
struct Produced {
    books: Books,
    meters: Meters,
}

impl Produced {
    fn add(&mut self, names: (&str, &str), lines: &[String]) {
        let (segments, logs) = (said(lines, "segment"), said(lines, "log"));
        assert_eq!((segments.len(), logs.len()), (EACH, EACH), "of {names:?}");
        self.books.add(Signal::Segment, names, segments);
        self.books.add(Signal::Log, names, logs);
        let meters = said(lines, "meter");
        let own = meters.iter().filter(|id| id.contains("shop=")).count();
        assert_eq!(own, ROUNDS * OWN_METERS, "of {names:?}");
        for id in meters {
            self.meters.add(names, id);
        }
    }

    /// Waits for all, and compares names, values and numbers once the gateway has ended.
    fn arrives_once(self, scenario: Scenario, agents: Vec<Running>) {
        let mut arrived = Books::default();
        arrived.await_all(&scenario, &self.books).unwrap();
        let awaited = arrived.await_until(&scenario, "the meters", |arrived| {
            Meters::of(arrived).wrong(&self.meters).is_empty()
        });
        let wrong = Meters::of(&arrived).wrong(&self.meters);
        assert!(awaited.is_ok(), "{awaited:?}\n{wrong:#?}");
        drop(agents);
        let arrived = books::close(scenario, arrived);
        arrived.assert_exactly(&self.books, &[Signal::Segment, Signal::Log]);
        let wrong = Meters::of(&arrived).wrong(&self.meters);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// When each value of each meter was reported: by service, instance, name with labels, and value.
///
/// The agent stamps each meter of a set by itself; an OAP files the set under the last stamp. Times
/// are therefore compared as sets are told apart.
#[derive(Debug, Default)]
struct Meters(BTreeMap<[String; 4], Vec<u64>>);

impl Meters {
    fn of(books: &Books) -> Self {
        let mut meters = Self::default();
        for (entry, count) in books.of(&[Signal::Meter]) {
            for _ in 0..count {
                meters.add((&entry.service, &entry.instance), &entry.id);
            }
        }
        meters
    }

    fn add(&mut self, (service, instance): (&str, &str), id: &str) {
        let Value { name, text, time } = Value::parse(id).unwrap();
        let key = [service, instance, name, &text].map(str::to_owned);
        self.0.entry(key).or_default().push(time.unwrap());
    }

    /// What is not here as it was reported.
    fn wrong(&self, reported: &Self) -> Vec<String> {
        let all: BTreeSet<_> = self.0.keys().chain(reported.0.keys()).collect();
        let wrong = all.into_iter().filter_map(|key| {
            let [here, there] = [self, reported].map(|meters| {
                let mut times = meters.0.get(key).cloned().unwrap_or_default();
                times.sort_unstable();
                times
            });
            let mut pairs = here.iter().zip(&there);
            let same = here.len() == there.len()
                && pairs.all(|(one, other)| one.abs_diff(*other) < SAME_SET);
            (!same).then(|| format!("{key:?}: at the sinks {here:?}, reported {there:?}"))
        });
        wrong.collect()
    }
}

#[test]
fn segments_logs_and_meters_of_the_python_agent_arrive_once() {
    let Some(directory) = prepared("python") else {
        return;
    };
    let scenario = gateway();
    let names = ("python-service", "python-instance");
    let mut program = start(&directory, &collector(&scenario).to_string(), names);
    let lines = lines_of(Running::start("python", &mut program).unwrap());
    let mut produced = Produced::default();
    produced.add(names, &lines);
    produced.arrives_once(scenario, Vec::new());
}

/// Two of them at once, whose endless streams may meet in one batch but not in one name.
#[test]
fn segments_logs_and_meters_of_asyncio_python_agents_arrive_once_though_no_call_ends() {
    let Some(directory) = prepared("python") else {
        return;
    };
    let scenario = gateway();
    let collector = collector(&scenario).to_string();
    let all = [("aio-one", "aio-one-1"), ("aio-two", "aio-two-1")];
    let agents = all.map(|names| {
        let mut program = start(&directory, &collector, names);
        program
            .env("SW_AGENT_ASYNCIO_ENHANCEMENT", "True")
            // It dies with the present grpcio.
            .env("SW_AGENT_DISABLE_PLUGINS", "sw_grpc");
        Running::start(names.0, &mut program).unwrap()
    });
    let mut produced = Produced::default();
    for (agent, names) in agents.iter().zip(all) {
        agent.line_after("done", CLIENT_WITHIN).unwrap();
        produced.add(names, &agent.lines());
    }
    produced.arrives_once(scenario, agents.into());
}
