use super::*;

fn entity(pid: u32, process: &str) -> Entity {
    Entity {
        pid,
        started: 5,
        layer: "OS_LINUX".to_owned(),
        service: "shop".to_owned(),
        instance: "host-1".to_owned(),
        process: process.to_owned(),
        labels: vec!["a".to_owned(), "b".to_owned()],
        place: Place::Host,
        properties: vec![("command_line".to_owned(), process.to_owned())],
    }
}

/// Answers as an OAP does, which may sort labels as it likes.
fn answer(
    report: &sw::EbpfProcessReportList,
    whom: impl Fn(i32) -> bool,
) -> sw::EbpfReportProcessDownstream {
    let answers = report
        .processes
        .iter()
        .filter_map(|process| match process.metadata.clone()? {
            Metadata::HostProcess(host) => {
                let mut names = host.entity?;
                names.labels.reverse();
                let host = whom(host.pid).then_some(host.pid)?;
                Some(sw::EbpfProcessDownstream {
                    process_id: format!("id of {}", names.process_name),
                    process: Some(Process::HostProcess(sw::EbpfHostProcessDownstream {
                        pid: host,
                        entity_metadata: Some(names),
                    })),
                })
            }
            Metadata::K8sProcess(pod) => Some(sw::EbpfProcessDownstream {
                process_id: format!("pod's {}", pod.pid),
                process: Some(Process::K8sProcess(sw::EbpfKubernetesProcessDownstream {
                    pid: pod.pid,
                    entity_metadata: pod.entity,
                })),
            }),
        });
    sw::EbpfReportProcessDownstream {
        processes: answers.collect(),
    }
}

fn processes(entities: &[Entity]) -> Processes {
    let mut processes = Processes::new("agent".to_owned(), true);
    processes.set(entities);
    processes
}

/// Reports, and takes the answers for these PIDs; returns the PIDs reported.
fn report(processes: &mut Processes, whom: impl Fn(i32) -> bool + Copy) -> Vec<u32> {
    let mut pids = Vec::new();
    for report in processes.reports() {
        processes.answered(&report, &answer(&report, whom));
        pids.extend(
            report
                .processes
                .iter()
                .filter_map(key_of_properties)
                .map(|key| key.0),
        );
    }
    pids
}

fn pinged(processes: &Processes) -> Vec<String> {
    let packages = processes
        .pings()
        .into_iter()
        .flat_map(|ping| ping.processes);
    packages
        .map(|package| package.entity_metadata.unwrap().process_name)
        .collect()
}

#[test]
fn a_report_says_what_is_known_and_that_it_can_be_profiled() {
    let mut entity = entity(7, "web");
    entity
        .properties
        .push((SUPPORTS.to_owned(), "whatever".to_owned()));
    for (place, supports) in [(Place::Host, true), (Place::Kubernetes, false)] {
        entity.place = place;
        let mut processes = Processes::new("agent".to_owned(), supports);
        processes.set(std::slice::from_ref(&entity));
        let reports = processes.reports();
        assert_eq!(reports[0].ebpf_agent_id, "agent");
        let (names, pid, properties) = match reports[0].processes[0].metadata.clone().unwrap() {
            Metadata::HostProcess(host) => (host.entity, host.pid, host.properties),
            Metadata::K8sProcess(pod) => (pod.entity, pod.pid, pod.properties),
        };
        assert_eq!(pid, 7);
        assert_eq!(names.unwrap().labels, ["a", "b"]);
        let properties: Vec<_> = properties
            .into_iter()
            .map(|pair| (pair.key, pair.value))
            .collect();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let supports = if supports { "true" } else { "false" };
        assert_eq!(
            properties,
            [pair("command_line", "web"), pair(SUPPORTS, supports)]
        );
    }
}

#[test]
fn answers_are_matched_by_pid_and_names() {
    let mut pod = entity(9, "pod");
    pod.place = Place::Kubernetes;
    let mut processes = processes(&[
        entity(7, "web"),
        entity(7, "web mesh"),
        entity(8, "web"),
        pod,
    ]);
    report(&mut processes, |_| true);
    let known = processes.known();
    let pids = |id: &str| known[id].pids.iter().copied().collect::<Vec<_>>();
    assert_eq!(pids("id of web"), [7, 8]);
    assert_eq!(pids("id of web mesh"), [7]);
    assert_eq!(pids("pod's 9"), [9]);
    assert!(!processes.has_unanswered());
    // Two processes of one id are one to an OAP.
    assert_eq!(pinged(&processes), ["web", "web mesh", "pod"]);
}

/// As older OAPs answer.
#[test]
fn an_answer_without_names_is_for_the_only_process_of_its_pid() {
    let mut processes = processes(&[entity(7, "web"), entity(8, "one"), entity(8, "two")]);
    let answers = [7, 8].map(|pid| sw::EbpfProcessDownstream {
        process_id: format!("id {pid}"),
        process: Some(Process::HostProcess(sw::EbpfHostProcessDownstream {
            pid,
            entity_metadata: None,
        })),
    });
    let reports = processes.reports();
    let answer = sw::EbpfReportProcessDownstream {
        processes: answers.into(),
    };
    assert_eq!(processes.answered(&reports[0], &answer), 2);
    assert_eq!(
        processes.known().keys().map(|id| &**id).collect::<Vec<_>>(),
        ["id 7"]
    );
}

