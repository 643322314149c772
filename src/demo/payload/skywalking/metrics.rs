//! Runtime metrics, meters, and metrics of mesh probes.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;

use super::{Who, encoded};

pub(super) fn message(request: &str, who: &Who) -> Option<Bytes> {
    Some(match request.strip_prefix("skywalking.v3.")? {
        "JVMMetricCollection" => encoded(&jvm(who)),
        "CLRMetricCollection" => encoded(&clr(who)),
        "MeterData" => encoded(&meter(who)),
        "MeterDataCollection" => encoded(&sw::MeterDataCollection {
            meter_data: vec![meter(who), meter(who)],
        }),
        "ServiceMeshMetrics" => encoded(&mesh(who)),
        _ => return None,
    })
}

fn jvm(who: &Who) -> sw::JvmMetricCollection {
    sw::JvmMetricCollection {
        metrics: vec![sw::JvmMetric {
            time: who.now,
            cpu: Some(sw::Cpu {
                usage_percent: 12.5,
            }),
            memory: vec![sw::Memory {
                is_heap: true,
                max: 4 << 30,
                used: 1 << 30,
                committed: 2 << 30,
                ..sw::Memory::default()
            }],
            gc: vec![sw::Gc {
                count: 1,
                time: 7,
                ..sw::Gc::default()
            }],
            ..sw::JvmMetric::default()
        }],
        service: who.service.clone(),
        service_instance: who.instance.clone(),
    }
}

fn clr(who: &Who) -> sw::ClrMetricCollection {
    sw::ClrMetricCollection {
        metrics: vec![sw::ClrMetric {
            time: who.now,
            cpu: Some(sw::Cpu { usage_percent: 8.0 }),
            gc: Some(sw::ClrGc {
                gen0_collect_count: 3,
                heap_memory: 1 << 28,
                ..sw::ClrGc::default()
            }),
            ..sw::ClrMetric::default()
        }],
        service: who.service.clone(),
        service_instance: who.instance.clone(),
    }
}

fn meter(who: &Who) -> sw::MeterData {
    sw::MeterData {
        metric: Some(sw::meter_data::Metric::SingleValue(sw::MeterSingleValue {
            name: "build_test".to_owned(),
            labels: vec![sw::Label {
                name: "region".to_owned(),
                value: "eu".to_owned(),
            }],
            value: 42.0,
        })),
        service: who.service.clone(),
        service_instance: who.instance.clone(),
        timestamp: who.now,
    }
}

fn mesh(who: &Who) -> sw::ServiceMeshMetrics {
    let request = sw::HttpServiceMeshMetric {
        start_time: who.now,
        end_time: who.now + 12,
        source_service_name: "gateway".to_owned(),
        dest_service_name: who.service.clone(),
        dest_service_instance: who.instance.clone(),
        endpoint: "/orders".to_owned(),
        latency: 12,
        response_code: 200,
        status: true,
        ..sw::HttpServiceMeshMetric::default()
    };
    let metrics = sw::HttpServiceMeshMetrics {
        metrics: vec![request],
    };
    sw::ServiceMeshMetrics {
        metrics: Some(sw::service_mesh_metrics::Metrics::HttpMetrics(metrics)),
    }
}
