use std::time::UNIX_EPOCH;

use super::*;

/// Seconds since some morning.
struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn at(&self, seconds: u64) -> Now {
        Now {
            wall: wall(seconds),
            steady: self.0 + Duration::from_secs(seconds),
        }
    }
}

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// From `start` for `seconds`, changed at the time of its start.
fn task(id: &str, processes: &[&str], start: u64, seconds: u64) -> Task {
    Task {
        id: id.into(),
        processes: processes.iter().map(|id| Arc::from(*id)).collect(),
        updated_ms: i64::try_from(start).unwrap() * 1000,
        start: wall(start),
        duration: Duration::from_secs(seconds),
        kind: Kind::OnCpu,
    }
}

fn job(task: &str, process: &str) -> Job {
    Job {
        task: task.into(),
        process: process.into(),
    }
}

fn known(processes: &[&str]) -> Known {
    let pids = |number: usize| BTreeSet::from([u32::try_from(number).unwrap()]);
    let known = processes.iter().enumerate();
    known
        .map(|(number, id)| {
            let here = Here {
                name: Arc::from(*id),
                pids: pids(number),
            };
            (Arc::from(*id), here)
        })
        .collect()
}

fn begin(task: &str, process: &str) -> Step {
    Step::Begin(job(task, process), Kind::OnCpu)
}

fn end(task: &str, process: &str) -> Step {
    Step::End(job(task, process))
}

/// Does as it says.
fn obey(schedule: &mut Schedule, now: Now, known: &Known) -> Vec<Step> {
    let steps = schedule.step(now, known);
    for step in &steps {
        if let Step::Begin(job, _) = step {
            schedule.began(job, now);
        }
    }
    steps
}

#[test]
fn a_task_runs_for_its_duration_and_once() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    assert_eq!(schedule.learn(&task("t", &["p"], 0, 60), clock.at(0)), []);
    assert_eq!(obey(&mut schedule, clock.at(0), &here), [begin("t", "p")]);
    assert_eq!(schedule.rest(clock.at(20)), Some(Duration::from_secs(40)));
    assert_eq!(obey(&mut schedule, clock.at(59), &here), []);
    assert_eq!(obey(&mut schedule, clock.at(60), &here), [end("t", "p")]);
    assert_eq!(obey(&mut schedule, clock.at(61), &here), []);
    assert_eq!(schedule.rest(clock.at(61)), None);
}

/// Rover runs it at once (rover.md 3.1).
#[test]
fn a_start_in_the_future_is_waited_for() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 300, 60), clock.at(0));
    assert_eq!(obey(&mut schedule, clock.at(0), &here), []);
    assert_eq!(schedule.rest(clock.at(0)), Some(Duration::from_secs(300)));
    assert_eq!(obey(&mut schedule, clock.at(299), &here), []);
    assert_eq!(obey(&mut schedule, clock.at(300), &here), [begin("t", "p")]);
    assert_eq!(obey(&mut schedule, clock.at(359), &here), []);
    assert_eq!(obey(&mut schedule, clock.at(360), &here), [end("t", "p")]);
}

/// Rover drops it, and other commands make the OAP never send it again (rover.md 3.1).
#[test]
fn a_task_of_an_unknown_process_is_kept_until_the_process_is_known() {
    let clock = Clock::new();
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(0));
    schedule.learn(&task("later", &["q"], 10, 60), clock.at(10));
    let others = known(&["q"]);
    assert_eq!(
        obey(&mut schedule, clock.at(10), &others),
        [begin("later", "q")]
    );
    let all = known(&["p", "q"]);
    assert_eq!(obey(&mut schedule, clock.at(59), &all), [begin("t", "p")]);
    assert_eq!(schedule.step(clock.at(118), &all), [end("later", "q")]);
    assert_eq!(schedule.step(clock.at(119), &all), [end("t", "p")]);
}

