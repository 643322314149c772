//! Who an Envoy is.

use crate::wire::{Malformed, fields, put_bytes};

/// `Identifier.node`.
const NODE: u32 = 1;

/// `Node.id`.
const ID: u32 = 1;

/// Keeps what an OAP reads of an identifier: not its node's user agent, extensions and client
/// features, which are most of its 60 KiB.
pub(super) fn keep_lean(identifier: &[u8], lean: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut lean_node = Vec::new();
    for field in fields(identifier) {
        let field = field?;
        let Some(node) = field.bytes(NODE) else {
            lean.extend_from_slice(field.raw);
            continue;
        };
        lean_node.clear();
        for field in fields(node) {
            let field = field?;
            if !(6..=10).contains(&field.number) {
                lean_node.extend_from_slice(field.raw);
            }
        }
        put_bytes(lean, NODE, &lean_node);
    }
    Ok(())
}

/// The node's id; empty if there is none.
pub(super) fn node_id(identifier: &[u8]) -> Result<&[u8], Malformed> {
    let mut id: &[u8] = &[];
    for field in fields(identifier) {
        for field in field?.bytes(NODE).into_iter().flat_map(fields) {
            id = field?.bytes(ID).unwrap_or(id);
        }
    }
    Ok(id)
}
