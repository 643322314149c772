//! What pipelines work with.

use std::borrow::Cow;
use std::fmt;

use super::Failure;

/// Something with members.
pub(in crate::discovery) trait Subject {
    /// How it is called in errors: `.Pod`.
    fn name(&self) -> &'static str;

    /// A member by its name, with the arguments that its [`Shape`](super::Shape) asks for.
    ///
    /// # Errors
    /// There is no such thing at this moment.
    fn member<'a>(&'a self, name: &str, arguments: &[&str]) -> Result<Value<'a>, Failure>;
}

/// What an operand or a pipeline yields.
#[derive(Clone)]
pub(in crate::discovery) enum Value<'a> {
    Text(Cow<'a, str>),
    Flag(bool),
    Number(i64),
    Subject(&'a dyn Subject),
}

impl<'a> Value<'a> {
    /// Text that is there already.
    pub(in crate::discovery) fn borrowed(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Text that was made.
    pub(in crate::discovery) fn owned(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    /// Go's truth: anything but an empty text, zero and false.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Flag(flag) => *flag,
            Self::Number(number) => *number != 0,
            Self::Subject(_) => true,
        }
    }

    /// Adds its text form.
    pub(super) fn print(&self, out: &mut String) -> Result<(), Failure> {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Subject(subject) => {
                let what = subject.name().to_owned();
                return Err(Failure::NoText { what });
            }
        }
        Ok(())
    }

    /// The failure of a function that cannot work with this.
    pub(in crate::discovery) fn unfit(&self, function: &str) -> Failure {
        Failure::Operand {
            function: function.to_owned(),
            value: self.to_string(),
        }
    }
}

/// For errors.
impl fmt::Display for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(out, "the text \"{text}\""),
            Self::Flag(flag) => write!(out, "the truth value {flag}"),
            Self::Number(number) => write!(out, "the number {number}"),
            Self::Subject(subject) => out.write_str(subject.name()),
        }
    }
}