#[test]
fn a_task_whose_process_never_comes_is_given_up_with_its_window() {
    let clock = Clock::new();
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(0));
    assert_eq!(schedule.rest(clock.at(1)), Some(Duration::from_secs(59)));
    assert_eq!(
        schedule.step(clock.at(60), &Known::new()),
        [Step::Missed(job("t", "p"))]
    );
    assert_eq!(schedule.step(clock.at(61), &known(&["p"])), []);
}

#[test]
fn a_late_task_runs_for_its_whole_duration_and_one_that_is_over_does_not() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(50));
    assert_eq!(obey(&mut schedule, clock.at(50), &here), [begin("t", "p")]);
    assert_eq!(obey(&mut schedule, clock.at(109), &here), []);
    assert_eq!(obey(&mut schedule, clock.at(110), &here), [end("t", "p")]);
    let late = schedule.learn(&task("u", &["p"], 0, 60), clock.at(60));
    assert_eq!(late, [(job("u", "p"), NotTaken::Over)]);
    assert_eq!(schedule.learn(&task("u", &["p"], 0, 60), clock.at(60)), []);
    assert_eq!(schedule.step(clock.at(60), &here), []);
}

#[test]
fn a_task_that_comes_again_is_not_started_again() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    let told = task("t", &["p"], 0, 60);
    for second in 0..120 {
        schedule.learn(&told, clock.at(second));
        let steps = obey(&mut schedule, clock.at(second), &here);
        let expected = match second {
            0 => vec![begin("t", "p")],
            60 => vec![end("t", "p")],
            _ => vec![],
        };
        assert_eq!(steps, expected, "second {second}");
    }
}

#[test]
fn a_longer_duration_extends_what_runs_and_resumes_what_has_ended() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(0));
    obey(&mut schedule, clock.at(0), &here);
    schedule.learn(&task("t", &["p"], 0, 90), clock.at(50));
    assert_eq!(obey(&mut schedule, clock.at(89), &here), []);
    assert_eq!(obey(&mut schedule, clock.at(90), &here), [end("t", "p")]);
    // A shorter one is an old answer that comes late.
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(91));
    assert_eq!(obey(&mut schedule, clock.at(91), &here), []);
    schedule.learn(&task("t", &["p"], 0, 100), clock.at(95));
    assert_eq!(obey(&mut schedule, clock.at(95), &here), [begin("t", "p")]);
    assert_eq!(obey(&mut schedule, clock.at(104), &here), []);
    assert_eq!(obey(&mut schedule, clock.at(105), &here), [end("t", "p")]);
}

#[test]
fn processes_of_one_command_begin_and_end_each_for_itself() {
    let clock = Clock::new();
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p", "q"], 0, 60), clock.at(0));
    // An OAP sends a command for each process of a service.
    schedule.learn(&task("t", &["r"], 0, 60), clock.at(0));
    let steps = obey(&mut schedule, clock.at(0), &known(&["p", "r"]));
    assert_eq!(steps, [begin("t", "p"), begin("t", "r")]);
    let all = known(&["p", "q", "r"]);
    assert_eq!(obey(&mut schedule, clock.at(30), &all), [begin("t", "q")]);
    assert_eq!(
        obey(&mut schedule, clock.at(60), &all),
        [end("t", "p"), end("t", "r")]
    );
    assert_eq!(obey(&mut schedule, clock.at(90), &all), [end("t", "q")]);
}

#[test]
fn tasks_run_side_by_side_also_on_one_process() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(0));
    let off = Task {
        kind: Kind::OffCpu,
        ..task("u", &["p"], 0, 30)
    };
    schedule.learn(&off, clock.at(0));
    let steps = obey(&mut schedule, clock.at(0), &here);
    assert_eq!(
        steps,
        [begin("t", "p"), Step::Begin(job("u", "p"), Kind::OffCpu)]
    );
    assert_eq!(obey(&mut schedule, clock.at(30), &here), [end("u", "p")]);
    assert_eq!(obey(&mut schedule, clock.at(60), &here), [end("t", "p")]);
}

