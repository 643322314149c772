//! Our own control groups: where they are in the file system, whatever the version.
//!
//! `/proc/self/cgroup` says what our group is called in each hierarchy, `/proc/self/mountinfo` which
//! part of which hierarchy is mounted where. Together they hold for version 1 with its controllers
//! on one mount or several, for version 2, for both side by side, and in a container, where the top
//! of a mount is our group or one around it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

/// Our groups in all hierarchies that are mounted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups(Vec<Group>);

/// Our group in one hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    hierarchy: Hierarchy,
    chain: Chain,
}

/// Our directory in a mount and those of the groups around it.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    /// Whether the first is ours: a sandbox may name a group that it does not show.
    has_own: bool,
    /// From the inside to the outside, as far as they are mounted; never empty.
    directories: Vec<PathBuf>,
}

/// What a hierarchy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hierarchy {
    /// Version 1: these controllers.
    Controllers(Vec<String>),
    /// Version 2: any that version 1 does not have.
    Unified,
}

impl Groups {
    /// The groups that we are in now.
    pub(crate) fn detect() -> Self {
        let root = Path::new("/");
        Self::find(root, &names(root).unwrap_or_default())
    }

    /// The groups of these names, see [`names`]; every path is looked up under `root`.
    pub(crate) fn find(root: &Path, names: &str) -> Self {
        let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
        let mounts: Vec<_> = mounts.lines().filter_map(Mount::parse).collect();
        let found = names.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let hierarchy = match parts.next()? {
                "" => Hierarchy::Unified,
                list => Hierarchy::Controllers(list.split(',').map(str::to_owned).collect()),
            };
            let name = Path::new(parts.next()?);
            let chain = mounts
                .iter()
                .filter(|mount| mount.carries(&hierarchy))
                .filter_map(|mount| mount.chain(root, name))
                // The mount that shows most.
                .max_by_key(|chain| (chain.has_own, chain.directories.len()))?;
            Some(Group { hierarchy, chain })
        });
        Self(found.collect())
    }

    /// Our groups where this controller may be: its own of version 1 before that of version 2.
    pub(crate) fn of<'a>(&'a self, controller: &'a str) -> impl Iterator<Item = &'a Group> {
        let version_1 = self.0.iter().filter(move |group| match &group.hierarchy {
            Hierarchy::Controllers(names) => names.iter().any(|name| name == controller),
            Hierarchy::Unified => false,
        });
        version_1.chain(self.0.iter().filter(|group| group.is_unified()))
    }
}

/// What our groups are called: one line a hierarchy. Changes when we are moved.
///
/// # Errors
/// It cannot be read, now or on this machine.
pub(crate) fn names(root: &Path) -> io::Result<String> {
    fs::read_to_string(root.join("proc/self/cgroup"))
}

/// The directory of a group: the path itself, or the group of that name in a mounted hierarchy.
pub(crate) fn directory(root: &Path, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let mounts = mounts.lines().filter_map(Mount::parse);
    let points = mounts.filter_map(|mount| {
        let point = mount.point.strip_prefix("/").ok()?;
        Some(root.join(point).join(below))
    });
    std::iter::once(root.join(below))
        .chain(points)
        .find(|directory| directory.join("cgroup.procs").is_file())
}

impl Group {
    /// Whether it is of version 2.
    pub(crate) fn is_unified(&self) -> bool {
        self.hierarchy == Hierarchy::Unified
    }

    /// Our directory; `None` if only groups around ours are shown.
    pub(crate) fn own(&self) -> Option<&Path> {
        let first = self.chain.directories.first();
        first.filter(|_| self.chain.has_own).map(PathBuf::as_path)
    }

    /// Our directory, where it is shown, and those of the groups around it.
    pub(crate) fn chain(&self) -> &[PathBuf] {
        &self.chain.directories
    }

    /// Whether it is the host's root, which everybody on the machine is in. Its name does not tell:
    /// in a container ours may be `/`, too. Only the root of version 1 has a release agent, and only
    /// the root of version 2 has no events.
    pub(crate) fn is_root_of_host(&self) -> bool {
        self.own().is_some_and(|own| match self.hierarchy {
            Hierarchy::Controllers(_) => own.join("release_agent").exists(),
            Hierarchy::Unified => !own.join("cgroup.events").exists(),
        })
    }
}

/// A mounted hierarchy, or a part of one.
struct Mount {
    /// The group at its top.
    top: PathBuf,
    /// Where it is mounted.
    point: PathBuf,
    hierarchy: Hierarchy,
}

impl Mount {
    /// A line of proc(5)'s `mountinfo`.
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3).map(unescape);
        let mut kind = kind.split(' ');
        let hierarchy = match kind.next()? {
            "cgroup" => {
                Hierarchy::Controllers(kind.nth(1)?.split(',').map(str::to_owned).collect())
            }
            "cgroup2" => Hierarchy::Unified,
            _ => return None,
        };
        Some(Self {
            top: place.next()?,
            point: place.next()?,
            hierarchy,
        })
    }

    fn carries(&self, wanted: &Hierarchy) -> bool {
        match (&self.hierarchy, wanted) {
            (Hierarchy::Unified, Hierarchy::Unified) => true,
            // The mount's options name its controllers among others.
            (Hierarchy::Controllers(options), Hierarchy::Controllers(names)) => {
                names.iter().all(|name| options.contains(name))
            }
            _ => false,
        }
    }

    /// The directory of the group of this name and those around it; `None` if it is not below the
    /// top, or nothing is shown.
    fn chain(&self, root: &Path, name: &Path) -> Option<Chain> {
        let below = name.strip_prefix(&self.top).ok()?;
        // Names of groups outside of our cgroup namespace begin with these.
        if below.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let point = root.join(self.point.strip_prefix("/").ok()?);
        let directories: Vec<_> = below
            .ancestors()
            .map(|part| point.join(part))
            .filter(|directory| directory.is_dir())
            .collect();
        let first = directories.first()?;
        Some(Chain {
            has_own: *first == point.join(below),
            directories,
        })
    }
}

/// Blanks and the like stand as a backslash and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octal = (byte == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.unwrap_or(byte));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
pub(crate) mod recorded;
