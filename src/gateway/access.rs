//! Whether a caller may call: the check of `authentication`, as an OAP does it.

use std::collections::HashSet;

use http::HeaderMap;

use crate::config::settings::TokenCheck;
use crate::engine::metadata;

/// The token that callers need.
pub struct Access {
    token: Box<[u8]>,
    exempt: HashSet<&'static str>,
}

impl Access {
    /// As configured.
    pub fn new(check: &TokenCheck) -> Self {
        Self {
            token: check.token.as_bytes().into(),
            exempt: check.exempt.iter().copied().collect(),
        }
    }

    /// Whether the call has the token, or has none where none is needed. One that has another is
    /// refused everywhere; so is one that has ours and another, whichever an OAP would look at.
    pub fn admits(&self, path: &str, headers: &HeaderMap) -> bool {
        let mut tokens = metadata::tokens(headers).peekable();
        if tokens.peek().is_none() {
            return self.exempt.contains(path);
        }
        tokens.all(|token| is_same(token.as_bytes(), &self.token))
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
        access.admits(path, &headers)
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
