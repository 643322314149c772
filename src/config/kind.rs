//! What a value may be: one enum that parses, says what is allowed, and knows how a value is shown.

use std::time::Duration;

use regex::Regex;

use super::tree::{Raw, Scalar};
use super::units;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text, kept letter for letter.
    Text,
    /// Text that is not shown.
    Secret,
    /// Text that is not empty.
    Name,
    /// A path of a URL.
    UrlPath,
    /// A truth value.
    Flag,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Some of these, with commas between.
    Choices(&'static [&'static str]),
    /// A whole number of something.
    Whole {
        /// What is counted; may be empty.
        unit: &'static str,
        /// Least.
        least: u64,
        /// Most.
        most: u64,
    },
    /// A duration as Go writes it.
    Duration {
        /// Least, in milliseconds.
        least: u64,
        /// Most, in hours.
        hours: u64,
    },
    /// A number of bytes.
    Bytes {
        /// Least.
        least: u64,
        /// Most.
        most: u64,
    },
    /// Where to listen.
    Listen,
    /// One address with a port.
    Server,
    /// Addresses with ports and commas between, or a list of address and weight.
    Servers,
    /// A regular expression.
    Regex,
    /// Anything: nothing is done with it.
    Anything,
}

impl Kind {
    /// Whether the value is allowed.
    pub(super) fn accepts(self, scalar: &Scalar) -> bool {
        match self {
            Self::Text | Self::Secret | Self::Anything => true,
            Self::Name => !scalar.text.trim().is_empty(),
            Self::UrlPath => is_url_path(&scalar.text),
            Self::Flag => flag(scalar).is_some(),
            Self::Choice(allowed) => allowed
                .iter()
                .any(|word| word.eq_ignore_ascii_case(&scalar.text)),
            Self::Choices(allowed) => split(&scalar.text).all(|word| allowed.contains(&word)),
            Self::Whole { least, most, .. } => {
                whole(scalar).is_some_and(|number| (least..=most).contains(&number))
            }
            Self::Duration { least, hours } => {
                units::duration(&scalar.text).is_some_and(|duration| {
                    duration >= Duration::from_millis(least)
                        && duration <= Duration::from_secs(hours * 3_600)
                })
            }
            Self::Bytes { least, most } => {
                units::bytes(&scalar.text).is_some_and(|bytes| (least..=most).contains(&bytes))
            }
            Self::Listen => units::listen_address(&scalar.text).is_some(),
            Self::Server => units::server_address(&scalar.text).is_some(),
            Self::Servers => scalar
                .text
                .split(',')
                .all(|part| units::server_address(part).is_some()),
            Self::Regex => !scalar.text.is_empty() && Regex::new(&scalar.text).is_ok(),
        }
    }

    /// What is allowed, to follow "is not".
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Text | Self::Secret => "text".to_owned(),
            Self::Anything => "any value".to_owned(),
            Self::Name => "text of at least one letter".to_owned(),
            Self::UrlPath => "a path that begins with /".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(allowed) => format!("one of {}", allowed.join(", ")),
            Self::Choices(allowed) => {
                format!(
                    "one or more, with commas between, of {}",
                    allowed.join(", ")
                )
            }
            Self::Whole { unit, least, most } => {
                let of = if unit.is_empty() { "" } else { " of " };
                format!("a whole number{of}{unit} ({least} to {most})")
            }
            Self::Duration { least, hours } => {
                let unit = if least == 0 { "" } else { "ms" };
                format!("a duration such as 5s, 300ms or 1h30m ({least}{unit} to {hours}h)")
            }
            Self::Bytes { least, most } => format!(
                "a number of bytes such as 1048576 or 512MiB ({} to {})",
                units::show_bytes(least),
                units::show_bytes(most)
            ),
            Self::Listen => {
                "a listen address: an IP address, localhost or nothing (all interfaces), \
                 and a port, such as 127.0.0.1:11800 or :11800"
                    .to_owned()
            }
            Self::Server => "host:port (port 1 to 65535, IPv6 in brackets)".to_owned(),
            Self::Servers => {
                "host:port (port 1 to 65535, IPv6 in brackets), several with commas between, \
                 or a list of address and weight"
                    .to_owned()
            }
            Self::Regex => "a regular expression (https://docs.rs/regex/#syntax)".to_owned(),
        }
    }

    /// Whether values stay text whatever they look like.
    pub(super) fn is_text(self) -> bool {
        match self {
            Self::Flag | Self::Whole { .. } | Self::Bytes { .. } => false,
            Self::Anything => false,
            Self::Text
            | Self::Secret
            | Self::Name
            | Self::UrlPath
            | Self::Choice(_)
            | Self::Choices(_)
            | Self::Duration { .. }
            | Self::Listen
            | Self::Server
            | Self::Servers
            | Self::Regex => true,
        }
    }
}

/// A whole number, with Satellite's coercions: `007` is 7 and `0x10p2` is 64.
pub(super) fn whole(scalar: &Scalar) -> Option<u64> {
    match scalar.raw() {
        Raw::Whole(number) => u64::try_from(number).ok(),
        Raw::Real(number) => exact(number),
        Raw::Text => scalar.text.parse().ok(),
        Raw::Null | Raw::Bool(_) => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be whole, not negative and exactly representable"
)]
fn exact(number: f64) -> Option<u64> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && (0.0..=LARGEST).contains(&number)).then_some(number as u64)
}

/// A truth value, with Satellite's coercions: 1 and 0 count, nothing is false.
pub(super) fn flag(scalar: &Scalar) -> Option<bool> {
    match scalar.raw() {
        Raw::Bool(value) => Some(value),
        Raw::Whole(number @ (0 | 1)) => Some(number == 1),
        _ => match scalar.text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(true),
            "false" | "f" | "0" | "" => Some(false),
            _ => None,
        },
    }
}

/// The parts of a list with commas.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn is_url_path(text: &str) -> bool {
    text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
}
