//! The stacks of a profile merged to one call tree, from the outermost frame inwards.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

use super::text;
use crate::profile::{Frame, Kind, Profile, Stack};

/// Below this frame of a process lie the waits that the scheduler imposed.
pub(super) const PREEMPTED: &str = "[preempted]";

/// How many processes of one name are told by PID.
const NAMED_PIDS: usize = 20;

/// What a frame is code of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Origin {
    /// No code: everything, a process, what is kept apart in it.
    Group,
    /// The kernel.
    Kernel,
    /// A file that a compiler made.
    Native,
    /// Memory that the process filled itself, named by a perf map.
    Jit,
    /// Nobody names it.
    Unknown,
}

/// What a box of a picture stands for; two frames of one function are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Function {
    /// Fit to be shown.
    pub(super) name: String,
    pub(super) origin: Origin,
    /// The file it is in; of processes, their PIDs.
    pub(super) place: String,
}

/// Samples and CPU time, or waits and time waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) count: u64,
    pub(super) nanos: u64,
}

impl Amount {
    /// What widths and shares go by: samples on CPU, time off CPU.
    pub(super) fn weight(self, kind: Kind) -> u64 {
        match kind {
            Kind::OnCpu => self.count,
            Kind::OffCpu => self.nanos,
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

/// A function below its callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Index into [`Tree::functions`].
    pub(super) function: u32,
    pub(super) depth: u32,
    /// Where it was innermost.
    pub(super) own: Amount,
    /// With everything below it.
    pub(super) total: Amount,
    /// Nodes below it that [`Tree::heaviest`] left out.
    pub(super) missing: u32,
    /// What they held.
    pub(super) missed: Amount,
}

/// A call tree.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) kind: Kind,
    pub(super) functions: Vec<Function>,
    /// Each node before what is below it, the heavier sibling first; never empty.
    pub(super) nodes: Vec<Node>,
}

impl Tree {
    pub(super) fn of(profile: &Profile) -> Self {
        let mut builder = Builder::new(profile);
        for stack in &profile.stacks {
            builder.add(profile, stack);
        }
        builder.finish(profile.kind)
    }

    pub(super) fn weight(&self, node: usize) -> u64 {
        self.nodes[node].total.weight(self.kind)
    }

    pub(super) fn function(&self, node: &Node) -> &Function {
        &self.functions[node.function as usize]
    }

    /// The tree without all but the `limit` heaviest nodes; what is missing is noted above it.
    pub(super) fn heaviest(&self, limit: usize) -> Self {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        // A node never weighs more than the one above it, which has the smaller index: what is kept is a tree.
        order.sort_by_key(|&index| (std::cmp::Reverse(self.weight(index)), index));
        let mut kept = vec![false; self.nodes.len()];
        for index in order.into_iter().take(limit.max(1)) {
            kept[index] = true;
        }
        let mut nodes: Vec<Node> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        // The depth of the outermost node left out, while we are below it.
        let mut skipped = u32::MAX;
        for (node, kept) in self.nodes.iter().zip(kept) {
            open.truncate(node.depth as usize);
            if kept {
                skipped = u32::MAX;
                open.push(nodes.len());
                nodes.push(*node);
            } else if let Some(above) = open.last() {
                let above = &mut nodes[*above];
                above.missing += 1;
                if node.depth <= skipped {
                    skipped = node.depth;
                    above.missed += node.total;
                }
            }
        }
        Self {
            kind: self.kind,
            functions: self.functions.clone(),
            nodes,
        }
    }

    /// Of each function that is code: how much was its own, how much with all it called. What a
    /// recursion holds counts once. The heaviest first, by own, then by total.
    pub(super) fn tops(&self) -> Vec<(u32, Amount, Amount)> {
        let mut sums = vec![(Amount::default(), Amount::default()); self.functions.len()];
        let mut within = vec![0u32; self.functions.len()];
        let mut open: Vec<usize> = Vec::new();
        for node in &self.nodes {
            for left in open.drain((node.depth as usize).min(open.len())..) {
                within[left] -= 1;
            }
            let function = node.function as usize;
            let (own, total) = &mut sums[function];
            *own += node.own;
            if within[function] == 0 {
                *total += node.total;
            }
            within[function] += 1;
            open.push(function);
        }
        let code = (0..).zip(sums).zip(&self.functions);
        let code = code.filter(|(_, function)| function.origin != Origin::Group);
        let mut tops: Vec<_> = code
            .map(|((index, (own, total)), _)| (index, own, total))
            .collect();
        let weight = |amount: Amount| std::cmp::Reverse(amount.weight(self.kind));
        tops.sort_by_key(|(index, own, total)| {
            let name = &self.functions[*index as usize].name;
            (weight(*own), weight(*total), name)
        });
        tops
    }
}

struct Branch {
    function: u32,
    parent: u32,
    own: Amount,
}

struct Builder {
    functions: Vec<Function>,
    known: HashMap<Function, u32>,
    /// The function of each of the profile's frames, and of each of its processes.
    of_frame: Vec<u32>,
    of_process: Vec<u32>,
    preempted: u32,
    branches: Vec<Branch>,
    below: HashMap<(u32, u32), u32>,
}

impl Builder {
    fn new(profile: &Profile) -> Self {
        let mut builder = Self {
            functions: Vec::new(),
            known: HashMap::new(),
            of_frame: Vec::new(),
            of_process: Vec::new(),
            preempted: 0,
            branches: vec![Branch {
                function: 0,
                parent: 0,
                own: Amount::default(),
            }],
            below: HashMap::new(),
        };
        builder.intern(group("all"));
        builder.preempted = builder.intern(group(PREEMPTED));
        for frame in &profile.frames {
            let function = builder.intern(function(profile, frame));
            builder.of_frame.push(function);
        }
        for process in processes(profile) {
            let function = builder.intern(process);
            builder.of_process.push(function);
        }
        builder
    }

