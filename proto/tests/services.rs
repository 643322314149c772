//! The descriptors name the services that agents call, and nothing is left out.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

/// One line a method: path, request, response, streaming shape.
const REFERENCE: &str = include_str!("services.txt");

#[test]
fn every_method_of_the_reference_is_described_as_it_is() {
    let reference: BTreeSet<String> = REFERENCE.lines().map(str::to_owned).collect();
    assert_eq!(reference.len(), REFERENCE.lines().count(), "a line twice");
    assert_eq!(described(), reference);
}

#[expect(clippy::unwrap_used, reason = "a test may end here")]
fn described() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(perigee_proto::DESCRIPTORS).unwrap();
    let mut lines = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let prefix = match file.package() {
                    "" => String::new(),
                    package => format!("{package}."),
                };
                lines.insert(format!(
                    "/{prefix}{}/{} {} {} {}",
                    service.name(),
                    method.name(),
                    method.input_type().trim_start_matches('.'),
                    method.output_type().trim_start_matches('.'),
                    shape(method),
                ));
            }
        }
    }
    lines
}

fn shape(method: &MethodDescriptorProto) -> &'static str {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => "unary",
        (true, false) => "client",
        (false, true) => "server",
        (true, true) => "bidi",
    }
}
