//! Whether a caller may call: the check of `authentication`, as an OAP does it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tracing::warn;

use crate::config::settings::TokenCheck;
use crate::engine::metadata;
use crate::telemetry::log::RateLimited;

/// Between two lines about refused callers: anybody can make one.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Longest part of a path in the log.
const SHOWN_PATH: usize = 256;

/// The token that callers need.
pub struct Access {
    token: Box<[u8]>,
    exempt: HashSet<&'static str>,
    /// Apart, so that neither hides the other.
    missing: RateLimited,
    wrong: RateLimited,
}

/// What is wrong with a caller's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Missing,
    /// It is another one.
    Wrong,
}

impl Access {
    /// As configured.
    pub fn new(check: &TokenCheck) -> Self {
        Self {
            token: check.token.as_bytes().into(),
            exempt: check.exempt.iter().copied().collect(),
            missing: RateLimited::new(LOG_PAUSE),
            wrong: RateLimited::new(LOG_PAUSE),
        }
    }

    /// Whether the call has the token, or has none where none is needed. One that has another is
    /// refused everywhere; so is one that has ours and another, whichever an OAP would look at.
    ///
    /// # Errors
    /// Why it may not call.
    pub fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Fault> {
        let mut tokens = metadata::tokens(headers).peekable();
        let (admitted, fault) = if tokens.peek().is_none() {
            (self.exempt.contains(path), Fault::Missing)
        } else {
            let admitted = tokens.all(|token| is_same(token.as_bytes(), &self.token));
            (admitted, Fault::Wrong)
        };
        if admitted { Ok(()) } else { Err(fault) }
    }

    /// Leaves a trace of a caller that was refused. The token that it had is not shown: it may be
    /// right elsewhere.
    pub fn log_refused(&self, fault: Fault, path: &str, peer: SocketAddr) {
        let (limited, token) = match fault {
            Fault::Missing => (&self.missing, "missing"),
            Fault::Wrong => (&self.wrong, "wrong"),
        };
        if let Some(suppressed) = limited.permit(Instant::now()) {
            let path = path.chars().take(SHOWN_PATH).collect::<String>();
            warn!(%peer, path, token, suppressed, "call refused");
        }
    }
}

/// Takes as long for any text of the same length: an answer's time must not tell how much of a
/// guess is right.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    let pairs = given.iter().zip(wanted);
    let differing = pairs.fold(0, |bits, (given, wanted)| bits | (given ^ wanted));
    given.len() == wanted.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEMPT: &str = "/service/poll";
    const OTHER: &str = "/service/collect";

    fn admits(path: &str, tokens: &[&str]) -> bool {
        let access = Access::new(&TokenCheck {
            token: "secret".to_owned(),
            exempt: vec![EXEMPT],
        });
        let mut headers = HeaderMap::new();
        for token in tokens {
            headers.append(metadata::AUTHENTICATION, token.parse().expect("a value"));
        }
        access.check(path, &headers).is_ok()
    }

    #[test]
    fn nothing_but_the_token_itself_will_do() {
        assert!(admits(OTHER, &["secret"]));
        for wrong in ["secre", "secret2", "Secret", "xxxxxx", "s", "\u{e9}"] {
            assert!(!admits(OTHER, &[wrong]), "{wrong}");
            assert!(!admits(EXEMPT, &[wrong]), "{wrong}");
        }
    }

    #[test]
    fn none_and_an_empty_one_pass_only_where_no_token_is_needed() {
        for none in [&[][..], &[""], &["", ""]] {
            assert!(admits(EXEMPT, none), "{none:?}");
            assert!(!admits(OTHER, none), "{none:?}");
        }
    }

    #[test]
    fn a_second_token_does_not_hide_behind_the_right_one() {
        for both in [["secret", "wrong"], ["wrong", "secret"]] {
            assert!(!admits(OTHER, &both), "{both:?}");
            assert!(!admits(EXEMPT, &both), "{both:?}");
        }
        assert!(admits(OTHER, &["secret", "secret"]));
    }
}
