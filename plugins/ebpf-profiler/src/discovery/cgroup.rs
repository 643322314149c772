//! What the names of a process's control groups tell: its systemd unit, its containers, its pod.
//!
//! Only the names in `/proc/PID/cgroup` are read, never the mounted hierarchies: they hold for version 1,
//! version 2 and both side by side.

/// The control groups of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Groups {
    /// Each path once; systemd's own hierarchy first, then version 2, then the rest.
    pub paths: Vec<String>,
    /// The innermost unit, as `systemctl` shows it: `nginx.service`, `session-3.scope`.
    pub unit: Option<String>,
    /// IDs of the containers around the process, the innermost first.
    pub containers: Vec<String>,
    /// UID of the pod around the process, in its usual form.
    pub pod: Option<String>,
}

/// Letters of a container's ID.
const ID: usize = 64;

impl Groups {
    /// Reads `/proc/PID/cgroup`.
    pub fn parse(text: &str) -> Self {
        let mut lines: Vec<(u8, &str)> = text.lines().filter_map(line).collect();
        lines.sort_by_key(|(rank, _)| *rank);
        let mut groups = Self::default();
        for (_, path) in lines {
            groups.add(path);
        }
        groups
    }

    /// The innermost container's ID.
    pub fn container(&self) -> Option<&str> {
        self.containers.first().map(String::as_str)
    }

    fn add(&mut self, path: &str) {
        if self.paths.iter().any(|it| it == path) {
            return;
        }
        self.paths.push(path.to_owned());
        // What stands left of a container's own group belongs to the runtime that started it.
        let mut unit = None;
        let mut containers = Vec::new();
        for part in path.split('/') {
            if let Some(id) = container(part) {
                containers.insert(0, id.to_owned());
                unit = None;
            }
            unit = self::unit(part).or(unit);
            self.pod = self.pod.take().or_else(|| pod(part));
        }
        if self.containers.is_empty() {
            self.containers = containers;
        }
        self.unit = self.unit.take().or(unit);
    }
}

/// The path of a line `ID:CONTROLLERS:PATH` and how far behind it is read.
fn line(line: &str) -> Option<(u8, &str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let rank = match parts.next()? {
        "name=systemd" => 0,
        "" => 1,
        _ => 2,
    };
    parts.next().map(|path| (rank, path))
}

/// 64 hexadecimal digits that are a word of their own, whatever the runtime puts round them. The monitor
/// of CRI-O and Podman carries its container's ID and is not in it.
fn container(part: &str) -> Option<&str> {
    if part.contains("conmon") {
        return None;
    }
    let mut words = part.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.find(|word| word.len() == ID && word.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// A service or scope. systemd puts an underscore before names that the kernel could take for its own.
fn unit(part: &str) -> Option<String> {
    let is_unit = [".service", ".scope"]
        .iter()
        .any(|suffix| part.len() > suffix.len() && part.ends_with(suffix));
    is_unit.then(|| part.strip_prefix('_').unwrap_or(part).to_owned())
}

/// The UID in `kubepods-burstable-podUID.slice` (where dashes are underscores) or `podUID`, also as one
/// of several words joined by colons (containerd without systemd). A static pod's UID has no dashes.
fn pod(part: &str) -> Option<String> {
    part.split(':').find_map(|word| {
        let word = word.strip_suffix(".slice").unwrap_or(word);
        let start = word.rfind("pod").map(|at| at + "pod".len())?;
        let before = &word[..start - "pod".len()];
        let uid = word[start..].replace('_', "-");
        let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
        let fits = digits == 32 && (uid.len() == 32 || uid.len() == 36 && is_uuid(&uid));
        (fits && (before.is_empty() || before.ends_with('-'))).then_some(uid)
    })
}

fn is_uuid(uid: &str) -> bool {
    let lengths = uid.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
}

#[cfg(test)]
mod tests;
