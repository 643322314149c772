//! What of a client's metadata is forwarded.
//!
//! An OAP refuses a header list over 8192 bytes, and one of 16 KiB makes it end the whole
//! connection with every call on it (`protocols.md`, "Metadata"). So the names are an allow-list
//! and the sum is bounded well below: no client's headers can cut a connection that all share.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Longest sum of forwarded names and values. Half of what an OAP accepts.
pub const FORWARDED_BYTES: usize = 4096;

/// Longest token that is forwarded, a caller's or ours. Leaves room for the other names.
pub const LONGEST_TOKEN: usize = FORWARDED_BYTES - 512;

/// Longest header list that a client may send (HTTP/2's measure: 32 bytes added to each field).
pub const ACCEPTED_BYTES: usize = 8192;

/// The caller's token.
pub const AUTHENTICATION: HeaderName = HeaderName::from_static("authentication");

/// Names that reach the OAP on live calls, besides the token.
const FORWARDED: [HeaderName; 3] = [
    HeaderName::from_static("agent-version"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// The part of the metadata that is forwarded, with our own token in place of the caller's.
pub fn forwardable(headers: &HeaderMap, own: Option<&HeaderValue>) -> HeaderMap {
    let mut forwarded = HeaderMap::new();
    let mut bytes = 0;
    if let Some(token) = own.or_else(|| token(headers)) {
        bytes += AUTHENTICATION.as_str().len() + token.len();
        forwarded.insert(AUTHENTICATION, token.clone());
    }
    for name in &FORWARDED {
        for value in headers.get_all(name) {
            bytes += name.as_str().len() + value.len();
            if bytes > FORWARDED_BYTES {
                return forwarded;
            }
            forwarded.append(name.clone(), value.clone());
        }
    }
    forwarded
}

/// The caller's token, if it has one that may be forwarded: of several the last, which is the one
/// that grpc-java looks at.
pub fn token(headers: &HeaderMap) -> Option<&HeaderValue> {
    tokens(headers)
        .last()
        .filter(|token| token.len() <= LONGEST_TOKEN)
}

/// Every token that the caller has sent. An empty one is none: Go agents send it when none is
/// configured.
pub fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    let tokens = headers.get_all(AUTHENTICATION).into_iter();
    tokens.filter(|token| !token.is_empty())
}

/// The size of a header list in HTTP/2's measure.
pub fn size(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

/// When the caller stops waiting, by its `grpc-timeout`. One that is malformed is ignored, as
/// grpc-java does.
pub fn deadline(headers: &HeaderMap, now: Instant) -> Option<Instant> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    };
    now.checked_add(timeout)
}

/// A `grpc-timeout` value for what is left, in the finest unit that fits eight digits.
pub fn timeout_value(left: Duration) -> HeaderValue {
    let micros = left.as_micros();
    let text = if micros < 100_000_000 {
        format!("{micros}u")
    } else if left.as_millis() < 100_000_000 {
        format!("{}m", left.as_millis())
    } else {
        format!("{}S", left.as_secs().min(99_999_999))
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("0u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn only_listed_names_are_forwarded_and_never_more_than_the_bound() {
        let long = "x".repeat(FORWARDED_BYTES);
        let sent = headers(&[
            ("authentication", "token"),
            ("agent-version", "9.8.0"),
            ("x-forwarded-for", "10.0.0.1"),
            ("grpc-encoding", &long),
        ]);
        let forwarded = forwardable(&sent, None);
        assert_eq!(
            forwarded.get("authentication"),
            Some(&HeaderValue::from_static("token"))
        );
        assert_eq!(forwarded.len(), 2, "{forwarded:?}");
    }

    #[test]
    fn the_last_token_that_is_not_empty_travels_alone_unless_we_have_our_own() {
        let ours = HeaderValue::from_static("ours");
        for sent in [
            &["theirs"][..],
            &["", "theirs"],
            &["theirs", ""],
            &["x", "theirs"],
        ] {
            let fields: Vec<_> = sent
                .iter()
                .map(|token| ("authentication", *token))
                .collect();
            let sent = headers(&fields);
            assert_eq!(token(&sent), Some(&HeaderValue::from_static("theirs")));
            for (own, expected) in [(None, "theirs"), (Some(&ours), "ours")] {
                let forwarded = forwardable(&sent, own);
                let travels: Vec<_> = forwarded.get_all(AUTHENTICATION).into_iter().collect();
                assert_eq!(travels, [expected], "{fields:?}");
            }
        }
        let none = headers(&[("authentication", "")]);
        assert!(forwardable(&none, None).is_empty());
    }

    #[test]
    fn a_token_travels_up_to_its_bound_and_leaves_room_for_the_others() {
        for (length, travels) in [(LONGEST_TOKEN, true), (LONGEST_TOKEN + 1, false)] {
            let long = "t".repeat(length);
            let sent = headers(&[("authentication", &long), ("agent-version", "9.8.0")]);
            let forwarded = forwardable(&sent, None);
            assert_eq!(forwarded.contains_key(AUTHENTICATION), travels, "{length}");
            assert!(forwarded.contains_key("agent-version"), "{length}");
        }
    }

    #[test]
    fn every_unit_of_a_timeout_is_read() {
        let now = Instant::now();
        for (text, millis) in [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3000),
            ("4m", 4),
            ("29596483u", 29596),
        ] {
            let at = deadline(&headers(&[("grpc-timeout", text)]), now).expect(text);
            assert_eq!((at - now).as_millis(), millis, "{text}");
        }
        for text in ["", "S", "1", "123456789S", "-1S", "1s"] {
            assert_eq!(
                deadline(&headers(&[("grpc-timeout", text)]), now),
                None,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_timeout_value_has_at_most_eight_digits() {
        for left in [
            Duration::ZERO,
            Duration::from_secs(99),
            Duration::from_secs(1 << 40),
        ] {
            let value = timeout_value(left);
            assert!(value.len() <= 9, "{value:?}");
        }
        assert_eq!(timeout_value(Duration::from_millis(1500)), "1500000u");
    }
}
