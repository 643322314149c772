//! Against directories that look like `/proc` and `/sys/fs/cgroup`.

use tempfile::TempDir;

use super::*;

/// A machine of files.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write(
            "proc/self/mountinfo",
            "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        );
        machine
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn process(&self, pid: u32, command: &str) {
        self.started(pid, command, 100);
    }

    fn started(&self, pid: u32, command: &str, at: u32) {
        let fields = vec!["0"; 18].join(" ");
        self.write(
            &format!("proc/{pid}/stat"),
            &format!("{pid} (a) b) S {fields} {at} 0 0\n"),
        );
        self.write(
            &format!("proc/{pid}/cmdline"),
            &(command.replace(' ', "\0") + "\0"),
        );
        self.write(&format!("proc/{pid}/comm"), "name\n");
        self.write(
            &format!("proc/{pid}/status"),
            &format!("Name:\ta\nTgid:\t{pid}\nPid:\t{pid}\n"),
        );
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.root().join(format!("proc/{pid}"))).unwrap();
    }

    fn select(&self, whom: Whom, now: Instant) -> Result<Selection, SelectionError> {
        Selection::new(whom, self.root(), now)
    }

    fn command(&self, pattern: &str, now: Instant) -> Selection {
        let pattern = Regex::new(pattern).unwrap();
        self.select(Whom::Command(pattern), now).unwrap()
    }
}

fn of(pids: &[u32]) -> Targets {
    Targets::Processes(pids.iter().copied().collect())
}

#[test]
fn processes_that_come_and_go_are_followed_by_their_command_line() {
    let machine = Machine::new();
    let now = Instant::now();
    machine.process(10, "/usr/bin/shop --port 80");
    machine.process(11, "/usr/bin/till");
    let mut selection = machine.command(r"^/usr/bin/shop .*\b80$", now);
    assert_eq!(selection.targets(), of(&[10]));
    assert!(!selection.look(now + LOOK));
    machine.process(12, "/usr/bin/shop --port 80");
    machine.end(10);
    assert!(selection.look(now + 2 * LOOK));
    assert_eq!(selection.targets(), of(&[12]));
    assert_eq!(selection.count(), Some(1));
}

#[test]
fn a_new_process_is_looked_at_until_it_has_its_command_line() {
    let machine = Machine::new();
    let now = Instant::now();
    let mut selection = machine.command("shop", now);
    machine.process(10, "sh start.sh");
    assert!(!selection.look(now + LOOK));
    machine.process(10, "shop");
    assert!(selection.look(now + 2 * LOOK));
    assert_eq!(selection.targets(), of(&[10]));
}

#[test]
fn an_old_process_is_looked_at_once_a_second() {
    let machine = Machine::new();
    let mut now = Instant::now();
    machine.process(10, "sh start.sh");
    let mut selection = machine.command("shop", now);
    now += SETTLED;
    selection.look(now);
    machine.process(10, "shop");
    assert!(!selection.look(now + LOOK), "not each time");
    assert!(selection.look(now + SETTLED));
}

#[test]
fn we_are_not_among_those_who_match_our_own_arguments() {
    let machine = Machine::new();
    machine.process(std::process::id(), "perigee profile --command shop");
    let selection = machine.command("shop", Instant::now());
    assert_eq!(selection.targets(), of(&[]));
}

#[test]
fn one_without_a_command_line_has_its_name_in_brackets() {
    let machine = Machine::new();
    machine.process(10, "");
    let selection = machine.command(r"^\[name\]$", Instant::now());
    assert_eq!(selection.targets(), of(&[10]));
}

#[test]
fn a_process_ends_though_another_gets_its_number() {
    let machine = Machine::new();
    let now = Instant::now();
    machine.process(10, "shop");
    let mut selection = machine.select(Whom::Process(10), now).unwrap();
    assert_eq!(selection.targets(), of(&[10]));
    assert!(!selection.look(now + LOOK));
    assert!(!selection.has_ended());
    machine.started(10, "till", 200);
    assert!(selection.look(now + 2 * LOOK));
    assert!(selection.has_ended());
    assert_eq!(selection.targets(), of(&[]));
}

#[test]
fn numbers_of_nobody_and_of_threads_are_refused_by_name() {
    let machine = Machine::new();
    machine.process(10, "shop");
    machine.write("proc/11/status", "Name:\ta\nTgid:\t10\nPid:\t11\n");
    let refused = |pid| {
        machine
            .select(Whom::Process(pid), Instant::now())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused(12), "--pid 12: there is no such process");
    assert_eq!(refused(11), "--pid 11: this is a thread of process 10");
}

#[test]
fn a_group_is_its_members_and_those_of_groups_below_it() {
    let machine = Machine::new();
    let now = Instant::now();
    machine.write("sys/fs/cgroup/shop.slice/cgroup.procs", "10\n11\n");
    machine.write("sys/fs/cgroup/shop.slice/till.service/cgroup.procs", "12\n");
    for name in ["/sys/fs/cgroup/shop.slice", "shop.slice", "/shop.slice/"] {
        let mut selection = machine.select(Whom::Group(name.into()), now).unwrap();
        assert_eq!(selection.targets(), of(&[10, 11, 12]), "{name}");
        machine.write("sys/fs/cgroup/shop.slice/cgroup.procs", "10\n");
        assert!(selection.look(now + LOOK));
        assert_eq!(selection.targets(), of(&[10, 12]), "{name}");
        machine.write("sys/fs/cgroup/shop.slice/cgroup.procs", "10\n11\n");
    }
    let error = machine.select(Whom::Group("shop".into()), now).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("--cgroup shop: there is no such"),
        "{error}"
    );
}

#[test]
fn all_stay_all() {
    let machine = Machine::new();
    let now = Instant::now();
    let mut selection = machine.select(Whom::All, now).unwrap();
    assert!(!selection.look(now + SETTLED));
    assert_eq!(
        (selection.targets(), selection.count()),
        (Targets::All, None)
    );
}
