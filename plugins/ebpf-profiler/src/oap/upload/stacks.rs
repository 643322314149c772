//! The different stacks of a job, by number.
//!
//! An OAP files a stack under the numbers of its two halves, joined; where a half is missing, under the
//! other's alone. So a number means one list of names of one half, for as long as the job is known.

use std::collections::HashMap;
use std::sync::Arc;

use perigee_proto::skywalking::v3::{EbpfProfilingStackMetadata, EbpfProfilingStackType};

use crate::profile::{Profile, Stack};

/// Most different halves of stacks of a job.
pub(super) const MOST_LISTS: usize = 65_536;
/// What a name takes beside its bytes: twice a pointer, a number, and the maps' own.
const NAME: usize = 64;
/// What a list takes beside its numbers.
const LIST: usize = 72;
/// Stands for a stack in which no frame is known, as Rover has it.
const MISSING: &str = "[MISSING]";

/// Numbers of the kernel's half and of the program's; zero: there is none.
pub(super) type Pair = (u32, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Half {
    Kernel,
    User,
}

/// The names and lists seen so far.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    names: Vec<Arc<str>>,
    bytes: usize,
    by_name: HashMap<Arc<str>, u32>,
    /// The list of number `n` is at `n - 1`.
    lists: Vec<Arc<[u32]>>,
    by_list: HashMap<(Half, Arc<[u32]>), u32>,
}

impl Stacks {
    /// Reads the stacks of a profile; may remember so many more bytes.
    pub(super) fn reader<'a>(&'a mut self, profile: &'a Profile, room: usize) -> Reader<'a> {
        Reader {
            named: vec![None; profile.frames.len()],
            profile,
            stacks: self,
            room,
        }
    }

    /// What is remembered, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A pair as the protocol has it, the kernel's half first.
    pub(super) fn metadata(&self, (kernel, user): Pair) -> Vec<EbpfProfilingStackMetadata> {
        let halves = [
            (EbpfProfilingStackType::ProcessKernelSpace, kernel),
            (EbpfProfilingStackType::ProcessUserSpace, user),
        ];
        let there = halves.into_iter().filter(|(_, number)| *number != 0);
        there
            .map(|(half, number)| EbpfProfilingStackMetadata {
                stack_type: half.into(),
                stack_id: number.cast_signed(),
                stack_symbols: self.symbols(number),
            })
            .collect()
    }

    fn symbols(&self, number: u32) -> Vec<String> {
        let list = self.lists.get(number as usize - 1);
        let names = list.iter().flat_map(|list| list.iter());
        names
            .filter_map(|name| self.names.get(*name as usize))
            .map(ToString::to_string)
            .collect()
    }

    fn name(&mut self, name: &Arc<str>, room: &mut usize) -> Option<u32> {
        if let Some(number) = self.by_name.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(self.names.len()).ok()?;
        self.bytes += take(room, NAME + name.len())?;
        self.names.push(Arc::clone(name));
        self.by_name.insert(Arc::clone(name), number);
        Some(number)
    }

    fn list(&mut self, half: Half, names: Vec<u32>, room: &mut usize) -> Option<u32> {
        if names.is_empty() {
            return Some(0);
        }
        let key = (half, Arc::from(names));
        if let Some(number) = self.by_list.get(&key) {
            return Some(*number);
        }
        if self.lists.len() >= MOST_LISTS {
            return None;
        }
        self.bytes += take(room, LIST + size_of_val(&*key.1))?;
        self.lists.push(Arc::clone(&key.1));
        let number = u32::try_from(self.lists.len()).ok()?;
        self.by_list.insert(key, number);
        Some(number)
    }
}

/// Takes bytes from what is left, if they are.
fn take(room: &mut usize, bytes: usize) -> Option<usize> {
    *room = room.checked_sub(bytes)?;
    Some(bytes)
}

/// Reads stacks of one profile; looks each frame's name up once.
pub(super) struct Reader<'a> {
    stacks: &'a mut Stacks,
    profile: &'a Profile,
    named: Vec<Option<u32>>,
    room: usize,
}

impl Reader<'_> {
    /// The numbers of a stack; `None` if there is no room for another.
    pub(super) fn pair(&mut self, stack: &Stack) -> Option<Pair> {
        let kernel = self.names(&stack.kernel)?;
        let mut user = self.names(&stack.user)?;
        if kernel.is_empty() && user.is_empty() {
            user.push(self.stacks.name(&Arc::from(MISSING), &mut self.room)?);
        }
        let room = &mut self.room;
        let kernel = self.stacks.list(Half::Kernel, kernel, room)?;
        let user = self.stacks.list(Half::User, user, room)?;
        Some((kernel, user))
    }

    /// Whether there were so many bytes left; they are taken.
    pub(super) fn takes(&mut self, bytes: usize) -> bool {
        take(&mut self.room, bytes).is_some()
    }

    fn names(&mut self, frames: &[u32]) -> Option<Vec<u32>> {
        let there = |index: &&u32| (**index as usize) < self.profile.frames.len();
        let frames: Vec<_> = frames.iter().filter(there).collect();
        let mut names = Vec::with_capacity(frames.len());
        for index in frames {
            let index = *index as usize;
            let name = match self.named[index] {
                Some(name) => name,
                None => {
                    let name = &self.profile.frames[index].name;
                    self.stacks.name(name, &mut self.room)?
                }
            };
            self.named[index] = Some(name);
            names.push(name);
        }
        Some(names)
    }
}
