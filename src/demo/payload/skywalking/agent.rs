//! Traces, logs, events, instances and dynamic configuration.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;

use super::{Who, encoded};

const LAYER: &str = "GENERAL";

pub(super) fn message(request: &str, who: &Who) -> Option<Bytes> {
    let (service, service_instance) = (who.service.clone(), who.instance.clone());
    Some(match request.strip_prefix("skywalking.v3.")? {
        "SegmentObject" => encoded(&segment(who)),
        "SegmentCollection" => encoded(&sw::SegmentCollection {
            segments: vec![segment(who), segment(who)],
        }),
        "SpanAttachedEvent" => encoded(&attached_event(who)),
        "LogData" => encoded(&log(who)),
        "Event" => encoded(&event(who)),
        "InstanceProperties" => encoded(&sw::InstanceProperties {
            service,
            service_instance,
            properties: vec![pair("language", "java"), pair("OS Name", "Linux")],
            layer: LAYER.to_owned(),
        }),
        "InstancePingPkg" => encoded(&sw::InstancePingPkg {
            service,
            service_instance,
            layer: LAYER.to_owned(),
        }),
        "ConfigurationSyncRequest" => encoded(&sw::ConfigurationSyncRequest {
            service,
            uuid: String::new(),
        }),
        _ => return None,
    })
}

fn pair(key: &str, value: &str) -> sw::KeyStringValuePair {
    sw::KeyStringValuePair {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn segment(who: &Who) -> sw::SegmentObject {
    let entry = sw::SpanObject {
        parent_span_id: -1,
        start_time: who.now,
        end_time: who.now + 25,
        operation_name: "GET:/api/v1/products/{id}".to_owned(),
        span_type: sw::SpanType::Entry.into(),
        span_layer: sw::SpanLayer::Http.into(),
        tags: vec![pair("http.method", "GET"), pair("http.status_code", "200")],
        ..sw::SpanObject::default()
    };
    let exit = sw::SpanObject {
        span_id: 1,
        start_time: who.now + 3,
        end_time: who.now + 20,
        operation_name: "Mysql/JDBI/PreparedStatement/executeQuery".to_owned(),
        peer: "mysql.default.svc:3306".to_owned(),
        span_type: sw::SpanType::Exit.into(),
        span_layer: sw::SpanLayer::Database.into(),
        tags: vec![pair("db.statement", "SELECT * FROM products WHERE id = ?")],
        ..sw::SpanObject::default()
    };
    sw::SegmentObject {
        trace_id: "6f0d3c5e7a2b4c1d9e8f7a6b5c4d3e2f.71.1".to_owned(),
        trace_segment_id: format!("{}.71.{}", who.instance, who.now),
        spans: vec![exit, entry],
        service: who.service.clone(),
        service_instance: who.instance.clone(),
        is_size_limited: false,
    }
}

fn attached_event(who: &Who) -> sw::SpanAttachedEvent {
    let instant = |millis: i64| {
        Some(sw::Instant {
            seconds: millis / 1000,
            nanos: 0,
        })
    };
    sw::SpanAttachedEvent {
        start_time: instant(who.now),
        event: "HTTP Request Sampling".to_owned(),
        end_time: instant(who.now + 1000),
        trace_context: Some(sw::span_attached_event::SpanReference {
            trace_id: "6f0d3c5e7a2b4c1d9e8f7a6b5c4d3e2f.71.1".to_owned(),
            trace_segment_id: format!("{}.71.{}", who.instance, who.now),
            span_id: "0".to_owned(),
            ..sw::span_attached_event::SpanReference::default()
        }),
        ..sw::SpanAttachedEvent::default()
    }
}

fn log(who: &Who) -> sw::LogData {
    let text = sw::TextLog {
        text: "order 42 accepted".to_owned(),
    };
    sw::LogData {
        timestamp: who.now,
        service: who.service.clone(),
        service_instance: who.instance.clone(),
        endpoint: "/orders".to_owned(),
        body: Some(sw::LogDataBody {
            r#type: "TEXT".to_owned(),
            content: Some(sw::log_data_body::Content::Text(text)),
        }),
        layer: LAYER.to_owned(),
        ..sw::LogData::default()
    }
}

/// With a layer: an OAP refuses events without.
fn event(who: &Who) -> sw::Event {
    sw::Event {
        uuid: format!("{}-{}", who.instance, who.now),
        source: Some(sw::Source {
            service: who.service.clone(),
            service_instance: who.instance.clone(),
            endpoint: String::new(),
        }),
        name: "Started".to_owned(),
        message: "instance is up".to_owned(),
        start_time: who.now,
        layer: LAYER.to_owned(),
        ..sw::Event::default()
    }
}
