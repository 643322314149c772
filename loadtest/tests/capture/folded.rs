//! Folded stacks: `process;outermost;...;innermost VALUE`.

use std::collections::BTreeMap;
use std::path::Path;

/// A profile as folded stacks.
#[derive(Debug, Default)]
pub(crate) struct Folded(Vec<Line>);

#[derive(Debug)]
struct Line {
    process: String,
    /// Outermost first.
    frames: Vec<String>,
    value: u64,
}

impl Folded {
    pub(crate) fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap())
    }

    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| {
            let (stack, value) = line.rsplit_once(' ').unwrap();
            let mut frames = stack.split(';').map(str::to_owned);
            Line {
                process: frames.next().unwrap(),
                frames: frames.collect(),
                value: value.parse().unwrap(),
            }
        });
        Self(lines.collect())
    }

    /// All values.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|line| line.value).sum()
    }

    /// Values of stacks in which these functions follow each other inwards, others between them or not.
    pub(crate) fn through(&self, functions: &[&str]) -> u64 {
        let lines = self.0.iter().filter(|line| line.passes(functions));
        lines.map(|line| line.value).sum()
    }

    /// Values of stacks whose innermost frames, the kernel's apart, end with these functions.
    pub(crate) fn ending(&self, functions: &[&str]) -> u64 {
        let lines = self.0.iter().filter(|line| {
            let user = line.frames.iter().filter(|frame| !frame.ends_with("_[k]"));
            let user: Vec<_> = user.collect();
            let mut tail = user.iter().rev().zip(functions.iter().rev());
            user.len() >= functions.len() && tail.all(|(frame, function)| names(frame, function))
        });
        lines.map(|line| line.value).sum()
    }

    /// The largest stack, as text, with its value.
    pub(crate) fn largest(&self) -> (String, u64) {
        let line = self.0.iter().max_by_key(|line| line.value).unwrap();
        (line.frames.join(";"), line.value)
    }

    /// Only stacks of this process.
    pub(crate) fn of(self, process: &str) -> Self {
        let lines = self.0.into_iter();
        Self(lines.filter(|line| line.process == process).collect())
    }

    /// The share of each stack of the program, whatever the kernel did below it.
    pub(crate) fn shares(&self) -> BTreeMap<String, f64> {
        let (mut shares, all) = (BTreeMap::new(), self.total() as f64);
        for line in &self.0 {
            let user = line.frames.iter().filter(|frame| !frame.ends_with("_[k]"));
            let user: Vec<_> = user.map(String::as_str).collect();
            *shares.entry(user.join(";")).or_default() += line.value as f64 / all;
        }
        shares
    }

    /// The first stacks by value, for messages.
    pub(crate) fn head(&self) -> String {
        let mut lines: Vec<_> = self.0.iter().collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.value));
        let lines = lines.iter().take(12);
        lines
            .map(|line| {
                format!(
                    "{};{} {}\n",
                    line.process,
                    line.frames.join(";"),
                    line.value
                )
            })
            .collect()
    }
}

impl Line {
    fn passes(&self, functions: &[&str]) -> bool {
        let mut frames = self.frames.iter();
        let mut functions = functions.iter();
        functions.all(|function| frames.any(|frame| names(frame, function)))
    }
}

/// Whether a frame is this function's, in whatever way its language writes it: `shop::spin`,
/// `main.spin`, `JS:*spin /busy.js:4:14`; not `_raw_spin_lock_[k]`.
pub(crate) fn names(frame: &str, function: &str) -> bool {
    frame
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|word| word == function)
}

#[test]
fn stacks_are_told_apart_by_the_functions_they_pass_in_order() {
    let folded = Folded::parse(
        "busy;_start;main;busy::shop::hot;shop::spin 70\n\
         busy;_start;main;warm;JS:*spin /a b.js:1:2;asm_exc_[k] 25\n\
         busy;_start;main;_raw_spin_lock_[k] 4\n\
         other;spin;hot 1\n",
    );
    assert_eq!(folded.total(), 100);
    assert_eq!(folded.through(&["hot", "spin"]), 70);
    assert_eq!(folded.through(&["spin"]), 96);
    assert_eq!(folded.ending(&["warm", "spin"]), 25);
    assert_eq!(folded.ending(&["main", "spin"]), 0);
    assert_eq!(folded.largest().1, 70);
    assert_eq!(
        folded.shares()["_start;main;warm;JS:*spin /a b.js:1:2"],
        0.25
    );
    assert_eq!(folded.of("other").total(), 1);
}
