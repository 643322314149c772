//! From a parsed template and a root to text.

use std::borrow::Cow;

use super::Failure;
use super::call::call;
use super::syntax::{Base, Command, Function, Node, Operand, Pipeline};
use super::value::{Subject, Value};

pub(super) fn nodes(nodes: &[Node], root: &dyn Subject, out: &mut String) -> Result<(), Failure> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(it) => pipeline(it, root)?.print(out)?,
            Node::If {
                branches,
                otherwise,
            } => self::nodes(branch(branches, otherwise, root)?, root, out)?,
        }
    }
    Ok(())
}

/// What the first condition that is true is for.
fn branch<'a>(
    branches: &'a [(Pipeline, Vec<Node>)],
    otherwise: &'a [Node],
    root: &dyn Subject,
) -> Result<&'a [Node], Failure> {
    for (condition, nodes) in branches {
        if pipeline(condition, root)?.is_true() {
            return Ok(nodes);
        }
    }
    Ok(otherwise)
}

fn pipeline<'a>(Pipeline(commands): &'a Pipeline, root: &'a dyn Subject) -> Evaluated<'a> {
    let mut piped = None;
    for it in commands {
        piped = Some(command(it, piped, root)?);
    }
    piped.ok_or_else(|| Failure::Absent {
        what: "command".to_owned(),
    })
}

type Evaluated<'a> = Result<Value<'a>, Failure>;

fn command<'a>(
    command: &'a Command,
    piped: Option<Value<'a>>,
    root: &'a dyn Subject,
) -> Evaluated<'a> {
    match command {
        Command::Call(function @ (Function::And | Function::Or), arguments) => {
            junction(*function, arguments, piped, root)
        }
        Command::Call(function, arguments) => call(*function, &values(arguments, piped, root)?),
        Command::Operand(Operand::Path(base, names), arguments) => {
            let arguments = values(arguments, piped, root)?;
            path(base, names, &arguments, root)
        }
        Command::Operand(it, _) => operand(it, root),
    }
}

/// `and`, `or`: the first value that decides, or the last one. What follows it is not evaluated.
fn junction<'a>(
    function: Function,
    arguments: &'a [Operand],
    piped: Option<Value<'a>>,
    root: &'a dyn Subject,
) -> Evaluated<'a> {
    let decides = |value: &Value<'_>| value.is_true() == (function == Function::Or);
    let mut last = None;
    for it in arguments {
        let value = operand(it, root)?;
        if decides(&value) {
            return Ok(value);
        }
        last = Some(value);
    }
    Ok(piped.or(last).unwrap_or(Value::Flag(false)))
}

fn values<'a>(
    operands: &'a [Operand],
    piped: Option<Value<'a>>,
    root: &'a dyn Subject,
) -> Result<Vec<Value<'a>>, Failure> {
    let values = operands.iter().map(|it| operand(it, root));
    values.chain(piped.map(Ok)).collect()
}

fn operand<'a>(operand: &'a Operand, root: &'a dyn Subject) -> Evaluated<'a> {
    match operand {
        Operand::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
        Operand::Flag(flag) => Ok(Value::Flag(*flag)),
        Operand::Number(number) => Ok(Value::Number(*number)),
        Operand::Path(base, names) => path(base, names, &[], root),
    }
}

/// Members of members; the last one gets the arguments.
fn path<'a>(
    base: &'a Base,
    names: &'a [String],
    arguments: &[Value<'a>],
    root: &'a dyn Subject,
) -> Evaluated<'a> {
    let mut value = match base {
        Base::Root => Value::Subject(root),
        Base::Pipeline(it) => pipeline(it, root)?,
    };
    for (index, name) in names.iter().enumerate() {
        let Value::Subject(subject) = value else {
            return Err(value.unfit(&format!(".{name}")));
        };
        let arguments = if index + 1 == names.len() {
            arguments
        } else {
            &[]
        };
        let texts = arguments.iter().map(|argument| match argument {
            Value::Text(text) => Ok(text.as_ref()),
            other => Err(other.unfit(name)),
        });
        value = subject.member(name, &texts.collect::<Result<Vec<_>, _>>()?)?;
    }
    Ok(value)
}
