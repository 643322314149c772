//! A realistic call of Envoy's access log service.
//!
//! Field numbers are those of `envoy/service/accesslog/v3/als.proto` and what it imports; lengths
//! are those of an Envoy 1.40 in a mesh (`protocols.md` T9).

use anyhow::Result;

use super::protobuf::{self, bytes, message, number, pair};

/// Method that access logs are reported to.
pub(super) const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// Extensions that an Envoy lists, in 60 KB.
const EXTENSIONS: usize = 516;

/// What Istio says of a proxy.
const METADATA: [(&str, &str); 9] = [
    ("CLUSTER_ID", "Kubernetes"),
    ("INSTANCE_IPS", "10.1.2.3"),
    ("ISTIO_VERSION", "1.24.1"),
    ("MESH_ID", "cluster.local"),
    ("NAME", "products-7d9c5b6f4-x2x7p"),
    ("NAMESPACE", "default"),
    (
        "OWNER",
        "kubernetes://apis/apps/v1/namespaces/default/deployments/products",
    ),
    ("SERVICE_ACCOUNT", "bookinfo-products"),
    ("WORKLOAD_NAME", "products"),
];

/// What a message begins with that says whose the entries are.
pub(super) fn identifier(agent: usize) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, 1, |identifier| {
        message(identifier, 1, |node| put_node(node, agent));
        bytes(identifier, 2, b"http_envoy_accesslog");
    });
    out
}

fn put_node(out: &mut Vec<u8>, agent: usize) {
    let id = format!(
        "sidecar~10.1.2.3~products-{agent:04}-7d9c5b6f4-x2x7p.default~default.svc.cluster.local"
    );
    bytes(out, 1, id.as_bytes());
    bytes(out, 2, b"products.default");
    message(out, 3, |metadata| {
        for (key, value) in METADATA {
            let mut text = Vec::new();
            bytes(&mut text, 3, value.as_bytes());
            pair(metadata, 1, key, &text);
        }
    });
    bytes(out, 6, b"envoy");
    message(out, 8, |build| {
        message(build, 1, |version| {
            number(version, 1, 1);
            number(version, 2, 40);
        });
    });
    for extension in 0..EXTENSIONS {
        message(out, 9, |out| put_extension(out, extension));
    }
    bytes(out, 10, b"envoy.lb.does_not_support_overprovisioning");
}

fn put_extension(out: &mut Vec<u8>, number: usize) {
    let name = format!("envoy.filters.http.example_{number:03}");
    let config =
        format!("envoy.extensions.filters.http.example_{number:03}.v3.ExampleConfiguration");
    bytes(out, 1, name.as_bytes());
    bytes(out, 2, b"envoy.filters.http");
    bytes(out, 6, config.as_bytes());
}

/// The entries of a message, two requests; the path of the second fills them up.
pub(super) fn entries_of_size(size: usize) -> Result<Vec<u8>> {
    protobuf::of_size("pair of access log entries", size, |padding| {
        let mut out = Vec::new();
        message(&mut out, 2, |entries| {
            for padding in [0, padding] {
                message(entries, 1, |entry| put_entry(entry, padding));
            }
        });
        out
    })
}

fn put_entry(out: &mut Vec<u8>, padding: usize) {
    message(out, 1, |common| {
        put_address(common, 2, "10.1.7.8", 51234);
        put_address(common, 3, "10.1.2.3", 8080);
        message(common, 5, |start| {
            number(start, 1, 1_763_726_400);
            number(start, 2, 17_000_000);
        });
        for duration in 6..=12 {
            message(common, duration, |took| number(took, 2, 4_217_000));
        }
        put_address(common, 13, "10.1.2.3", 8080);
        put_address(common, 14, "127.0.0.6", 41573);
        bytes(common, 15, b"inbound|8080||");
    });
    number(out, 2, 2); // HTTP/1.1
    message(out, 3, |request| {
        number(request, 1, 1); // GET
        bytes(request, 2, b"http");
        bytes(request, 3, b"products.default.svc.cluster.local:8080");
        let mut path = b"/api/v1/products/42?".to_vec();
        path.resize(path.len() + padding, b'x');
        bytes(request, 5, &path);
        bytes(request, 6, b"curl/8.11.0");
        bytes(request, 9, b"9b1f7c52-6f0d-4c5e-9a2b-4c1d9e8f7a6b");
        number(request, 11, 512);
    });
    message(out, 4, |response| {
        message(response, 1, |code| number(code, 1, 200));
        number(response, 2, 137);
        number(response, 3, 4096);
        bytes(response, 6, b"via_upstream");
    });
}

fn put_address(out: &mut Vec<u8>, field: u64, address: &str, port: u64) {
    message(out, field, |out| {
        message(out, 1, |socket| {
            bytes(socket, 2, address.as_bytes());
            number(socket, 3, port);
        });
    });
}

#[cfg(test)]
mod tests {
    use perigee_proto::envoy::config::core::v3::Node;
    use perigee_proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
    use perigee_proto::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
    use prost::Message as _;

    use super::*;

    fn node(agent: usize) -> Node {
        let message = StreamAccessLogsMessage::decode(&*identifier(agent)).unwrap();
        message.identifier.unwrap().node.unwrap()
    }

    #[test]
    fn each_agent_is_a_node_of_its_own_with_the_extensions_of_a_real_one() {
        assert_ne!(node(3).id, node(4).id);
        let (mut node, whole) = (node(3), identifier(3).len());
        assert_eq!(node.extensions.len(), EXTENSIONS);
        let metadata = node.metadata.as_ref().unwrap();
        assert!(
            (300..400).contains(&metadata.encoded_len()),
            "{}",
            metadata.encoded_len()
        );
        node.extensions.clear();
        let extensions = whole - node.encoded_len();
        assert!((58_000..64_000).contains(&extensions), "{extensions}");
    }

    #[test]
    fn entries_are_two_requests_without_an_identifier() {
        let entries = entries_of_size(1024).unwrap();
        let message = StreamAccessLogsMessage::decode(&*entries).unwrap();
        assert_eq!(message.identifier, None);
        let Some(LogEntries::HttpLogs(http)) = message.log_entries else {
            panic!("no requests: {message:?}");
        };
        let paths = http.log_entry.iter().map(|entry| {
            let code = entry.response.as_ref().unwrap().response_code;
            assert_eq!(code, Some(200), "{entry:?}");
            entry.request.as_ref().unwrap().path.trim_end_matches('x')
        });
        assert_eq!(paths.collect::<Vec<_>>(), ["/api/v1/products/42?"; 2]);
    }
}
