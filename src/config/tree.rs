//! The configuration as a tree of nodes that know where they came from.
//!
//! Scalars keep their text, because what a text means depends on the key it stands under: `007` is
//! the number seven for a count and three characters for a token. [`Scalar::raw`] is what the text
//! means where no key says otherwise.

/// A node with its line in the file; 0 for what no file contains.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line, from 1.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Entries in the file's order; keys in lower case, since Satellite's are case-insensitive.
    Map(Vec<(String, Node)>),
    /// Items.
    List(Vec<Node>),
    /// A leaf.
    Scalar(Scalar),
}

/// A leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text, without quotes and with placeholders expanded.
    pub text: String,
    /// How the text is to be read.
    pub style: Style,
    /// The placeholder it was made from.
    pub variable: Option<Variable>,
}

/// How the text of a scalar is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// By YAML's rules.
    Plain,
    /// As text.
    Quoted,
    /// By Satellite's rules for placeholders.
    Expanded,
}

/// Where an expanded text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Name in the environment.
    pub name: String,
    /// Whether the environment has it; otherwise the text is the placeholder's default.
    pub set: bool,
}

/// What a text means where no key says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Raw {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// Another number.
    Real(f64),
    /// Text.
    Text,
}

impl Node {
    /// A map that stands in no file.
    pub fn map() -> Self {
        Self {
            line: 0,
            value: Value::Map(Vec::new()),
        }
    }

    /// A leaf that stands in no file.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            line: 0,
            value: Value::Scalar(Scalar::new(text, Style::Plain)),
        }
    }

    /// The entry of a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, node)| node),
            Value::List(_) | Value::Scalar(_) => None,
        }
    }

    /// The entry of a map, made as an empty map if there is none; what is no map becomes one.
    pub fn entry(&mut self, name: &str) -> &mut Self {
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        match &mut self.value {
            Value::Map(entries) => {
                let found = entries.iter().position(|(key, _)| key == name);
                let position = found.unwrap_or(entries.len());
                if found.is_none() {
                    entries.push((name.to_owned(), Self::map()));
                }
                &mut entries[position].1
            }
            Value::List(_) | Value::Scalar(_) => unreachable!("made a map above"),
        }
    }

    /// The items of a list.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Map(_) | Value::Scalar(_) => &[],
        }
    }

    /// Visits every scalar below `path`, with its own path, e.g. `pipes[0].sender.flush_time`.
    pub fn each_scalar(&self, path: &str, visit: &mut impl FnMut(&str, &Scalar)) {
        match &self.value {
            Value::Map(entries) => {
                for (name, node) in entries {
                    let path = match path {
                        "" => name.clone(),
                        _ => format!("{path}.{name}"),
                    };
                    node.each_scalar(&path, visit);
                }
            }
            Value::List(items) => {
                for (index, node) in items.iter().enumerate() {
                    node.each_scalar(&format!("{path}[{index}]"), visit);
                }
            }
            Value::Scalar(scalar) => visit(path, scalar),
        }
    }

    /// The leaf.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::Map(_) | Value::List(_) => None,
        }
    }

    /// Whether this is as good as absent.
    pub fn is_null(&self) -> bool {
        self.scalar()
            .is_some_and(|scalar| scalar.raw() == Raw::Null)
    }

    /// What kind of node it is, for messages.
    pub fn shape(&self) -> &'static str {
        match self.value {
            Value::Map(_) => "a map",
            Value::List(_) => "a list",
            Value::Scalar(_) => "a single value",
        }
    }
}

impl Scalar {
    /// A leaf that no placeholder made.
    pub fn new(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
            variable: None,
        }
    }

    /// What the text means where no key says otherwise.
    pub fn raw(&self) -> Raw {
        match self.style {
            Style::Quoted => Raw::Text,
            Style::Plain => plain(&self.text),
            Style::Expanded => expanded(&self.text),
        }
    }
}

/// YAML's core schema, with the older octal and underscore forms left out.
fn plain(text: &str) -> Raw {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Raw::Null,
        "true" | "True" | "TRUE" => Raw::Bool(true),
        "false" | "False" | "FALSE" => Raw::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" => Raw::Real(f64::INFINITY),
        "-.inf" => Raw::Real(f64::NEG_INFINITY),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => {
            number(text)
        }
        _ => Raw::Text,
    }
}

/// Satellite's order: whole number, other number, truth value, text.
fn expanded(text: &str) -> Raw {
    match number(text) {
        Raw::Text if text.eq_ignore_ascii_case("true") => Raw::Bool(true),
        Raw::Text if text.eq_ignore_ascii_case("false") => Raw::Bool(false),
        raw => raw,
    }
}

fn number(text: &str) -> Raw {
    if let Ok(whole) = text.parse::<i64>() {
        return Raw::Whole(whole);
    }
    match text.parse::<f64>() {
        Ok(real) => Raw::Real(real),
        Err(_) => hexadecimal(text).map_or(Raw::Text, Raw::Real),
    }
}

/// Go's hexadecimal floating point: `0x10p2` is 64. The exponent is a must.
fn hexadecimal(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))?;
    let (mantissa, exponent) = digits.split_once(['p', 'P'])?;
    let mut power: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    power = power.saturating_sub(i32::try_from(fraction.len()).ok()?.saturating_mul(4));
    value *= 2.0_f64.powi(power);
    Some(if negative { -value } else { value })
}
