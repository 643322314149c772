//! A realistic `skywalking.v3.LogData`; field numbers are those of `skywalking/v3/logging.proto`.

use anyhow::Result;

use super::protobuf::{self, bytes, message, number, pair};

/// Method that logs are reported to.
pub(super) const METHOD: &str = "/skywalking.v3.LogReportService/collect";

/// A line that an application of the Java agent writes; its text fills it up.
pub(super) fn of_size(size: usize, agent: usize, names_service: bool) -> Result<Vec<u8>> {
    protobuf::of_size("log", size, |padding| log(agent, names_service, padding))
}

fn log(agent: usize, names_service: bool, padding: usize) -> Vec<u8> {
    let mut out = Vec::new();
    number(&mut out, 1, 1_763_726_400_017);
    if names_service {
        bytes(&mut out, 2, service(agent).as_bytes());
    }
    let instance = format!("{}-7d9c5b6f4-x2x7p@10.1.2.3", service(agent));
    bytes(&mut out, 3, instance.as_bytes());
    bytes(&mut out, 4, b"GET:/api/v1/products/{id}");
    message(&mut out, 5, |body| {
        bytes(body, 1, b"TEXT");
        message(body, 2, |text| {
            let mut line = b"2025-11-21 12:00:00.017 [http-nio-8080-exec-7] ERROR \
                c.e.p.ProductController - product 42 has no price: "
                .to_vec();
            line.resize(line.len() + padding, b'x');
            bytes(text, 1, &line);
        });
    });
    message(&mut out, 6, |trace| {
        bytes(
            trace,
            1,
            b"6f0d3c5e7a2b4c1d9e8f7a6b5c4d3e2f.71.17637264000000001",
        );
        bytes(
            trace,
            2,
            b"6f0d3c5e7a2b4c1d9e8f7a6b5c4d3e2f.71.17637264000000000",
        );
        number(trace, 3, 1);
    });
    message(&mut out, 7, |tags| {
        pair(tags, 1, "level", b"ERROR");
        pair(tags, 1, "logger", b"com.example.products.ProductController");
        pair(tags, 1, "thread", b"http-nio-8080-exec-7");
    });
    out
}

/// All are of one length.
fn service(agent: usize) -> String {
    format!("products-{agent:04}")
}

#[cfg(test)]
mod tests {
    use perigee_proto::skywalking::v3::{LogData, log_data_body};
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_log_names_its_service_only_where_it_is_to() {
        for (names_service, service) in [(true, "products-0003"), (false, "")] {
            let log = LogData::decode(&*of_size(1024, 3, names_service).unwrap()).unwrap();
            assert_eq!(log.service, service);
            assert!(
                log.service_instance.starts_with("products-0003-"),
                "{log:?}"
            );
            assert_eq!(log.tags.unwrap().data.len(), 3);
            let Some(log_data_body::Content::Text(text)) = log.body.unwrap().content else {
                panic!("no text");
            };
            assert!(text.text.contains("has no price: xxx"), "{text:?}");
        }
    }
}
