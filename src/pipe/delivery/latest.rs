//! Messages that say the same of the same instance: within a batch the latest is enough.

use std::collections::HashSet;

use perigee_protocols::peek;

use super::part::Part;
use crate::engine::{PREFIX, messages};

/// What is left of the part, and what is not needed any more, as a part of its own.
pub(super) fn latest(fields: &[&[u32]], part: &Part) -> (Part, Part) {
    let all: Vec<_> = part
        .chunks
        .iter()
        .flat_map(|chunk| messages(chunk).map(move |message| chunk.slice_ref(message)))
        .collect();
    let mut seen = HashSet::new();
    let (mut kept, mut superseded) = (Part::default(), Part::default());
    let mut is_latest = Vec::with_capacity(all.len());
    for message in all.iter().rev() {
        let mut key = Vec::new();
        // What names nobody is nobody's repetition.
        let named = peek::route_key(fields, &message[PREFIX..], &mut key);
        is_latest.push(!named || seen.insert(key));
    }
    for (message, is_latest) in all.into_iter().zip(is_latest.into_iter().rev()) {
        if is_latest {
            kept.add(message, 1);
        } else {
            superseded.add(message, 1);
        }
    }
    (kept, superseded)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn ping(service: &str, instance: &str, layer: &str) -> Vec<u8> {
        let mut body = Vec::new();
        for (number, text) in [(1_u8, service), (2, instance), (3, layer)] {
            if !text.is_empty() {
                body.extend([number << 3 | 2, u8::try_from(text.len()).expect("short")]);
                body.extend(text.as_bytes());
            }
        }
        let mut framed = vec![0, 0, 0, 0, u8::try_from(body.len()).expect("short")];
        framed.extend(body);
        framed
    }

    #[test]
    fn of_each_instance_the_latest_is_left_in_its_order() {
        let pings = [
            ping("a", "1", "old"),
            ping("b", "1", ""),
            ping("", "", "nameless"),
            ping("a", "2", ""),
            ping("a", "1", "new"),
            ping("", "", "nameless"),
        ];
        let mut whole = Part::default();
        whole.add(Bytes::from(pings[..2].concat()), 2);
        whole.add(Bytes::from(pings[2..].concat()), 4);
        let (kept, superseded) = latest(&[&[1], &[2]], &whole);
        assert_eq!(kept.chunks.concat(), pings[1..].concat());
        assert_eq!(superseded.chunks.concat(), pings[0]);
        assert_eq!((kept.count, superseded.count), (5, 1));
        assert_eq!(kept.bytes + superseded.bytes, whole.bytes);
    }
}
