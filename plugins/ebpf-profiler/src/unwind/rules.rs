//! The rules that all tables share, each once, by number.

use std::collections::HashMap;

use super::Rule;

/// As many rules as the kernel's map of them holds.
pub const MOST_RULES: u32 = 8192;

/// Rules that the tables of one file may have: programs that somebody made to have many must leave room for
/// others. Chromium and Node have some hundred.
pub const MOST_OF_A_FILE: u32 = MOST_RULES / 4;

/// Rules that are in use, and the numbers of those that were.
#[derive(Debug)]
pub struct Rules {
    numbers: HashMap<Rule, u16>,
    rules: Vec<Rule>,
    /// How many files' tables have the rule.
    users: Vec<u32>,
    free: Vec<u16>,
    changed: Vec<u16>,
    overflowed: u64,
}

impl Default for Rules {
    fn default() -> Self {
        let mut rules = Self {
            numbers: HashMap::new(),
            rules: Vec::new(),
            users: Vec::new(),
            free: Vec::new(),
            changed: Vec::new(),
            overflowed: 0,
        };
        rules.take(Rule::UNSUPPORTED);
        rules.take(Rule::UNKNOWN);
        rules
    }
}

impl Rules {
    /// The number of [`Rule::UNSUPPORTED`]: words of zero lead nowhere.
    pub const UNSUPPORTED: u16 = 0;
    /// The number of [`Rule::UNKNOWN`].
    pub const UNKNOWN: u16 = 1;

    /// The number of a rule, for one more user of it; [`Self::UNKNOWN`] when no more fit.
    pub fn take(&mut self, rule: Rule) -> u16 {
        if let Some(&number) = self.numbers.get(&rule) {
            self.users[usize::from(number)] += 1;
            return number;
        }
        let Some(number) = self.number() else {
            self.overflowed += 1;
            return Self::UNKNOWN;
        };
        self.rules[usize::from(number)] = rule;
        self.users[usize::from(number)] = 1;
        self.numbers.insert(rule, number);
        self.changed.push(number);
        number
    }

    fn number(&mut self) -> Option<u16> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = u16::try_from(self.rules.len()).ok()?;
        if u32::from(number) >= MOST_RULES {
            return None;
        }
        self.rules.push(Rule::UNKNOWN);
        self.users.push(0);
        Some(number)
    }

    /// Somebody who took these needs them no more.
    pub fn give_back(&mut self, numbers: &[u16]) {
        for &number in numbers {
            let at = usize::from(number);
            self.users[at] -= 1;
            if self.users[at] == 0 {
                self.numbers.remove(&self.rules[at]);
                self.free.push(number);
            }
        }
    }

    /// How many more rules fit.
    pub fn room(&self) -> u32 {
        MOST_RULES - self.numbers.len() as u32
    }

    /// By number. What stands at a number that nobody has means nothing.
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The numbers that mean something else than at the last call.
    pub fn changed(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.changed)
    }

    /// How often a rule did not fit.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

/// Rules that were asked for last are found without hashing: rows have a few hundred different ones, and there
/// are millions of rows.
const RECENT: usize = 512;

/// The rules of one file's tables.
pub(super) struct OfFile<'r> {
    rules: &'r mut Rules,
    own: HashMap<Rule, u16>,
    /// By [`OfFile::place`].
    recent: Vec<(Rule, u16)>,
}

impl<'r> OfFile<'r> {
    pub(super) fn new(rules: &'r mut Rules) -> Self {
        Self {
            rules,
            own: HashMap::new(),
            recent: vec![(Rule::UNKNOWN, Rules::UNKNOWN); RECENT],
        }
    }

    /// The number of a rule; [`Rules::UNKNOWN`] when no more fit.
    pub(super) fn number(&mut self, rule: Rule) -> u16 {
        if rule == Rule::UNKNOWN {
            return Rules::UNKNOWN;
        }
        let place = Self::place(&rule);
        let (recent, number) = self.recent[place];
        if recent == rule {
            return number;
        }
        let number = self.look_up(rule);
        self.recent[place] = (rule, number);
        number
    }

    fn place(rule: &Rule) -> usize {
        let offsets = rule.cfa_offset ^ rule.frame_pointer_offset.rotate_left(4);
        (offsets.cast_unsigned() as usize / 8 + (rule.cfa as usize) * 61) % RECENT
    }

    fn look_up(&mut self, rule: Rule) -> u16 {
        if let Some(&number) = self.own.get(&rule) {
            return number;
        }
        if self.own.len() >= MOST_OF_A_FILE as usize {
            self.rules.overflowed += 1;
            return Rules::UNKNOWN;
        }
        let number = self.rules.take(rule);
        if number != Rules::UNKNOWN {
            self.own.insert(rule, number);
        }
        number
    }

    /// The numbers that were taken.
    pub(super) fn finish(self) -> Box<[u16]> {
        self.own.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rules: &mut Rules, offsets: std::ops::Range<i32>) -> Box<[u16]> {
        let mut of_file = OfFile::new(rules);
        for offset in offsets {
            of_file.number(Rule::stack(offset));
        }
        of_file.finish()
    }

    #[test]
    fn what_is_given_back_by_all_makes_room() {
        let mut rules = Rules::default();
        let first = taken(&mut rules, 0..3);
        let second = taken(&mut rules, 2..5);
        assert_eq!(rules.room(), MOST_RULES - 2 - 5);
        rules.changed();
        rules.give_back(&first);
        assert_eq!(rules.room(), MOST_RULES - 2 - 3);
        let shared = rules.take(Rule::stack(2));
        assert!(second.contains(&shared));
        assert_eq!(rules.changed(), [0_u16; 0]);
        let new = rules.take(Rule::stack(9));
        assert!(first.contains(&new));
        assert_eq!(rules.all()[usize::from(new)], Rule::stack(9));
        assert_eq!(rules.changed(), [new]);
    }

    #[test]
    fn one_file_leaves_room_for_others() {
        let mut rules = Rules::default();
        let most = MOST_OF_A_FILE as i32;
        let greedy = taken(&mut rules, 0..most + 10);
        assert_eq!((greedy.len(), rules.overflowed()), (most as usize, 10));
        let modest = taken(&mut rules, -3..0);
        assert_eq!((modest.len(), rules.overflowed()), (3, 10));
    }

    #[test]
    fn a_rule_that_does_not_fit_is_unknown_and_counted() {
        let mut rules = Rules::default();
        for offset in 0..MOST_RULES as i32 {
            rules.take(Rule::stack(offset));
        }
        assert_eq!((rules.overflowed(), rules.room()), (2, 0));
        assert_eq!(rules.take(Rule::stack(-1)), Rules::UNKNOWN);
        assert_eq!(rules.overflowed(), 3);
        let known = rules.take(Rule::stack(0));
        assert_eq!(rules.all()[usize::from(known)], Rule::stack(0));
        assert_eq!(rules.all()[usize::from(Rules::UNKNOWN)], Rule::UNKNOWN);
    }
}
