//! Files as they were found on machines of each kind, and what is found by them.

use tempfile::TempDir;

use super::*;

/// A machine's files.
pub(crate) struct Machine {
    /// `/proc/self/cgroup`.
    names: &'static str,
    root: TempDir,
}

impl Machine {
    pub(crate) fn new(names: &'static str, mounts: &str, files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let machine = Self { names, root };
        machine.write("proc/self/cgroup", names);
        machine.write("proc/self/mountinfo", mounts);
        for (path, text) in files {
            machine.write(path, text);
        }
        machine
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root.path().join(path)).unwrap();
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn groups(&self) -> Groups {
        Groups::find(self.root.path(), self.names)
    }

    /// Without the machine's root.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a str {
        path.strip_prefix(self.root.path())
            .unwrap()
            .to_str()
            .unwrap()
    }
}

/// A service of systemd with version 2 alone (Debian 12): the quota is the slice's.
pub(crate) fn unified() -> Machine {
    let mounts = "\
24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
30 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
34 25 0:29 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";
    let stat = "usage_usec 7250000\nuser_usec 5000000\nsystem_usec 2250000\nnr_periods 0\n";
    Machine::new(
        "0::/telemetry.slice/perigee.service\n",
        mounts,
        &[
            (
                "sys/fs/cgroup/cpu.stat",
                "usage_usec 999000000\nuser_usec 1\n",
            ),
            (
                "sys/fs/cgroup/telemetry.slice/cgroup.events",
                "populated 1\nfrozen 0\n",
            ),
            ("sys/fs/cgroup/telemetry.slice/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/telemetry.slice/memory.max", "1073741824\n"),
            (
                "sys/fs/cgroup/telemetry.slice/perigee.service/cgroup.events",
                "populated 1\nfrozen 0\n",
            ),
            (
                "sys/fs/cgroup/telemetry.slice/perigee.service/cpu.max",
                "max 100000\n",
            ),
            (
                "sys/fs/cgroup/telemetry.slice/perigee.service/cpu.stat",
                stat,
            ),
            (
                "sys/fs/cgroup/telemetry.slice/perigee.service/memory.max",
                "max\n",
            ),
        ],
    )
}

/// A pod of Kubernetes with version 2 and a cgroup namespace: our group is the mount's top.
pub(crate) fn namespaced() -> Machine {
    let mounts = "\
1370 1368 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate
";
    Machine::new(
        "0::/\n",
        mounts,
        &[
            ("sys/fs/cgroup/cgroup.events", "populated 1\nfrozen 0\n"),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            (
                "sys/fs/cgroup/cpu.stat",
                "usage_usec 4000000\nuser_usec 1\n",
            ),
            ("sys/fs/cgroup/memory.max", "268435456\n"),
        ],
    )
}

/// A container of Docker with version 1 and no cgroup namespace: names are the host's, and the mounts
/// show our group alone.
pub(crate) fn version_1() -> Machine {
    let names = "\
12:memory:/docker/3f1c
4:cpu,cpuacct:/docker/3f1c
1:name=systemd:/docker/3f1c
";
    let mounts = "\
612 608 0:27 /docker/3f1c /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime master:11 - cgroup cgroup rw,xattr,name=systemd
616 608 0:31 /docker/3f1c /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec,relatime master:15 - cgroup cgroup rw,cpu,cpuacct
618 608 0:33 /docker/3f1c /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:17 - cgroup cgroup rw,memory
";
    Machine::new(
        names,
        mounts,
        &[
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "25000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "3000000000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
        ],
    )
}