#[test]
fn a_process_that_goes_does_not_end_its_task() {
    let clock = Clock::new();
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(0));
    obey(&mut schedule, clock.at(0), &known(&["p"]));
    assert_eq!(schedule.step(clock.at(30), &Known::new()), []);
    assert_eq!(schedule.step(clock.at(60), &Known::new()), [end("t", "p")]);
}

#[test]
fn what_could_not_begin_is_tried_again_when_asked_to_and_given_up_with_its_window() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(0));
    assert_eq!(schedule.step(clock.at(0), &here), [begin("t", "p")]);
    assert_eq!(
        schedule.step(clock.at(0), &here),
        [begin("t", "p")],
        "unanswered"
    );
    schedule.refused(&job("t", "p"), "full".to_owned());
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(1));
    assert_eq!(schedule.step(clock.at(1), &here), []);
    assert_eq!(schedule.rest(clock.at(1)), Some(Duration::from_secs(59)));
    schedule.try_again();
    assert_eq!(schedule.step(clock.at(5), &here), [begin("t", "p")]);
    schedule.refused(&job("t", "p"), "denied".to_owned());
    let failed = Step::Failed(job("t", "p"), "denied".to_owned());
    assert_eq!(schedule.step(clock.at(60), &here), [failed]);
    schedule.try_again();
    assert_eq!(schedule.step(clock.at(61), &here), []);
}

#[test]
fn what_began_at_the_second_try_runs_for_its_whole_duration() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    schedule.learn(&task("t", &["p"], 0, 60), clock.at(0));
    schedule.step(clock.at(0), &here);
    schedule.refused(&job("t", "p"), "full".to_owned());
    schedule.try_again();
    assert_eq!(obey(&mut schedule, clock.at(5), &here), [begin("t", "p")]);
    assert_eq!(obey(&mut schedule, clock.at(64), &here), []);
    assert_eq!(obey(&mut schedule, clock.at(65), &here), [end("t", "p")]);
}

/// A process that appears later gets the command only if we ask for it again.
#[test]
fn tasks_are_asked_for_again_while_their_windows_are_open() {
    let clock = Clock::new();
    let here = known(&["p"]);
    let mut schedule = Schedule::default();
    assert_eq!(schedule.latest_update_ms(clock.at(0)), 0);
    schedule.learn(&task("t", &["p"], 10, 60), clock.at(10));
    schedule.learn(&task("u", &["p"], 40, 60), clock.at(40));
    schedule.heard(50_000);
    obey(&mut schedule, clock.at(40), &here);
    assert_eq!(schedule.latest_update_ms(clock.at(50)), 9_999);
    // The window of the first closes at 70; it began late and runs on until 100.
    assert_eq!(obey(&mut schedule, clock.at(99), &here), []);
    assert_eq!(schedule.latest_update_ms(clock.at(99)), 9_999);
    obey(&mut schedule, clock.at(100), &here);
    assert_eq!(schedule.latest_update_ms(clock.at(100)), 50_000);
}

#[test]
fn memory_is_bounded_and_what_is_under_way_is_not_forgotten() {
    let clock = Clock::new();
    let mut schedule = Schedule::default();
    let ids: Vec<_> = (0..MOST_JOBS).map(|number| format!("p{number}")).collect();
    let processes: Vec<_> = ids.iter().map(String::as_str).collect();
    assert_eq!(
        schedule.learn(&task("t", &processes, 0, 60), clock.at(0)),
        []
    );
    let more = schedule.learn(&task("u", &["p"], 0, 60), clock.at(0));
    assert_eq!(more, [(job("u", "p"), NotTaken::Full)]);
    schedule.step(clock.at(60), &Known::new());
    assert_eq!(schedule.learn(&task("u", &["p"], 60, 60), clock.at(60)), []);
    assert_eq!(schedule.jobs.len(), MOST_JOBS);
}
