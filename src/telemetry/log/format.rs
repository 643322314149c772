//! One event as one line of text, by Satellite's pattern.
//!
//! Satellite replaces the first occurrence of each token and ends the line unless the pattern does
//! (`internal/pkg/log/log.go`). Levels are spelled as logrus spells them.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::LogOptions;
use super::time::{Layout, write_rfc3339};

/// How lines are made.
#[derive(Clone, Debug)]
pub(super) enum LineFormat {
    Text(Pattern),
    Json,
}

impl LineFormat {
    pub(super) fn new(options: &LogOptions) -> Self {
        if options.json {
            return Self::Json;
        }
        Self::Text(Pattern::parse(&options.pattern, &options.time_pattern))
    }

    /// The line that tells of dropped lines, made without the subscriber: the writer thread must
    /// not wait for room in its own channel.
    pub(super) fn dropped(&self, lines: u64, now: SystemTime) -> String {
        let mut text = String::new();
        let message = "log lines dropped: standard output is too slow";
        let fields = format!("lines={lines}");
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Text(pattern) => pattern.write(&mut text, now, "warning", &fields, message),
            Self::Json => write_rfc3339(&mut text, now).map(|()| {
                text = format!(
                    "{{\"timestamp\":\"{text}\",\"level\":\"WARN\",\"message\":\"{message}\",\
                     \"lines\":{lines},\"target\":\"{}\"}}\n",
                    module_path!()
                );
            }),
        };
        text
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Time,
    Level,
    Fields,
    Message,
}

/// Satellite's pattern, split once.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    tokens: Arc<[Token]>,
    time: Layout,
}

impl Pattern {
    pub(super) fn parse(pattern: &str, time_pattern: &str) -> Self {
        let mut unseen = vec![
            ("%time", Token::Time),
            ("%level", Token::Level),
            ("%field", Token::Fields),
            ("%msg", Token::Message),
        ];
        let mut tokens = Vec::new();
        let mut rest = pattern;
        let next = |rest: &str, unseen: &[(&'static str, Token)]| {
            let places = unseen.iter().enumerate();
            let places = places.filter_map(|(index, (word, _))| Some((rest.find(word)?, index)));
            places.min()
        };
        while let Some((place, index)) = next(rest, &unseen) {
            let (word, token) = unseen.remove(index);
            tokens.push(Token::Text(rest[..place].to_owned()));
            tokens.push(token);
            rest = &rest[place + word.len()..];
        }
        let end = if pattern.contains('\n') { "" } else { "\n" };
        tokens.push(Token::Text(format!("{rest}{end}")));
        Self {
            tokens: tokens.into(),
            time: Layout::parse(time_pattern),
        }
    }

    fn write(
        &self,
        out: &mut impl Write,
        now: SystemTime,
        level: &str,
        fields: &str,
        message: &str,
    ) -> fmt::Result {
        for token in self.tokens.iter() {
            match token {
                Token::Text(text) => out.write_str(text)?,
                Token::Time => self.time.write(out, now)?,
                Token::Level => out.write_str(level)?,
                Token::Fields => out.write_str(fields)?,
                Token::Message => out.write_str(message)?,
            }
        }
        Ok(())
    }
}

impl<S, N> FormatEvent<S, N> for Pattern
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let level = word(*event.metadata().level());
        let now = SystemTime::now();
        self.write(&mut out, now, level, &parts.fields, &parts.message)
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// An event's message, and its fields as `name=value` with commas between them.
#[derive(Default)]
struct Parts {
    message: String,
    fields: String,
}

impl Parts {
    fn record(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let out = if field.name() == "message" {
            &mut self.message
        } else {
            let comma = if self.fields.is_empty() { "" } else { "," };
            self.fields.push_str(comma);
            self.fields.push_str(field.name());
            self.fields.push('=');
            &mut self.fields
        };
        // Writing to a string cannot fail.
        let _ = OneLine(out).write_fmt(value);
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format_args!("{value:?}"));
    }
}

/// Escapes control characters: text from the network must not begin a line of its own.
struct OneLine<'a>(&'a mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() {
                self.0.extend(c.escape_default());
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pattern: &str) -> String {
        let mut text = String::new();
        let pattern = Pattern::parse(pattern, "2006");
        let now = SystemTime::UNIX_EPOCH;
        pattern
            .write(&mut text, now, "info", "a=1", "%level")
            .unwrap();
        text
    }

    #[test]
    fn the_first_of_each_token_is_replaced() {
        assert_eq!(
            line("%time [%level][%field] - %msg"),
            "1970 [info][a=1] - %level\n"
        );
        assert_eq!(line("%msg%msg %x"), "%level%msg %x\n");
        assert_eq!(line("plain"), "plain\n");
    }

    #[test]
    fn a_pattern_with_a_line_end_gets_no_second_one() {
        assert_eq!(line("%level\n"), "info\n");
    }
}
