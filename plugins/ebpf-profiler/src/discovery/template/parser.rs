//! From tokens to a template that fits a shape.

use super::error::{Problem, TemplateError};
use super::lexer::{self, Token, TokenKind};
use super::shape::{Kind, Shape};
use super::syntax::{Command, Node, Operand, Pipeline};

mod operand;

use operand::{Parsed, function};

/// Parentheses and conditions in one another.
const DEPTH: usize = 64;
/// What Go knows and nobody needs in a name.
const UNSUPPORTED: [&str; 16] = [
    "block", "break", "call", "continue", "define", "html", "index", "js", "nil", "println",
    "range", "slice", "template", "urlquery", "with", "try",
];

type Result<T> = std::result::Result<T, TemplateError>;

/// Parses a template about a root of this shape.
pub(super) fn parse(text: &str, root: &'static Shape) -> Result<Vec<Node>> {
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        end: text.len(),
        root,
        depth: 0,
    };
    let (nodes, ending) = parser.nodes()?;
    match ending {
        Ending::Text => Ok(nodes),
        Ending::Else(at) => fail(at, unexpected("else", "an if before it")),
        Ending::End(at) => fail(at, unexpected("end", "an if before it")),
    }
}

/// What ends a list of nodes.
enum Ending {
    Text,
    /// `{{else`, read so far.
    Else(usize),
    /// `{{end}}`.
    End(usize),
}

/// What ends a pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Action,
    Parenthesis,
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// Where the text ends.
    end: usize,
    root: &'static Shape,
    depth: usize,
}

fn fail<T>(at: usize, problem: Problem) -> Result<T> {
    Err(TemplateError { at, problem })
}

fn unexpected(found: &(impl ToString + ?Sized), expected: &'static str) -> Problem {
    let found = found.to_string();
    Problem::Unexpected { found, expected }
}

impl Parser {
    /// The next token; a closing delimiter where there is none, which the lexer makes impossible.
    fn next(&mut self) -> Token {
        let end = Token {
            at: self.end,
            kind: TokenKind::Close,
        };
        self.tokens.next().unwrap_or(end)
    }

    fn peek(&mut self) -> Option<&TokenKind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    /// Where the next token begins.
    fn at(&mut self) -> usize {
        self.tokens.peek().map_or(self.end, |token| token.at)
    }

