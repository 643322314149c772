//! Meters: values that an OAP works out together.
//!
//! A set has one service, one instance and one time, those that were named last in it, and one
//! value for each name and labels, the first (T4, T5).

use std::collections::HashSet;

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;
use sw::meter_data::Metric;
use tonic::Status;

use super::text::labelled;
use super::{Filing, Names, Reader, decode_as};

/// `MeterReportService/collect`: the call is one set, worked out when it ends.
#[derive(Default)]
pub(super) struct Stream(Set);

impl Reader for Stream {
    fn read(&mut self, bytes: &Bytes, _filing: &mut Filing) -> Result<(), Status> {
        self.0.add(&decode_as(bytes)?);
        Ok(())
    }

    fn end(&mut self, filing: &mut Filing) {
        std::mem::take(&mut self.0).work_out(filing);
    }
}

/// `MeterReportService/collectBatch`: each message is a set.
#[derive(Default)]
pub(super) struct Batches;

impl Reader for Batches {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let batch: sw::MeterDataCollection = decode_as(bytes)?;
        let mut set = Set::default();
        for meter in &batch.meter_data {
            set.add(meter);
        }
        set.work_out(filing);
        Ok(())
    }
}

#[derive(Default)]
struct Set {
    names: Names,
    timestamp: i64,
    /// Names with their labels in order: an OAP does not tell labels by their order.
    seen: HashSet<String>,
    /// `name{labels}=value`.
    values: Vec<String>,
    repeated: u64,
}

impl Set {
    fn add(&mut self, meter: &sw::MeterData) {
        if !meter.service.is_empty() {
            self.names.service.clone_from(&meter.service);
        }
        if !meter.service_instance.is_empty() {
            self.names.instance.clone_from(&meter.service_instance);
        }
        if meter.timestamp != 0 {
            self.timestamp = meter.timestamp;
        }
        match &meter.metric {
            None => {}
            Some(Metric::SingleValue(single)) => {
                self.add_value(&single.name, &single.labels, || single.value.to_string());
            }
            Some(Metric::Histogram(histogram)) => {
                self.add_value(&histogram.name, &histogram.labels, || {
                    let buckets: Vec<_> = histogram.values.iter().map(bucket).collect();
                    format!("[{}]", buckets.join(","))
                });
            }
        }
    }

    fn add_value(&mut self, name: &str, labels: &[sw::Label], value: impl FnOnce() -> String) {
        let pairs = || labels.iter().map(|label| (&*label.name, &*label.value));
        let mut ordered: Vec<_> = pairs().collect();
        ordered.sort_unstable();
        if self.seen.insert(labelled(name, ordered)) {
            self.values
                .push(format!("{}={}", labelled(name, pairs()), value()));
        } else {
            self.repeated += 1;
        }
    }

    fn work_out(self, filing: &mut Filing) {
        let Names { service, instance } = &self.names;
        if service.is_empty() || instance.is_empty() || self.timestamp == 0 {
            filing.unnamed += self.values.len() as u64 + self.repeated;
            return;
        }
        filing.repeated += self.repeated;
        for value in &self.values {
            filing.file(&self.names, || format!("{value}@{}", self.timestamp));
        }
    }
}

/// `bound:count`.
fn bucket(value: &sw::MeterBucketValue) -> String {
    let bound = if value.is_negative_infinity {
        f64::NEG_INFINITY
    } else {
        value.bucket
    };
    format!("{bound}:{}", value.count)
}
