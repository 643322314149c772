//! A recording against a capture that only writes down what it is told.

use std::collections::BTreeSet;
use std::io::Sink;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Parser;
use parking_lot::Mutex;
use perigee_ebpf_profiler::engine::{Capture, Session, Targets};
use perigee_ebpf_profiler::profile::Summary;

use super::*;

pub(super) fn profile(kind: Kind) -> Profile {
    Profile {
        kind,
        period: Duration::from_millis(10),
        started: SystemTime::UNIX_EPOCH,
        duration: Duration::from_secs(1),
        processes: Vec::new(),
        modules: Vec::new(),
        frames: Vec::new(),
        stacks: Vec::new(),
        summary: Summary::default(),
    }
}

#[derive(Clone, Default)]
struct Fake {
    targets: Arc<Mutex<Vec<Targets>>>,
    /// Processes above this number are too many.
    most: Option<usize>,
}

impl Capture for Fake {
    fn start(&self, request: &Request) -> Result<Box<dyn Session>, Refused> {
        self.targets.lock().push(request.targets.clone());
        Ok(Box::new(self.clone()))
    }
}

impl Session for Fake {
    fn take(&mut self) -> Profile {
        profile(Kind::OnCpu)
    }

    fn retarget(&mut self, targets: &Targets) -> Result<(), Refused> {
        self.targets.lock().push(targets.clone());
        match (targets, self.most) {
            (Targets::Processes(pids), Some(most)) if pids.len() > most => Err(Refused {
                what: "following more processes".to_owned(),
                because: format!("{} are more than {most}", pids.len()),
                missing: None,
            }),
            _ => Ok(()),
        }
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ProfileArgs,
}

fn parse(line: &str) -> Result<ProfileArgs, clap::Error> {
    let words = format!("profile --seconds 10 -o x.svg {line}");
    Line::try_parse_from(words.split(' ')).map(|line| line.args)
}

/// A machine with one process that matches.
fn machine() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    add(root.path(), 10);
    root
}

fn add(root: &Path, pid: u32) {
    let directory = root.join(format!("proc/{pid}"));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("cmdline"), "shop\0").unwrap();
    std::fs::write(directory.join("status"), format!("Tgid:\t{pid}\n")).unwrap();
    let stat = format!("{pid} (shop) S {} 7 0\n", vec!["0"; 18].join(" "));
    std::fs::write(directory.join("stat"), stat).unwrap();
}

fn pids(pids: &[u32]) -> Targets {
    Targets::Processes(pids.iter().copied().collect::<BTreeSet<_>>())
}

struct Run {
    recorded: Result<Option<Recorded>, Refused>,
    took: Duration,
    targets: Vec<Targets>,
}

/// Records while `meanwhile` happens.
async fn record<F: Future<Output = ()>>(
    fake: Fake,
    whom: Whom,
    root: &Path,
    meanwhile: impl FnOnce(mpsc::Sender<()>) -> F,
) -> Run {
    let args = parse("--all").unwrap();
    let began = tokio::time::Instant::now();
    let mut selection = Selection::new(whom, root, began.into_std()).unwrap();
    let (interrupt, interrupts) = mpsc::channel(2);
    let recording = Recording {
        request: request(&args, &selection),
        length: Duration::from_secs(10),
        interrupts,
    };
    let mut progress = Progress::<Sink>::new(None);
    let run = async {
        let recorded = recording.run(&fake, &mut selection, &mut progress).await;
        (recorded, began.elapsed())
    };
    let ((recorded, took), ()) = tokio::join!(run, meanwhile(interrupt.clone()));
    let targets = fake.targets.lock().clone();
    Run {
        recorded,
        took,
        targets,
    }
}

fn shop() -> Whom {
    Whom::Command(Regex::new("shop").unwrap())
}

async fn nothing(_interrupt: mpsc::Sender<()>) {}

async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[track_caller]
fn unfollowed(run: &Run) -> Option<&Refused> {
    match &run.recorded {
        Ok(Some(recorded)) => recorded.unfollowed.as_ref(),
        Ok(None) => panic!("no profile"),
        Err(refused) => panic!("{refused}"),
    }
}

