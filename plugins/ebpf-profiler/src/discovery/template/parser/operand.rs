//! Operands, and whether what they name exists.

use super::super::error::Problem;
use super::super::lexer::TokenKind;
use super::super::shape::{Kind, Member, Shape};
use super::super::syntax::{Base, Function, Operand};
use super::{Parser, Result, UNSUPPORTED, fail, is_constant, unexpected};

/// An operand and what is known of it.
pub(super) struct Parsed {
    /// Where the operand begins, or its last member.
    at: usize,
    pub(super) operand: Operand,
    pub(super) kind: Kind,
    /// The last member of its path, where it is known.
    last: Option<&'static Member>,
}

impl Parsed {
    /// Whether it can take as many arguments.
    pub(super) fn check(&self, given: usize) -> Result<()> {
        match self.last {
            Some(member) => {
                let takes = (member.arguments, member.arguments);
                check_count(self.at, member.name, takes, given)
            }
            None if self.operand.is_path() => Ok(()),
            None => check_count(self.at, "a value", (0, 0), given),
        }
    }
}

/// Whether `given` is between the fewest and the most.
pub(super) fn check_count(
    at: usize,
    name: &str,
    (fewest, most): (usize, usize),
    given: usize,
) -> Result<()> {
    if (fewest..=most).contains(&given) {
        return Ok(());
    }
    let plural = if fewest == 1 { "" } else { "s" };
    let takes = match (fewest, most) {
        (0, 0) => "no arguments".to_owned(),
        (_, usize::MAX) => format!("at least {fewest} argument{plural}"),
        _ => format!("{fewest} argument{plural}"),
    };
    let name = name.to_owned();
    fail(at, Problem::Arguments { name, takes, given })
}

/// What a function yields.
pub(super) fn kind(function: Function, arguments: &[Kind], piped: bool) -> Kind {
    let plain = arguments.iter().all(|kind| matches!(kind, Kind::Plain));
    match function {
        Function::And | Function::Or if piped || !plain => Kind::Unknown,
        _ => Kind::Plain,
    }
}

/// The function of this name.
pub(super) fn function(at: usize, word: &TokenKind) -> Result<Function> {
    let name = word.to_string();
    if let Some(function) = Function::ALL.into_iter().find(|it| it.name() == name) {
        return Ok(function);
    }
    if UNSUPPORTED.contains(&name.as_str()) {
        return fail(at, Problem::Unsupported { what: name });
    }
    fail(at, Problem::Function { name })
}

impl Parser {
    /// A literal, or a path with its members looked up.
    pub(super) fn operand(&mut self) -> Result<Parsed> {
        let at = self.at();
        let operand = match self.next().kind {
            TokenKind::Quoted(text) => Operand::Text(text),
            TokenKind::Number(number) => Operand::Number(number),
            TokenKind::Word(word) if is_constant(&word) => Operand::Flag(word == "true"),
            TokenKind::Dot => Operand::Path(Base::Root, Vec::new()),
            TokenKind::Root => return self.path(at, Base::Root, Kind::Subject(self.root), None),
            TokenKind::Field(name) => {
                return self.path(at, Base::Root, Kind::Subject(self.root), Some(name));
            }
            TokenKind::OpenParenthesis => {
                let (pipeline, kind) = self.parenthesized()?;
                return self.path(at, Base::Pipeline(Box::new(pipeline)), kind, None);
            }
            word @ TokenKind::Word(_) => {
                function(at, &word)?;
                return fail(at, unexpected(&word, "parentheses round a function's call"));
            }
            other => return fail(at, unexpected(&other, "a value")),
        };
        self.end_of_operand()?;
        let kind = match &operand {
            Operand::Path(..) => Kind::Subject(self.root),
            _ => Kind::Plain,
        };
        let last = None;
        Ok(Parsed {
            at,
            operand,
            kind,
            last,
        })
    }

    /// The members behind what a path begins with.
    fn path(
        &mut self,
        at: usize,
        base: Base,
        mut kind: Kind,
        first: Option<String>,
    ) -> Result<Parsed> {
        let mut names = Vec::new();
        let mut last: Option<&'static Member> = None;
        let (mut at, mut next) = (at, first.map(|name| (at, name)));
        while let Some((place, name)) = next.take().or_else(|| self.field()) {
            if let Some(member) = last {
                check_count(at, member.name, (member.arguments, member.arguments), 0)?;
            }
            at = place;
            last = member(at, kind, &name)?;
            kind = last.map_or(Kind::Unknown, |member| member.kind);
            names.push(name);
        }
        self.end_of_operand()?;
        let operand = Operand::Path(base, names);
        Ok(Parsed {
            at,
            operand,
            kind,
            last,
        })
    }

    fn field(&mut self) -> Option<(usize, String)> {
        let is_field = matches!(self.peek(), Some(TokenKind::Field(_)));
        let token = self.tokens.next_if(|_| is_field)?;
        match token.kind {
            TokenKind::Field(name) => Some((token.at, name)),
            _ => None,
        }
    }

    /// Go wants spaces between operands.
    fn end_of_operand(&mut self) -> Result<()> {
        match self.peek() {
            None
            | Some(
                TokenKind::Space | TokenKind::Pipe | TokenKind::Close | TokenKind::CloseParenthesis,
            ) => Ok(()),
            Some(other) => {
                let problem = unexpected(&other, "a space, | or the end");
                fail(self.at(), problem)
            }
        }
    }
}

/// A member of this name, if what has it is known.
fn member(at: usize, of: Kind, name: &str) -> Result<Option<&'static Member>> {
    let missing = |of: &'static str, has: &[&str]| {
        let (name, has) = (name.to_owned(), has.join(", "));
        fail(at, Problem::Member { of, name, has })
    };
    match of {
        Kind::Unknown => Ok(None),
        Kind::Plain => missing("a text", &["no members"]),
        Kind::Subject(shape) => match shape.member(name) {
            Some(member) => Ok(Some(member)),
            None => missing(shape.name, &names(shape)),
        },
    }
}

fn names(shape: &Shape) -> Vec<&'static str> {
    shape.members.iter().map(|member| member.name).collect()
}
