//! Templates and filters as Rover's users write them: the part of Go's text/template that has a use in
//! names.
//!
//! There are text, `{{pipelines}}`, comments, trimming of spaces (`{{-`, `-}}`) and `if`, `else`, `end`;
//! in pipelines strings, whole numbers, `true`, `false`, parentheses, `$`, members
//! (`.Pod.LabelValue "app" ""`) and the functions of [`syntax::Function`]. What Go has beyond that is refused at
//! start with its place, as are members that do not exist and wrong numbers of arguments, which Go finds
//! only while it runs. What is accepted comes out as Go has it.

mod call;
mod error;
mod evaluate;
mod lexer;
mod parser;
mod shape;
mod syntax;
mod value;

pub(super) use error::Failure;
pub use error::{Problem, TemplateError};
pub(super) use shape::{HOST, KUBERNETES, Shape};
pub(super) use value::{Subject, Value};

use syntax::Node;

/// A text with places to fill in, parsed.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Node>);

/// A condition, parsed. Rover writes it without the braces.
#[derive(Clone, Debug)]
pub(super) struct Filter(Template);

impl Template {
    /// Parses a template about a root of this shape.
    pub(super) fn parse(text: &str, root: &'static Shape) -> Result<Self, TemplateError> {
        parser::parse(text, root).map(Self)
    }

    /// Fills in the places.
    pub(super) fn render(&self, root: &dyn Subject) -> Result<String, Failure> {
        let mut out = String::new();
        evaluate::nodes(&self.0, root, &mut out)?;
        Ok(out)
    }
}

impl Filter {
    /// Parses a condition about a root of this shape.
    pub(super) fn parse(text: &str, root: &'static Shape) -> Result<Self, TemplateError> {
        const OPEN: &str = "{{";
        let wrapped = format!("{OPEN}{text}}}}}");
        match Template::parse(&wrapped, root) {
            Ok(template) => Ok(Self(template)),
            Err(error) => Err(error.shifted(OPEN.len(), text.len())),
        }
    }

    /// Whether it holds; the spellings of truth are those of Go's `strconv.ParseBool`.
    pub(super) fn holds(&self, root: &dyn Subject) -> Result<bool, Failure> {
        let said = self.0.render(root)?;
        match said.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(Failure::NoCondition { said }),
        }
    }
}

#[cfg(test)]
mod tests;