/// Rover ignores it for ever (rover.md 2.3).
#[test]
fn what_is_not_in_the_answer_is_asked_again_with_the_next_report() {
    let mut processes = processes(&[entity(7, "web"), entity(8, "db")]);
    assert_eq!(report(&mut processes, |pid| pid == 7), [7, 8]);
    assert!(!processes.has_news(), "not at once");
    assert!(processes.has_unanswered());
    assert_eq!(pinged(&processes), ["web"]);
    assert_eq!(report(&mut processes, |_| true), [8]);
    assert!(!processes.has_unanswered());
    assert_eq!(pinged(&processes).len(), 2);
}

#[test]
fn only_what_is_new_or_has_changed_is_reported_until_all_shall_be() {
    let mut processes = processes(&[entity(7, "web")]);
    report(&mut processes, |_| true);
    processes.set(&[entity(7, "web"), entity(8, "db")]);
    assert!(processes.has_news());
    assert_eq!(report(&mut processes, |_| true), [8]);
    let mut changed = entity(7, "web");
    changed.properties[0].1 = "web --new".to_owned();
    processes.set(&[changed, entity(8, "db")]);
    assert_eq!(
        processes.known().len(),
        2,
        "the id stays while it is asked for"
    );
    assert_eq!(report(&mut processes, |_| true), [7]);
    processes.report_all();
    assert_eq!(report(&mut processes, |_| true), [7, 8]);
}

/// Rover keeps the names of a process from before it called exec (rover.md 2.1).
#[test]
fn a_process_under_another_name_is_another_and_the_old_one_is_gone() {
    let mut processes = processes(&[entity(7, "sh")]);
    report(&mut processes, |_| true);
    processes.set(&[entity(7, "web")]);
    assert_eq!(processes.known().len(), 0);
    assert_eq!(pinged(&processes), [""; 0]);
    report(&mut processes, |_| true);
    assert_eq!(
        processes.known().keys().map(|id| &**id).collect::<Vec<_>>(),
        ["id of web"]
    );
    assert_eq!(pinged(&processes), ["web"]);
}

/// Rover keeps the last ones alive (rover.md 2.1).
#[test]
fn nothing_is_pinged_when_nothing_is_left() {
    let mut processes = processes(&[entity(7, "web")]);
    report(&mut processes, |_| true);
    processes.set(&[]);
    assert_eq!(processes.pings(), []);
    assert_eq!(processes.reports(), []);
    assert!(processes.known().is_empty());
}

#[test]
fn an_answer_for_what_has_gone_meanwhile_brings_nothing_back() {
    let mut processes = processes(&[entity(7, "web")]);
    let reports = processes.reports();
    processes.set(&[]);
    processes.answered(&reports[0], &answer(&reports[0], |_| true));
    assert!(processes.known().is_empty());
}

#[test]
fn a_process_is_to_be_pinged_as_soon_as_it_has_an_id() {
    let mut processes = processes(&[entity(7, "web")]);
    assert!(!processes.has_unpinged());
    report(&mut processes, |_| true);
    assert!(processes.has_unpinged());
    processes.pinged();
    assert!(!processes.has_unpinged());
}

#[test]
fn reports_are_bounded_and_ids_too() {
    let entities: Vec<_> = (1..=1201)
        .map(|pid| entity(pid, &format!("p{pid}")))
        .collect();
    let mut processes = processes(&entities);
    let lengths: Vec<_> = processes
        .reports()
        .iter()
        .map(|report| report.processes.len())
        .collect();
    assert_eq!(lengths, [500, 500, 201]);
    let reports = processes.reports();
    let mut answer = answer(&reports[0], |_| true);
    answer.processes[0].process_id = "x".repeat(LONGEST_ID + 1);
    answer.processes[1].process_id = String::new();
    assert_eq!(processes.answered(&reports[0], &answer), 2);
}

/// Ids are made of names: a program that was started anew is known without another answer, also while no
/// OAP answers.
#[test]
fn a_process_started_anew_under_the_same_names_keeps_its_id() {
    let mut processes = processes(&[entity(1, "web")]);
    report(&mut processes, |_| true);
    let before: Vec<_> = processes.known().into_keys().collect();
    processes.set(&[entity(2, "web")]);
    let known = processes.known();
    assert_eq!(known.keys().cloned().collect::<Vec<_>>(), before);
    assert!(known.values().all(|it| it.pids.contains(&2)));
}

#[test]
fn a_process_that_was_away_has_its_id_when_it_comes_back_and_is_reported() {
    let mut processes = processes(&[entity(1, "web")]);
    report(&mut processes, |_| true);
    processes.set(&[]);
    assert!(processes.known().is_empty());
    processes.set(&[entity(2, "web"), entity(3, "db")]);
    let known = processes.known();
    let known: Vec<_> = known.into_iter().collect();
    let here = Here {
        name: "shop/host-1/web".into(),
        pids: BTreeSet::from([2]),
    };
    assert_eq!(known, [("id of web".into(), here)]);
    assert_eq!(report(&mut processes, |_| true), [2, 3]);
}
