//! What the synthetic agents send: a payload for each row of the protocol table.
//!
//! Messages are small but whole: names, times and values stand where an OAP reads them. Everything
//! is encoded before the first agent starts.
//!
//! - `skywalking`: the agents' own protocols. `envoy`, `otlp`: what comes from elsewhere.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use perigee_protocols::Found;
use prost::Message;

mod envoy;
mod otlp;
mod skywalking;

/// Instances that each protocol's messages come from, in turn.
pub(super) const INSTANCES: usize = 6;

/// Bytes of a profiler file, and of the pieces in which agents send it.
const FILE: usize = 256 * 1024;
const PIECE: usize = 32 * 1024;

/// What is sent on one row.
pub(super) enum Payload {
    /// Messages to be sent over and over.
    Messages(Vec<Bytes>),
    /// A profiler file, sent once.
    Upload(Upload),
}

/// A profiler file.
pub(super) struct Upload {
    /// The first message, which the OAP answers.
    pub(super) metadata: Bytes,
    /// The messages after the answer.
    pub(super) pieces: Vec<Bytes>,
    /// What the pieces hold.
    pub(super) content: Vec<u8>,
}

/// Whose message it is, and when.
struct Who {
    service: String,
    instance: String,
    /// Milliseconds.
    now: i64,
}

/// Service that all messages of a pipe name: a sink tells by it what came over a path that two
/// pipes share.
pub(super) fn service(pipe: &str) -> String {
    format!("demo-{pipe}")
}

/// The payload of a row; `None` if nobody has written one.
pub(super) fn of(row: &Found) -> Option<Payload> {
    let request = row.method.request;
    let whos = (1..=INSTANCES).map(|number| who(row.protocol.pipe, number));
    if let Some(upload) = skywalking::upload(request, &who(row.protocol.pipe, 1), &file()) {
        return Some(Payload::Upload(upload));
    }
    let encode = |who: Who| {
        skywalking::message(request, &who)
            .or_else(|| envoy::message(request, &who))
            .or_else(|| otlp::message(request, &who))
    };
    let messages = whos.map(encode).collect::<Option<Vec<_>>>()?;
    Some(Payload::Messages(messages))
}

fn who(pipe: &str, number: usize) -> Who {
    let service = service(pipe);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Who {
        instance: format!("{service}-{number}"),
        service,
        now: now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(0)),
    }
}

/// Not a repeated block: a piece that is lost or out of place shows in the hash.
fn file() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(71);
    std::iter::repeat_with(|| random.u8(..))
        .take(FILE)
        .collect()
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, DynamicMessage};

    use super::*;

    #[test]
    fn every_row_has_a_payload_that_is_the_rows_message() {
        let pool = DescriptorPool::decode(perigee_proto::DESCRIPTORS).unwrap();
        for row in perigee_protocols::rows() {
            let path = row.method.path;
            let payload = of(&row).unwrap_or_else(|| panic!("no payload for {path}"));
            let messages = match payload {
                Payload::Messages(messages) => messages,
                Payload::Upload(upload) => [vec![upload.metadata], upload.pieces].concat(),
            };
            let request = pool.get_message_by_name(row.method.request).unwrap();
            for message in messages {
                assert!(!message.is_empty(), "{path}");
                let decoded = DynamicMessage::decode(request.clone(), message).unwrap();
                let strange = decoded.unknown_fields().count();
                assert_eq!(strange, 0, "{path}: fields that the message does not have");
            }
        }
    }

    #[test]
    fn pieces_of_a_file_make_the_file() {
        let row = perigee_protocols::find("/skywalking.v10.PprofTask/collect").unwrap();
        let Some(Payload::Upload(upload)) = of(&row) else {
            panic!("no upload");
        };
        assert_eq!(upload.content.len(), FILE);
        assert_eq!(upload.pieces.len(), FILE / PIECE);
    }
}