#[tokio::test(start_paused = true)]
async fn it_lasts_as_long_as_asked_and_follows_who_comes() {
    let root = machine();
    let run = record(Fake::default(), shop(), root.path(), |_interrupt| async {
        after(3).await;
        add(root.path(), 11);
    });
    let run = run.await;
    assert_eq!(unfollowed(&run), None);
    assert_eq!(run.took, Duration::from_secs(10));
    assert_eq!(run.targets, [pids(&[10]), pids(&[10, 11])]);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_it_early_with_its_profile() {
    let root = machine();
    let run = record(
        Fake::default(),
        shop(),
        root.path(),
        |interrupt| async move {
            after(3).await;
            interrupt.send(()).await.unwrap();
        },
    );
    let run = run.await;
    assert_eq!(unfollowed(&run), None);
    assert_eq!(run.took, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_second_interrupt_does_not_wait_for_names() {
    let root = machine();
    let run = record(
        Fake::default(),
        shop(),
        root.path(),
        |interrupt| async move {
            interrupt.send(()).await.unwrap();
            interrupt.send(()).await.unwrap();
        },
    );
    assert!(matches!(run.await.recorded, Ok(None)));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_one_process_that_it_is_about() {
    let root = machine();
    let run = record(
        Fake::default(),
        Whom::Process(10),
        root.path(),
        |_interrupt| async {
            after(2).await;
            std::fs::remove_dir_all(root.path().join("proc/10")).unwrap();
        },
    );
    let run = run.await;
    assert_eq!(unfollowed(&run), None);
    assert!(run.took <= Duration::from_secs(2) + 2 * selection::LOOK);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_followed_is_told_and_the_others_are_captured() {
    let root = machine();
    let fake = Fake {
        most: Some(1),
        ..Fake::default()
    };
    let run = record(fake, shop(), root.path(), |_interrupt| async {
        after(1).await;
        add(root.path(), 11);
    });
    let run = run.await;
    let refused = unfollowed(&run).expect("a refusal").to_string();
    assert_eq!(
        refused,
        "following more processes is not possible: 2 are more than 1"
    );
    assert_eq!(run.took, Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn everybody_is_captured_without_looking_at_anybody() {
    let root = machine();
    let run = record(Fake::default(), Whom::All, root.path(), nothing).await;
    assert_eq!(unfollowed(&run), None);
    assert_eq!(run.targets, [Targets::All]);
}

#[test]
fn an_empty_profile_says_why() {
    let mut samples = profile(Kind::OnCpu);
    let of = |profile: &Profile, count| emptiness(profile, Some(10), count).unwrap_or_default();
    assert!(of(&samples, Some(1)).starts_with("0 samples: process 10 was never seen on a CPU"));
    assert_eq!(of(&samples, Some(0)), "nobody was there to be captured");
    assert_eq!(of(&profile(Kind::OffCpu), Some(1)), "");
    assert_eq!(emptiness(&samples, None, None), None);
    samples.summary.samples = 1;
    assert_eq!(of(&samples, Some(0)), "");
}

#[test]
fn a_named_rate_is_kept_and_the_default_may_give_way() {
    let root = machine();
    let selection = Selection::new(Whom::All, root.path(), Instant::now()).unwrap();
    let request = |line| request(&parse(line).unwrap(), &selection);
    let named = request("--all --rate 1000");
    assert_eq!(
        (named.period, named.elastic),
        (Duration::from_millis(1), false)
    );
    let default = request("--all");
    assert_eq!(
        (default.period.as_nanos(), default.elastic),
        (10_101_010, true)
    );
    assert_eq!(default.kind, Kind::OnCpu);
    let waits = request("--all --off-cpu --minimum 2ms");
    assert_eq!(
        (waits.kind, waits.minimum),
        (Kind::OffCpu, Duration::from_millis(2))
    );
}

#[test]
fn exactly_one_of_the_four_says_who_is_meant() {
    for line in ["--pid 1", "--command x", "--cgroup x", "--all"] {
        assert!(parse(line).is_ok(), "{line}");
    }
    for line in ["", "--pid 1 --all", "--command x --cgroup y"] {
        assert!(parse(line.trim()).is_err(), "{line}");
    }
}

#[test]
fn values_that_cannot_be_are_named() {
    for (line, named) in [
        ("--all --rate 0", "0 is not in 1..=10000"),
        ("--all --rate 10001", "10001 is not in 1..=10000"),
        ("--command (", "unclosed group"),
        ("--pid 0", "0 is not in 1.."),
        ("--all --off-cpu --rate 5", "cannot be used with"),
        ("--all --minimum 1ms", "--off-cpu"),
        ("--all --off-cpu --minimum 5", "time unit needed"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(named), "{line}: {error}");
    }
}
