//! Profilers of language agents, and their files.

use bytes::Bytes;
use perigee_proto::skywalking::{v3 as sw, v10};

use super::super::PIECE;
use super::{Upload, Who, encoded};

pub(super) fn message(request: &str, who: &Who) -> Option<Bytes> {
    let (service, service_instance) = (who.service.clone(), who.instance.clone());
    let task_id = "task-1".to_owned();
    Some(match request.strip_prefix("skywalking.")? {
        "v3.ProfileTaskCommandQuery" => encoded(&sw::ProfileTaskCommandQuery {
            service,
            service_instance,
            last_command_time: who.now,
        }),
        "v3.ThreadSnapshot" => encoded(&sw::ThreadSnapshot {
            task_id,
            trace_segment_id: format!("{}.71.{}", who.instance, who.now),
            time: who.now,
            sequence: 1,
            stack: Some(sw::ThreadStack {
                code_signatures: vec!["java.lang.Thread.sleep:-2".to_owned()],
            }),
        }),
        "v3.GoProfileData" => encoded(&sw::GoProfileData {
            task_id,
            payload: vec![7; 512],
            is_last: true,
        }),
        "v3.ProfileTaskFinishReport" => encoded(&sw::ProfileTaskFinishReport {
            service,
            service_instance,
            task_id,
        }),
        "v10.AsyncProfilerTaskCommandQuery" => encoded(&v10::AsyncProfilerTaskCommandQuery {
            service,
            service_instance,
            last_command_time: who.now,
        }),
        "v10.PprofTaskCommandQuery" => encoded(&v10::PprofTaskCommandQuery {
            service,
            service_instance,
            last_command_time: who.now,
        }),
        _ => return None,
    })
}

/// A profiler file by the full name of the type of its messages.
pub(in super::super) fn upload(request: &str, who: &Who, content: &[u8]) -> Option<Upload> {
    let content_size = i32::try_from(content.len()).ok()?;
    let (service, service_instance) = (who.service.clone(), who.instance.clone());
    let task_id = "task-1".to_owned();
    let pieces = content.chunks(PIECE);
    let (metadata, pieces) = match request {
        "skywalking.v10.AsyncProfilerData" => (
            encoded(&v10::AsyncProfilerData {
                meta_data: Some(v10::AsyncProfilerMetaData {
                    service,
                    service_instance,
                    task_id,
                    content_size,
                    ..v10::AsyncProfilerMetaData::default()
                }),
                result: None,
            }),
            pieces.map(jfr_piece).collect(),
        ),
        "skywalking.v10.PprofData" => (
            encoded(&v10::PprofData {
                metadata: Some(v10::PprofMetaData {
                    service,
                    service_instance,
                    task_id,
                    content_size,
                    ..v10::PprofMetaData::default()
                }),
                result: None,
            }),
            pieces.map(pprof_piece).collect(),
        ),
        _ => return None,
    };
    Some(Upload {
        metadata,
        pieces,
        content: content.to_vec(),
    })
}

fn jfr_piece(piece: &[u8]) -> Bytes {
    let content = v10::async_profiler_data::Result::Content(piece.to_vec());
    encoded(&v10::AsyncProfilerData {
        meta_data: None,
        result: Some(content),
    })
}

fn pprof_piece(piece: &[u8]) -> Bytes {
    let content = v10::pprof_data::Result::Content(piece.to_vec());
    encoded(&v10::PprofData {
        metadata: None,
        result: Some(content),
    })
}
