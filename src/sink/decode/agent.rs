//! Segments, events and logs.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;
use sw::log_data_body::Content;
use tonic::Status;

use super::text::{hash, text_or};
use super::{Filing, Names, Reader, decode_as};

/// `TraceSegmentReportService/collect`: each segment for itself.
#[derive(Default)]
pub(super) struct Segments;

impl Reader for Segments {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        file_segment(&decode_as(bytes)?, bytes, filing);
        Ok(())
    }
}

/// `TraceSegmentReportService/collectInSync`: many segments in a message.
#[derive(Default)]
pub(super) struct Collections;

impl Reader for Collections {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let collection: sw::SegmentCollection = decode_as(bytes)?;
        for segment in &collection.segments {
            file_segment(segment, bytes, filing);
        }
        Ok(())
    }
}

fn file_segment(segment: &sw::SegmentObject, bytes: &Bytes, filing: &mut Filing) {
    let names = Names::new(&segment.service, &segment.service_instance);
    filing.file(&names, || {
        text_or(&segment.trace_segment_id, || hash(bytes))
    });
}

/// `EventService`: an event without a layer ends the stream (T8).
#[derive(Default)]
pub(super) struct Events;

impl Reader for Events {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let event: sw::Event = decode_as(bytes)?;
        if event.layer.is_empty() {
            return Err(Status::invalid_argument("layer is required"));
        }
        let source = event.source.unwrap_or_default();
        let names = Names::new(&source.service, &source.service_instance);
        filing.file(&names, || text_or(&event.uuid, || hash(bytes)));
        Ok(())
    }
}

/// `LogReportService`: the stream's first service stands for all, instances are their own (T2).
#[derive(Default)]
pub(super) struct Logs {
    service: String,
}

impl Reader for Logs {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let log: sw::LogData = decode_as(bytes)?;
        if self.service.is_empty() {
            self.service = log.service;
        }
        if self.service.is_empty() {
            filing.unnamed += 1;
            return Ok(());
        }
        let names = Names::new(&self.service, &log.service_instance);
        let text = match log.body.and_then(|body| body.content) {
            Some(Content::Text(text)) => text.text,
            Some(Content::Json(text)) => text.json,
            Some(Content::Yaml(text)) => text.yaml,
            None => String::new(),
        };
        filing.file(&names, || text_or(&text, || hash(bytes)));
        Ok(())
    }
}