/// This project's test machine: the controllers have mounts of their own, beside an empty version 2.
/// `cpu` is a group of ours with a quota around it, `cpuacct` the root.
pub(crate) fn hybrid() -> Machine {
    let names = "\
9:name=systemd:/
4:memory:/process_api/bc4b
2:cpuacct:/
1:cpu:/limited/own
0::/
";
    let mounts = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    Machine::new(
        names,
        mounts,
        &[
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/limited/cpu.cfs_quota_us", "20000\n"),
            ("sys/fs/cgroup/cpu/limited/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/limited/own/cpu.cfs_quota_us", "40000\n"),
            (
                "sys/fs/cgroup/cpu/limited/own/cpu.cfs_period_us",
                "100000\n",
            ),
            ("sys/fs/cgroup/cpuacct/cpuacct.usage", "888000000000\n"),
            ("sys/fs/cgroup/cpuacct/release_agent", "\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (
                "sys/fs/cgroup/unified/cpu.stat",
                "usage_usec 888000000\nuser_usec 1\n",
            ),
        ],
    )
}

/// Our directories for a controller, one list a hierarchy.
fn found(machine: &Machine, controller: &str) -> Vec<Vec<String>> {
    let groups = machine.groups();
    let chains = groups.of(controller).map(Group::chain);
    let relative = |path: &PathBuf| machine.relative(path).to_owned();
    chains
        .map(|chain| chain.iter().map(relative).collect())
        .collect()
}

#[test]
fn the_group_and_those_around_it_are_found_in_each_version() {
    let service = [
        "sys/fs/cgroup/telemetry.slice/perigee.service",
        "sys/fs/cgroup/telemetry.slice",
        "sys/fs/cgroup",
    ];
    assert_eq!(found(&unified(), "cpu"), [service]);
    assert_eq!(found(&namespaced(), "cpu"), [["sys/fs/cgroup"]]);
    assert_eq!(
        found(&version_1(), "cpuacct"),
        [["sys/fs/cgroup/cpu,cpuacct"]]
    );
    let own = ["cpu/limited/own", "cpu/limited", "cpu"].map(|part| format!("sys/fs/cgroup/{part}"));
    let empty = vec!["sys/fs/cgroup/unified".to_owned()];
    assert_eq!(found(&hybrid(), "cpu"), [own.to_vec(), empty]);
}

#[test]
fn only_the_root_of_the_machine_is_everybodys() {
    let is_root = |machine: &Machine| -> Vec<bool> {
        let groups = machine.groups();
        groups.of("cpuacct").map(Group::is_root_of_host).collect()
    };
    assert_eq!(is_root(&unified()), [false]);
    assert_eq!(is_root(&namespaced()), [false]);
    assert_eq!(is_root(&version_1()), [false]);
    assert_eq!(is_root(&hybrid()), [true, true]);
}

#[test]
fn a_group_outside_of_the_namespace_or_of_the_mount_is_not_ours_to_read() {
    let mounts = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let outside = Machine::new("0::/../other\n", mounts, &[("sys/fs/cgroup/cpu.max", "")]);
    assert_eq!(outside.groups(), Groups::default());
    let elsewhere = mounts.replace(" / ", " /docker/x ");
    let elsewhere = Machine::new(
        "0::/docker/y\n",
        &elsewhere,
        &[("sys/fs/cgroup/cpu.max", "")],
    );
    assert_eq!(elsewhere.groups(), Groups::default());
    let nothing = Machine::new("0::/\n", "", &[]);
    assert_eq!(nothing.groups(), Groups::default());
}

#[test]
fn a_mount_above_the_namespace_shows_our_group_by_the_way_down() {
    let mounts = "30 1 0:26 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let machine = Machine::new("0::/../own\n", mounts, &[("sys/fs/cgroup/own/cpu.max", "")]);
    let own = ["sys/fs/cgroup/own", "sys/fs/cgroup"];
    assert_eq!(found(&machine, "cpu"), [own]);
}

#[test]
fn of_two_mounts_the_one_that_shows_more_is_taken_and_blanks_are_understood() {
    let mounts = "\
50 1 0:26 /pod /mnt/part rw - cgroup2 cgroup2 rw
51 1 0:26 / /mnt/the\\040whole rw - cgroup2 cgroup2 rw
";
    let files = [("mnt/part/cpu.max", ""), ("mnt/the whole/pod/cpu.max", "")];
    let machine = Machine::new("0::/pod\n", mounts, &files);
    assert_eq!(
        found(&machine, "cpu"),
        [["mnt/the whole/pod", "mnt/the whole"]]
    );
}
