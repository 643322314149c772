//! Where tables lie: in arenas of equal size, because a map of the kernel cannot grow.
//!
//! [`Arenas`] only keeps the books; the words are behind [`Words`].

/// Words of an arena: 1 MiB.
pub const ARENA_WORDS: u32 = 262_144;

/// Places begin and end at multiples of this many words, so that holes too small for any table do not
/// pile up.
const GRAIN: u32 = 64;

/// The words of all arenas.
pub trait Words {
    /// Writes words within one arena.
    fn write(&mut self, arena: u32, word: u32, words: &[u32]);

    /// Reads one word; zero where there is none.
    fn read(&self, arena: u32, word: u32) -> u32;
}

/// Words in plain memory: without BPF, and for tests.
#[derive(Debug, Default)]
pub struct PlainWords(Vec<Vec<u32>>);

impl Words for PlainWords {
    fn write(&mut self, arena: u32, word: u32, words: &[u32]) {
        let (arena, start) = (arena as usize, word as usize);
        if self.0.len() <= arena {
            self.0.resize_with(arena + 1, Vec::new);
        }
        let end = start + words.len();
        if let Some(held) = self.0.get_mut(arena) {
            if held.len() < end {
                held.resize(end, 0);
            }
            if let Some(range) = held.get_mut(start..end) {
                range.copy_from_slice(words);
            }
        }
    }

    fn read(&self, arena: u32, word: u32) -> u32 {
        self.0
            .get(arena as usize)
            .and_then(|held| held.get(word as usize))
            .copied()
            .unwrap_or(0)
    }
}

/// A range of words that is taken. There is one of it, until it is given back.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Which arena.
    pub arena: u32,
    /// The first word there.
    pub word: u32,
    /// How many words, as asked for.
    pub words: u32,
}

/// A range of words that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hole {
    start: u32,
    end: u32,
}

/// Which words are free, in a bounded number of arenas.
///
/// A place is the first that fits: the lowest arena, the lowest word. So later arenas run empty.
#[derive(Debug)]
pub struct Arenas {
    most: usize,
    /// For each arena in use its holes, ascending; no two touch.
    holes: Vec<Vec<Hole>>,
}

impl Arenas {
    /// As many arenas as fit into a budget of bytes.
    pub fn new(budget: u64) -> Self {
        let most = budget / (u64::from(ARENA_WORDS) * 4);
        Self {
            most: usize::try_from(most)
                .unwrap_or(usize::MAX)
                .min(u32::MAX as usize),
            holes: Vec::new(),
        }
    }

    /// Takes a range of words; none if no arena has a hole of that size and no arena may be added.
    pub fn allocate(&mut self, words: u32) -> Option<Place> {
        let size = words
            .max(1)
            .checked_next_multiple_of(GRAIN)
            .filter(|&size| size <= ARENA_WORDS)?;
        let found = self
            .holes
            .iter_mut()
            .enumerate()
            .find_map(|(arena, holes)| Some((arena as u32, take(holes, size)?)));
        if let Some((arena, word)) = found {
            return Some(Place { arena, word, words });
        }
        if self.holes.len() >= self.most {
            return None;
        }
        let arena = self.holes.len() as u32;
        self.holes.push(Vec::new());
        if size < ARENA_WORDS {
            self.holes.last_mut()?.push(Hole {
                start: size,
                end: ARENA_WORDS,
            });
        }
        Some(Place {
            arena,
            word: 0,
            words,
        })
    }

    /// Gives a place back.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that no place is given back twice"
    )]
    pub fn free(&mut self, place: Place) {
        let Place { arena, word, words } = place;
        let Some(holes) = self.holes.get_mut(arena as usize) else {
            return;
        };
        let mut hole = Hole {
            start: word,
            end: word + words.max(1).next_multiple_of(GRAIN),
        };
        let at = holes.partition_point(|known| known.end < hole.start);
        while let Some(&near) = holes.get(at)
            && near.start <= hole.end
        {
            hole = Hole {
                start: near.start.min(hole.start),
                end: near.end.max(hole.end),
            };
            holes.remove(at);
        }
        holes.insert(at, hole);
    }

    /// How many arenas have been taken into use; their numbers are below it.
    pub fn len(&self) -> usize {
        self.holes.len()
    }

    /// Whether no arena has been taken into use.
    pub fn is_empty(&self) -> bool {
        self.holes.is_empty()
    }
}

/// Takes the lower end of the first hole that is big enough.
fn take(holes: &mut Vec<Hole>, size: u32) -> Option<u32> {
    let at = holes
        .iter()
        .position(|hole| hole.end - hole.start >= size)?;
    let hole = holes.get_mut(at)?;
    let start = hole.start;
    hole.start += size;
    if hole.start == hole.end {
        holes.remove(at);
    }
    Some(start)
}

#[cfg(test)]
mod tests;
