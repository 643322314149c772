//! What functions do. Outcomes are Go's (`text/template/funcs.go`, `fmt`).

use std::cmp::Ordering;

use super::Failure;
use super::syntax::Function;
use super::value::Value;

/// Calls a function other than `and` and `or`, which do not need all of their arguments.
pub(super) fn call<'a>(function: Function, arguments: &[Value<'a>]) -> Result<Value<'a>, Failure> {
    let name = function.name();
    let order = |wanted: fn(Ordering) -> bool| {
        let [left, right] = two(arguments)?;
        order(name, left, right).map(|order| Value::Flag(wanted(order)))
    };
    match function {
        Function::And | Function::Or => Ok(arguments.last().cloned().unwrap_or(Value::Flag(false))),
        Function::Not => Ok(Value::Flag(!arguments.iter().any(Value::is_true))),
        Function::Eq => any_equal(name, arguments).map(Value::Flag),
        Function::Ne => any_equal(name, arguments).map(|equal| Value::Flag(!equal)),
        Function::Lt => order(Ordering::is_lt),
        Function::Le => order(Ordering::is_le),
        Function::Gt => order(Ordering::is_gt),
        Function::Ge => order(Ordering::is_ge),
        Function::Len => match arguments {
            [Value::Text(text)] => Ok(Value::Number(text.len() as i64)),
            _ => Err(unfit(name, arguments)),
        },
        Function::Print => print(arguments).map(Value::owned),
        Function::Printf => printf(arguments).map(Value::owned),
        Function::EqualsOrDefault => match arguments {
            [Value::Text(from), Value::Text(to), Value::Text(text)] => {
                Ok(Value::Text(if from == text { to } else { text }.clone()))
            }
            _ => Err(unfit(name, arguments)),
        },
    }
}

fn two<'v, 'a>(arguments: &'v [Value<'a>]) -> Result<[&'v Value<'a>; 2], Failure> {
    match arguments {
        [left, right] => Ok([left, right]),
        _ => Err(unfit("a comparison", arguments)),
    }
}

/// The failure for the first argument that is no text, or the last one.
fn unfit(function: &str, arguments: &[Value<'_>]) -> Failure {
    let mut arguments = arguments.iter();
    let value = arguments.find(|value| !matches!(value, Value::Text(_)));
    let value = value.or(arguments.next_back());
    value.unwrap_or(&Value::Flag(false)).unfit(function)
}

/// Whether the first equals one of the others.
fn any_equal(name: &str, arguments: &[Value<'_>]) -> Result<bool, Failure> {
    let Some((first, others)) = arguments.split_first() else {
        return Ok(false);
    };
    for other in others {
        let equal = match (first, other) {
            (Value::Text(left), Value::Text(right)) => left == right,
            (Value::Flag(left), Value::Flag(right)) => left == right,
            (Value::Number(left), Value::Number(right)) => left == right,
            (Value::Subject(_), _) => return Err(first.unfit(name)),
            _ => return Err(other.unfit(name)),
        };
        if equal {
            return Ok(true);
        }
    }
    Ok(false)
}

fn order(name: &str, left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, Failure> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Ok(left.as_bytes().cmp(right.as_bytes())),
        (Value::Number(left), Value::Number(right)) => Ok(left.cmp(right)),
        (Value::Text(_) | Value::Number(_), other) => Err(other.unfit(name)),
        (other, _) => Err(other.unfit(name)),
    }
}

/// Spaces stand only between two operands that are no texts.
fn print(arguments: &[Value<'_>]) -> Result<String, Failure> {
    let mut out = String::new();
    let mut after_text = true;
    for value in arguments {
        let is_text = matches!(value, Value::Text(_));
        if !is_text && !after_text {
            out.push(' ');
        }
        after_text = is_text;
        value.print(&mut out)?;
    }
    Ok(out)
}

/// `%s`, `%d`, `%v` and `%%`, each with a value that fits: Go prints the rest as `%!d(string=x)`, which
/// nobody wants in a name.
fn printf(arguments: &[Value<'_>]) -> Result<String, Failure> {
    let name = Function::Printf.name();
    let Some((Value::Text(format), values)) = arguments.split_first() else {
        return Err(unfit(name, &arguments[..arguments.len().min(1)]));
    };
    let mut values = values.iter();
    let mut out = String::new();
    let mut pieces = format.split('%');
    out.push_str(pieces.next().unwrap_or_default());
    while let Some(piece) = pieces.next() {
        let Some(verb) = piece.chars().next() else {
            // Two in a row: the piece between them is empty, the one behind them is text.
            let text = pieces.next().ok_or_else(|| bad_format(format))?;
            out.push('%');
            out.push_str(text);
            continue;
        };
        let value = values.next().ok_or_else(|| bad_format(format))?;
        match (verb, value) {
            ('v', _) | ('s', Value::Text(_)) | ('d', Value::Number(_)) => value.print(&mut out)?,
            ('s' | 'd', other) => return Err(other.unfit(&format!("%{verb}"))),
            _ => return Err(bad_format(format)),
        }
        out.push_str(&piece[1..]);
    }
    match values.next() {
        Some(extra) => Err(extra.unfit(&format!("\"{format}\""))),
        None => Ok(out),
    }
}

fn bad_format(format: &str) -> Failure {
    Value::borrowed(format).unfit(Function::Printf.name())
}