    fn intern(&mut self, function: Function) -> u32 {
        if let Some(known) = self.known.get(&function) {
            return *known;
        }
        let index = self.functions.len() as u32;
        self.functions.push(function.clone());
        self.known.insert(function, index);
        index
    }

    fn add(&mut self, profile: &Profile, stack: &Stack) {
        let Some(process) = self.of_process.get(stack.process as usize) else {
            return;
        };
        let mut at = self.step(0, *process);
        if stack.preempted && profile.kind == Kind::OffCpu {
            at = self.step(at, self.preempted);
        }
        for frame in stack.kernel.iter().chain(&stack.user).rev() {
            if let Some(function) = self.of_frame.get(*frame as usize) {
                at = self.step(at, *function);
            }
        }
        self.branches[at as usize].own += Amount {
            count: stack.count,
            nanos: stack.nanos,
        };
    }

    fn step(&mut self, parent: u32, function: u32) -> u32 {
        let branches = &mut self.branches;
        *self.below.entry((parent, function)).or_insert_with(|| {
            branches.push(Branch {
                function,
                parent,
                own: Amount::default(),
            });
            branches.len() as u32 - 1
        })
    }

    fn finish(self, kind: Kind) -> Tree {
        let mut totals: Vec<Amount> = self.branches.iter().map(|it| it.own).collect();
        let mut below: Vec<Vec<u32>> = vec![Vec::new(); self.branches.len()];
        // A branch stands behind its parent: by then it is complete.
        for index in (1..self.branches.len()).rev() {
            let parent = self.branches[index].parent as usize;
            let total = totals[index];
            totals[parent] += total;
            below[parent].push(index as u32);
        }
        let mut nodes = Vec::with_capacity(self.branches.len());
        let mut left = vec![(0u32, 0u32)];
        while let Some((index, depth)) = left.pop() {
            let branch = &self.branches[index as usize];
            nodes.push(Node {
                function: branch.function,
                depth,
                own: branch.own,
                total: totals[index as usize],
                ..Node::default()
            });
            let mut next = std::mem::take(&mut below[index as usize]);
            next.sort_by_cached_key(|&it| {
                let function = &self.functions[self.branches[it as usize].function as usize];
                let weight = totals[it as usize].weight(kind);
                (weight, std::cmp::Reverse(function.name.clone()))
            });
            left.extend(next.into_iter().map(|it| (it, depth + 1)));
        }
        Tree {
            kind,
            functions: self.functions,
            nodes,
        }
    }
}

fn group(name: &str) -> Function {
    Function {
        name: name.to_owned(),
        origin: Origin::Group,
        place: String::new(),
    }
}

fn function(profile: &Profile, frame: &Frame) -> Function {
    let module = frame.module.and_then(|it| profile.modules.get(it as usize));
    let place = module.map_or("", |it| it.path.as_str());
    Function {
        name: text::clean(&frame.name),
        origin: origin(frame, place),
        place: if place.is_empty() {
            String::new()
        } else {
            text::clean(place)
        },
    }
}

fn origin(frame: &Frame, place: &str) -> Origin {
    if is_address(&frame.name) {
        Origin::Unknown
    } else if frame.kernel {
        Origin::Kernel
    } else if place.is_empty() || place.starts_with("//anon") || place.starts_with("/memfd:") {
        Origin::Jit
    } else {
        Origin::Native
    }
}

/// Whether a name is `module+0xoffset` or `0xaddress`.
pub(super) fn is_address(name: &str) -> bool {
    let digits = name.strip_prefix("0x");
    let digits = digits.or_else(|| name.rsplit_once("+0x").map(|(_, digits)| digits));
    digits.is_some_and(|it| !it.is_empty() && it.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// What each process of the profile is shown as: those of one name as one.
fn processes(profile: &Profile) -> Vec<Function> {
    let mut pids: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for process in &profile.processes {
        pids.entry(&process.name).or_default().push(process.pid);
    }
    let shown = |name: &str| {
        let clean = text::clean(name);
        let mut pids = pids.get(name).cloned().unwrap_or_default();
        pids.sort_unstable();
        pids.dedup();
        let many = pids.len();
        let mut place: Vec<String> = pids.iter().take(NAMED_PIDS).map(u32::to_string).collect();
        if many > NAMED_PIDS {
            place.push("...".to_owned());
        }
        Function {
            name: match many {
                1 => format!("{clean} (pid {})", place[0]),
                _ => format!("{clean} ({} processes)", text::number(many as u64)),
            },
            origin: Origin::Group,
            place: format!("pid {}", place.join(", ")),
        }
    };
    profile.processes.iter().map(|it| shown(&it.name)).collect()
}

#[cfg(test)]
mod tests;
