//! From text to tokens.

use std::fmt;

use super::error::{Problem, TemplateError};

mod quoted;

/// A token and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

/// What a template is made of. All but the first stand in actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Text outside of actions, trimmed.
    Text(String),
    Open,
    Close,
    Space,
    /// `.` alone.
    Dot,
    /// `$`.
    Root,
    /// A name behind a dot.
    Field(String),
    /// A name without one.
    Word(String),
    Quoted(String),
    Number(i64),
    OpenParenthesis,
    CloseParenthesis,
    Pipe,
}

/// How it is called in errors.
impl fmt::Display for TokenKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => out.write_str("text"),
            Self::Open => out.write_str("{{"),
            Self::Close => out.write_str("}}"),
            Self::Space => out.write_str("a space"),
            Self::Dot => out.write_str("."),
            Self::Root => out.write_str("$"),
            Self::Field(name) => write!(out, ".{name}"),
            Self::Word(word) => out.write_str(word),
            Self::Quoted(text) => write!(out, "\"{text}\""),
            Self::Number(number) => write!(out, "{number}"),
            Self::OpenParenthesis => out.write_str("("),
            Self::CloseParenthesis => out.write_str(")"),
            Self::Pipe => out.write_str("|"),
        }
    }
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts a template into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::new(),
    };
    let mut trim = false;
    while lexer.at < text.len() {
        trim = lexer.outside(trim)?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error<T>(&self, problem: Problem) -> Result<T, TemplateError> {
        let at = self.at;
        Err(TemplateError { at, problem })
    }

    fn push(&mut self, length: usize, kind: TokenKind) {
        self.tokens.push(Token { at: self.at, kind });
        self.at += length;
    }

    /// Text and the action or comment behind it; whether the next text loses the spaces in front.
    fn outside(&mut self, trim: bool) -> Result<bool, TemplateError> {
        let rest = self.rest();
        let length = rest.find("{{").unwrap_or(rest.len());
        let mut text = &rest[..length];
        let action = &rest[length..];
        // A mark belongs to the delimiter only with a space behind it: `{{-3}}` is a number.
        let marked = action
            .strip_prefix("{{-")
            .is_some_and(|it| it.starts_with(SPACES));
        if trim {
            text = text.trim_start_matches(SPACES);
        }
        if marked {
            text = text.trim_end_matches(SPACES);
        }
        if !text.is_empty() {
            let text = TokenKind::Text(text.to_owned());
            self.tokens.push(Token {
                at: self.at,
                kind: text,
            });
        }
        self.at += length;
        if action.is_empty() {
            return Ok(false);
        }
        let length = if marked { "{{- ".len() } else { "{{".len() };
        if action[length..].starts_with("/*") {
            return self.comment(length);
        }
        self.push(length, TokenKind::Open);
        self.action()
    }

    fn comment(&mut self, open: usize) -> Result<bool, TemplateError> {
        let what = "a comment";
        let body = &self.rest()[open..];
        let Some(end) = body.find("*/") else {
            return self.error(Problem::Unclosed { what });
        };
        self.at += open + end + "*/".len();
        let Some((length, trim)) = self.close() else {
            return self.error(Problem::Unclosed { what });
        };
        self.at += length;
        Ok(trim)
    }

    /// How long the closing delimiter is, if one is here, and whether it trims.
    fn close(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some((2, false));
        }
        let marked = rest.starts_with(SPACES) && rest[1..].starts_with("-}}");
        marked.then_some((4, true))
    }

    /// The tokens of an action up to its end; whether it trims what follows.
    fn action(&mut self) -> Result<bool, TemplateError> {
        let start = self.at;
        loop {
            if let Some((length, trim)) = self.close() {
                self.push(length, TokenKind::Close);
                return Ok(trim);
            }
            let rest = self.rest();
            let Some(letter) = rest.chars().next() else {
                self.at = start;
                return self.error(Problem::Unclosed { what: "an action" });
            };
            match letter {
                _ if SPACES.contains(&letter) => {
                    if self.tokens.last().map(|it| &it.kind) == Some(&TokenKind::Space) {
                        self.at += 1;
                    } else {
                        self.push(1, TokenKind::Space);
                    }
                }
                '|' => self.push(1, TokenKind::Pipe),
                '(' => self.push(1, TokenKind::OpenParenthesis),
                ')' => self.push(1, TokenKind::CloseParenthesis),
                '"' | '`' => self.quoted()?,
                '.' => self.field()?,
                '$' => self.variable()?,
                '+' | '-' | '0'..='9' => self.number()?,
                _ if is_letter(letter) => self.word()?,
                ':' | '=' | ',' | '\'' => {
                    let what = format!("{letter} in an action");
                    return self.error(Problem::Unsupported { what });
                }
                _ => return self.unexpected(letter),
            }
        }
    }

    fn unexpected<T>(&self, letter: char) -> Result<T, TemplateError> {
        self.error(Problem::Unexpected {
            found: letter.to_string(),
            expected: "a name, a string, a number or a parenthesis",
        })
    }

    fn field(&mut self) -> Result<(), TemplateError> {
        let name = name(&self.rest()[1..]);
        if name.is_empty() {
            self.push(1, TokenKind::Dot);
            return Ok(());
        }
        self.push(1 + name.len(), TokenKind::Field(name.to_owned()));
        self.end_of_word()
    }

    fn variable(&mut self) -> Result<(), TemplateError> {
        let name = name(&self.rest()[1..]);
        if !name.is_empty() {
            let what = format!("the variable ${name}");
            return self.error(Problem::Unsupported { what });
        }
        self.push(1, TokenKind::Root);
        Ok(())
    }

    fn word(&mut self) -> Result<(), TemplateError> {
        let word = name(self.rest());
        self.push(word.len(), TokenKind::Word(word.to_owned()));
        self.end_of_word()
    }

    /// Names run on until one of these.
    fn end_of_word(&self) -> Result<(), TemplateError> {
        let rest = self.rest();
        match rest.chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | '(' | ')') => Ok(()),
            Some(_) if rest.starts_with("}}") => Ok(()),
            Some(letter) => self.unexpected(letter),
        }
    }

    fn number(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let length = sign + name(&rest[sign..]).len();
        let text = &rest[..length];
        let digits = &text[sign..];
        // Go reads `010` as eight.
        let plain = digits == "0" || !digits.starts_with('0');
        let number = text.parse().ok().filter(|_| plain);
        match number {
            Some(number) => self.push(length, TokenKind::Number(number)),
            None => {
                let text = text.to_owned();
                return self.error(Problem::Number { text });
            }
        }
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let what = "a string";
        let Some(length) = quoted::length(rest) else {
            return self.error(Problem::Unclosed { what });
        };
        let Some(text) = quoted::value(&rest[..length]) else {
            let text = rest[..length].to_owned();
            return self.error(Problem::Quoted { text });
        };
        self.push(length, TokenKind::Quoted(text));
        Ok(())
    }
}

fn is_letter(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

/// The letters and digits at the beginning.
fn name(text: &str) -> &str {
    let end = text.find(|letter| !is_letter(letter));
    &text[..end.unwrap_or(text.len())]
}
