//! What agents say.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;

pub(crate) const SEGMENTS: &str = "/skywalking.v3.TraceSegmentReportService/collect";
pub(crate) const SEGMENTS_IN_SYNC: &str = "/skywalking.v3.TraceSegmentReportService/collectInSync";
pub(crate) const KEEP_ALIVE: &str = "/skywalking.v3.ManagementService/keepAlive";
pub(crate) const METER_BATCHES: &str = "/skywalking.v3.MeterReportService/collectBatch";
pub(crate) const CONFIGURATIONS: &str =
    "/skywalking.v3.ConfigurationDiscoveryService/fetchConfigurations";
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The answer of every report: a `Commands` in which nothing is set.
pub(crate) const EMPTY: &[u8] = &[0; 5];

/// A message with its gRPC prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    flagged(0, message)
}

/// A message with a prefix of this flag.
pub(crate) fn flagged(flag: u8, message: &[u8]) -> Bytes {
    let mut framed = vec![flag];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    framed.into()
}

pub(crate) fn segment(id: &str, service: &str) -> Vec<u8> {
    padded_segment(id, service, 0)
}

/// A segment that is longer by `padding` bytes.
pub(crate) fn padded_segment(id: &str, service: &str, padding: usize) -> Vec<u8> {
    let segment = sw::SegmentObject {
        trace_id: "x".repeat(padding),
        trace_segment_id: id.to_owned(),
        service: service.to_owned(),
        service_instance: format!("{service}-1"),
        ..Default::default()
    };
    segment.encode_to_vec()
}

/// `service` and `service-1`, as the sink files the segments above.
pub(crate) fn filed_as(service: &str) -> String {
    format!("{service}/{service}-1")
}

pub(crate) fn ping(service: &str) -> Vec<u8> {
    let ping = sw::InstancePingPkg {
        service: service.to_owned(),
        service_instance: format!("{service}-1"),
        layer: String::new(),
    };
    ping.encode_to_vec()
}

/// As Java and Go send it: only the first meter names its source.
pub(crate) fn meter_batch(service: &str, instance: &str) -> Vec<u8> {
    let meter = |name: &str| sw::MeterData {
        metric: Some(sw::meter_data::Metric::SingleValue(sw::MeterSingleValue {
            name: name.to_owned(),
            labels: Vec::new(),
            value: 1.0,
        })),
        ..Default::default()
    };
    let first = sw::MeterData {
        service: service.to_owned(),
        service_instance: instance.to_owned(),
        timestamp: 1,
        ..meter("first")
    };
    let batch = sw::MeterDataCollection {
        meter_data: vec![first, meter("second")],
    };
    batch.encode_to_vec()
}

pub(crate) fn configuration_request(service: &str) -> Vec<u8> {
    let request = sw::ConfigurationSyncRequest {
        service: service.to_owned(),
        uuid: String::new(),
    };
    request.encode_to_vec()
}
