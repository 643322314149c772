//! The log: `tracing` events to standard output, by Satellite's pattern or as JSON.
//!
//! Whoever logs formats a line and offers it to a bounded channel; one thread writes. A standard
//! output that nobody reads thus never stops the data path: lines that find the channel full are
//! dropped, counted ([`dropped_lines`]) and reported by a line of their own once there is room.
//!
//! Times are UTC, where Satellite prints local time: containers run in UTC, and a time zone
//! database is no dependency worth having for a log.

mod format;
mod rate;
mod time;
mod writer;

use std::io::Write;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};

pub use rate::RateLimited;
pub use time::Layout;
pub use writer::{Guard, dropped_lines};

use format::LineFormat;
use time::Clock;
use writer::{LINES, Notice};

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Satellite's pattern: `%time`, `%level`, `%field`, `%msg`. Ignored by `json`.
    pub pattern: String,
    /// Go's reference-time layout for `%time`. Ignored by `json`, which has RFC 3339.
    pub time_pattern: String,
    /// Lowest level that is written. Libraries write at most INFO.
    pub level: Level,
    /// One JSON object a line instead of the pattern.
    pub json: bool,
}

impl Default for LogOptions {
    /// Satellite's defaults.
    fn default() -> Self {
        Self {
            pattern: "%time [%level][%field] - %msg".to_owned(),
            time_pattern: "2006-01-02 15:04:05.000".to_owned(),
            level: Level::INFO,
            json: false,
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The writer thread could not be started.
    #[error("cannot start the log's writer thread")]
    Thread(#[source] std::io::Error),
    /// A subscriber is already there.
    #[error("a log is already installed in this process")]
    Installed(#[source] tracing::dispatcher::SetGlobalDefaultError),
}

/// Makes the log the process's own, on standard output. Keep the guard until the end: dropping it
/// writes what is left.
///
/// # Errors
///
/// If a log is already installed, or the writer thread cannot be started.
pub fn install(options: &LogOptions) -> Result<Guard, Error> {
    let (dispatch, guard) = start(options, std::io::stdout(), LINES)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(Error::Installed)?;
    Ok(guard)
}

/// A log onto `output` with a channel for that many lines.
fn start<W: Write + Send + 'static>(
    options: &LogOptions,
    output: W,
    lines: usize,
) -> Result<(tracing::Dispatch, Guard), Error> {
    let format = LineFormat::new(options);
    let notice = Notice::new(format.clone());
    let (sender, guard) = writer::start(output, lines, notice).map_err(Error::Thread)?;
    let layer = fmt::layer().with_ansi(false).with_writer(sender);
    let layer = match format {
        LineFormat::Text(pattern) => layer.event_format(pattern).boxed(),
        LineFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_timer(Clock)
            .boxed(),
    };
    let own = LevelFilter::from_level(options.level);
    let libraries = own.min(LevelFilter::INFO);
    let filter = Targets::new()
        .with_default(libraries)
        .with_target("perigee", own);
    let subscriber = Registry::default().with(layer.with_filter(filter));
    Ok((tracing::Dispatch::new(subscriber), guard))
}

#[cfg(test)]
mod tests;
