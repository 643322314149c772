//! gRPC status: a code and a text.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderValue};

/// gRPC status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the definition")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

const NAMES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

impl Code {
    /// The code of a `grpc-status` value; what is not a code is `UNKNOWN`.
    pub fn from_header(value: &HeaderValue) -> Self {
        let number = value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<usize>().ok());
        number
            .and_then(|number| NAMES.get(number))
            .map_or(Self::Unknown, |(code, _)| *code)
    }

    /// The name in capitals.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text, for people.
    pub message: Cow<'static, str>,
}

impl Status {
    /// A status.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// From a header block that may hold one.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let code = Code::from_header(headers.get("grpc-status")?);
        let message = headers
            .get("grpc-message")
            .map(|text| percent_decode(text.as_bytes()));
        Some(Self::new(code, message.unwrap_or_default()))
    }

    /// Writes it into trailers.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        headers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if !self.message.is_empty()
            && let Ok(text) = HeaderValue::from_str(&percent_encode(&self.message))
        {
            headers.insert("grpc-message", text);
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.code.name())?;
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(out, " {:?}", self.message)
        }
    }
}

/// Printable ASCII but `%` stays (gRPC over HTTP/2, "Status-Message").
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn percent_decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            out.push(high << 4 | low);
            rest = &tail[2..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_number_and_name() {
        for (number, (code, name)) in NAMES.iter().enumerate() {
            assert_eq!(*code as usize, number);
            assert_eq!(code.name(), *name);
            assert_eq!(Code::from_header(&HeaderValue::from(number)), *code);
        }
        assert_eq!(
            Code::from_header(&HeaderValue::from_static("17")),
            Code::Unknown
        );
        assert_eq!(
            Code::from_header(&HeaderValue::from_static("x")),
            Code::Unknown
        );
    }

    #[test]
    fn a_message_survives_the_wire() {
        for text in [
            "layer is required",
            "50 % von 'Größe'\n",
            "%41 literally",
            "%",
            "%4",
        ] {
            let mut headers = HeaderMap::new();
            Status::new(Code::Internal, text).write_to(&mut headers);
            let back = Status::from_headers(&headers).expect("a status");
            assert_eq!(back, Status::new(Code::Internal, text));
        }
    }
}
