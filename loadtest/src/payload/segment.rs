//! A realistic `skywalking.v3.SegmentObject`; field numbers are those of `skywalking/v3/tracing.proto`.

use anyhow::Result;

use super::protobuf::{self, bytes, message, number, pair};

/// Method that segments are reported to.
pub const METHOD: &str = "/skywalking.v3.TraceSegmentReportService/collect";

/// A segment with an entry span and an exit span; the statement of the latter fills it up.
pub(super) fn of_size(size: usize) -> Result<Vec<u8>> {
    protobuf::of_size("segment", size, segment)
}

fn segment(padding: usize) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(
        &mut out,
        1,
        b"6f0d3c5e7a2b4c1d9e8f7a6b5c4d3e2f.71.17637264000000001",
    );
    bytes(
        &mut out,
        2,
        b"6f0d3c5e7a2b4c1d9e8f7a6b5c4d3e2f.71.17637264000000000",
    );
    message(&mut out, 3, |exit| {
        span(
            exit,
            (1, 0),
            "Mysql/JDBI/PreparedStatement/executeQuery",
            (1, 1, 33),
        );
        bytes(exit, 7, b"mysql.default.svc.cluster.local:3306");
        tag(exit, "db.type", b"sql");
        let mut statement = b"SELECT id, name, price FROM products WHERE ".to_vec();
        statement.resize(statement.len() + padding, b'x');
        tag(exit, "db.statement", &statement);
    });
    message(&mut out, 3, |entry| {
        span(entry, (0, u64::MAX), "GET:/api/v1/products/{id}", (0, 3, 1));
        let url = b"http://products.default.svc:8080/api/v1/products/42";
        tag(entry, "url", url);
        tag(entry, "http.method", b"GET");
        tag(entry, "http.status_code", b"200");
    });
    bytes(&mut out, 4, b"products");
    bytes(&mut out, 5, b"products-7d9c5b6f4-x2x7p@10.1.2.3");
    out
}

/// `ids` are the span's own and its parent's, `shape` is its type, layer and component.
fn span(out: &mut Vec<u8>, ids: (u64, u64), operation: &str, shape: (u64, u64, u64)) {
    number(out, 1, ids.0);
    number(out, 2, ids.1);
    number(out, 3, 1_763_726_400_000);
    number(out, 4, 1_763_726_400_017);
    bytes(out, 6, operation.as_bytes());
    number(out, 8, shape.0);
    number(out, 9, shape.1);
    number(out, 10, shape.2);
}

fn tag(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    pair(out, 12, key, value);
}

#[cfg(test)]
mod tests {
    use perigee_proto::skywalking::v3::{SegmentObject, SpanType};
    use prost::Message as _;

    use super::*;

    #[test]
    fn segments_have_the_size_that_was_asked_for() {
        for size in [700, 1024, 8192] {
            assert_eq!(of_size(size).unwrap().len(), size, "size {size}");
        }
        assert!(of_size(100).is_err());
    }

    #[test]
    fn a_segment_is_one_of_an_entry_that_asks_a_database() {
        let segment = SegmentObject::decode(&*of_size(1024).unwrap()).unwrap();
        let [exit, entry] = &*segment.spans else {
            panic!("{segment:?}");
        };
        assert_eq!(segment.service, "products");
        assert_eq!((exit.span_type(), exit.parent_span_id), (SpanType::Exit, 0));
        assert_eq!(
            (entry.span_type(), entry.parent_span_id),
            (SpanType::Entry, -1)
        );
        assert_eq!(exit.tags[1].key, "db.statement");
    }
}