    fn skip_space(&mut self) {
        self.tokens.next_if(|token| token.kind == TokenKind::Space);
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH {
            return fail(self.at(), Problem::TooDeep);
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Ending)> {
        let mut nodes = Vec::new();
        while let Some(token) = self.tokens.next() {
            if let TokenKind::Text(text) = token.kind {
                nodes.push(Node::Text(text));
                continue;
            }
            self.skip_space();
            let at = self.at();
            match self.peek() {
                Some(TokenKind::Word(word)) if word == "if" => {
                    self.next();
                    nodes.push(self.deeper(|it| it.condition(at))?);
                }
                Some(TokenKind::Word(word)) if word == "else" => {
                    self.next();
                    return Ok((nodes, Ending::Else(at)));
                }
                Some(TokenKind::Word(word)) if word == "end" => {
                    self.next();
                    self.close("the end of {{end")?;
                    return Ok((nodes, Ending::End(at)));
                }
                _ => nodes.push(self.print(at)?),
            }
        }
        Ok((nodes, Ending::Text))
    }

    fn print(&mut self, at: usize) -> Result<Node> {
        let (pipeline, kind) = self.pipeline(Closing::Action)?;
        match kind {
            Kind::Subject(shape) => fail(at, unexpected(shape.name, "one of its members")),
            Kind::Plain | Kind::Unknown => Ok(Node::Print(pipeline)),
        }
    }

    fn close(&mut self, expected: &'static str) -> Result<()> {
        self.skip_space();
        let token = self.next();
        match token.kind {
            TokenKind::Close => Ok(()),
            other => fail(token.at, unexpected(&other, expected)),
        }
    }

    /// What follows `{{if`, up to its `{{end}}`.
    fn condition(&mut self, at: usize) -> Result<Node> {
        let mut branches = Vec::new();
        loop {
            let (pipeline, _) = self.pipeline(Closing::Action)?;
            let (nodes, ending) = self.nodes()?;
            branches.push((pipeline, nodes));
            match ending {
                Ending::Text => return fail(at, Problem::Unclosed { what: "an if" }),
                Ending::End(_) => break,
                Ending::Else(_) => self.skip_space(),
            }
            let is_if = |token: &Token| token.kind == TokenKind::Word("if".to_owned());
            if self.tokens.next_if(is_if).is_some() {
                continue;
            }
            self.close("if, or the end of {{else")?;
            let otherwise = match self.nodes()? {
                (nodes, Ending::End(_)) => nodes,
                (_, Ending::Text) => return fail(at, Problem::Unclosed { what: "an if" }),
                (_, Ending::Else(at)) => return fail(at, unexpected("else", "end")),
            };
            return Ok(Node::If {
                branches,
                otherwise,
            });
        }
        Ok(Node::If {
            branches,
            otherwise: Vec::new(),
        })
    }

    /// Commands up to what closes them, and what the last one yields.
    fn pipeline(&mut self, closing: Closing) -> Result<(Pipeline, Kind)> {
        let mut commands = Vec::new();
        loop {
            let (command, kind) = self.command(!commands.is_empty())?;
            commands.push(command);
            let token = self.next();
            match (token.kind, closing) {
                (TokenKind::Pipe, _) => {}
                (TokenKind::Close, Closing::Action)
                | (TokenKind::CloseParenthesis, Closing::Parenthesis) => {
                    return Ok((Pipeline(commands), kind));
                }
                (TokenKind::Close, Closing::Parenthesis) => {
                    let what = "a parenthesis";
                    return fail(token.at, Problem::Unclosed { what });
                }
                (other, _) => return fail(token.at, unexpected(&other, "a space, | or the end")),
            }
        }
    }

    /// A function or an operand with its arguments. What is piped into it is one argument more.
    fn command(&mut self, piped: bool) -> Result<(Command, Kind)> {
        self.skip_space();
        let at = self.at();
        let head = match self
            .tokens
            .next_if(|token| matches!(&token.kind, TokenKind::Word(word) if !is_constant(word)))
        {
            Some(token) => Err(function(at, &token.kind)?),
            None => Ok(self.operand()?),
        };
        let arguments = self.arguments()?;
        let given = arguments.len() + usize::from(piped);
        let kinds: Vec<Kind> = arguments.iter().map(|it| it.kind).collect();
        let operands = arguments.into_iter().map(|it| it.operand).collect();
        match head {
            Err(function) => {
                operand::check_count(at, function.name(), function.arguments(), given)?;
                let kind = operand::kind(function, &kinds, piped);
                Ok((Command::Call(function, operands), kind))
            }
            Ok(head) => {
                head.check(given)?;
                Ok((Command::Operand(head.operand, operands), head.kind))
            }
        }
    }

    /// Operands with spaces in front.
    fn arguments(&mut self) -> Result<Vec<Parsed>> {
        let mut arguments = Vec::new();
        while self.peek() == Some(&TokenKind::Space) {
            self.skip_space();
            if let Some(TokenKind::Pipe | TokenKind::Close | TokenKind::CloseParenthesis) =
                self.peek()
            {
                break;
            }
            let argument = self.operand()?;
            argument.check(0)?;
            arguments.push(argument);
        }
        Ok(arguments)
    }

    /// The pipeline behind an opening parenthesis.
    fn parenthesized(&mut self) -> Result<(Pipeline, Kind)> {
        self.deeper(|it| it.pipeline(Closing::Parenthesis))
    }
}

fn is_constant(word: &str) -> bool {
    matches!(word, "true" | "false")
}

impl Operand {
    /// Whether arguments can follow it.
    fn is_path(&self) -> bool {
        matches!(self, Self::Path(_, names) if !names.is_empty())
    }
}
