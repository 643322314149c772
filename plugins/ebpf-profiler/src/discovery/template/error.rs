//! What can be wrong with a template.

/// A template that does not parse. Places are counted in bytes from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {problem}")]
pub struct TemplateError {
    /// Where in the text.
    pub at: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong at a place of a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text ends inside.
    #[error("{what} is not closed")]
    Unclosed {
        /// For example `an action`.
        what: &'static str,
    },
    /// Something else should stand here.
    #[error("found {found}, expected {expected}")]
    Unexpected {
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// Go has it and we do not.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// No function has this name.
    #[error("there is no function {name}")]
    Function {
        /// The name.
        name: String,
    },
    /// A thing has no such member.
    #[error("{of} has no {name}, it has {has}")]
    Member {
        /// The thing.
        of: &'static str,
        /// The name.
        name: String,
        /// What could be meant.
        has: String,
    },
    /// More or fewer arguments than are needed.
    #[error("{name} takes {takes}, given {given}")]
    Arguments {
        /// Whose.
        name: String,
        /// For example `2 arguments`.
        takes: String,
        /// How many there are.
        given: usize,
    },
    /// A quoted string with an escape that does not exist, or that is not UTF-8.
    #[error("{text} is no string")]
    Quoted {
        /// With its quotes.
        text: String,
    },
    /// A whole number that is none, or too large.
    #[error("{text} is no whole number of 64 bits")]
    Number {
        /// As it stands there.
        text: String,
    },
    /// Parentheses or conditions in one another beyond reason.
    #[error("nested too deeply")]
    TooDeep,
}

impl TemplateError {
    /// The same error, for a text that has `before` bytes less at its beginning and is `length` long.
    pub(super) fn shifted(mut self, before: usize, length: usize) -> Self {
        self.at = self.at.saturating_sub(before).min(length);
        self
    }
}

/// Why a template says nothing about a process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::discovery) enum Failure {
    /// What it asks for does not exist.
    #[error("there is no {what}")]
    Absent {
        /// For example `container "istio-proxy" in pod shop-7d`.
        what: String,
    },
    /// A function got something it cannot work with.
    #[error("{function} cannot take {value}")]
    Operand {
        /// The function or member.
        function: String,
        /// For example `the number 5`.
        value: String,
    },
    /// A pod, a container or the like stands where a text should.
    #[error("{what} has no text form")]
    NoText {
        /// For example `.Pod`.
        what: String,
    },
    /// A filter says neither true nor false.
    #[error("expected true or false, the filter says \"{said}\"")]
    NoCondition {
        /// What it says.
        said: String,
    },
    /// A name came out empty.
    #[error("the {field} name is empty")]
    Empty {
        /// Which: `service`, `instance` or `process`.
        field: &'static str,
    },
}
