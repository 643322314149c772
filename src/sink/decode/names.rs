//! Whose a message is, by what stands in it.

use prost_reflect::{DynamicMessage, Value};

/// Service and instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sink) struct Names {
    pub(in crate::sink) service: String,
    pub(in crate::sink) instance: String,
}

impl Names {
    pub(super) fn new(service: &str, instance: &str) -> Self {
        Self {
            service: service.to_owned(),
            instance: instance.to_owned(),
        }
    }
}

/// Where service and instance are kept; of a list the first element speaks.
const PLACES: [(&[&str], &[&str]); 7] = [
    (&["service"], &["serviceInstance"]),
    (&["metaData", "service"], &["metaData", "serviceInstance"]),
    (&["metadata", "service"], &["metadata", "serviceInstance"]),
    (&["serviceName"], &["instanceName"]),
    (&["policies", "serviceName"], &[]),
    (&[], &["roverInstanceId"]),
    (
        &["httpMetrics", "metrics", "destServiceName"],
        &["httpMetrics", "metrics", "destServiceInstance"],
    ),
];

/// Service and instance that the message itself names.
pub(in crate::sink) fn names(message: &DynamicMessage) -> Names {
    PLACES
        .iter()
        .map(|(service, instance)| Names {
            service: text_at(message, service).unwrap_or_default(),
            instance: text_at(message, instance).unwrap_or_default(),
        })
        .find(|names| *names != Names::default())
        .unwrap_or_default()
}

/// The non-empty text at a path of field names.
fn text_at(message: &DynamicMessage, path: &[&str]) -> Option<String> {
    let (field, rest) = path.split_first()?;
    text_in(message.get_field_by_name(field)?.as_ref(), rest)
}

fn text_in(value: &Value, rest: &[&str]) -> Option<String> {
    match value {
        Value::String(text) if rest.is_empty() && !text.is_empty() => Some(text.clone()),
        Value::Message(message) => text_at(message, rest),
        Value::List(values) => text_in(values.first()?, rest),
        _ => None,
    }
}
