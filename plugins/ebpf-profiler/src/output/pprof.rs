//! pprof's `profile.proto`, compressed: mappings with build IDs, so that what has no name here can get
//! one elsewhere; process, PID and preemption as labels (`-tagfocus`, `-tagroot`).

mod message;

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use self::message as proto;
use super::{heading, text, tree};
use crate::profile::{Kind, Profile, Stack};

pub(super) fn write(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let encoded = Builder::default().build(profile).encode_to_vec();
    let mut compressed = GzEncoder::new(out, Compression::default());
    compressed.write_all(&encoded)?;
    compressed.finish()?;
    Ok(())
}

#[derive(Default)]
struct Builder {
    strings: Vec<String>,
    string_ids: HashMap<String, i64>,
    functions: Vec<proto::Function>,
    function_ids: HashMap<(i64, Option<u32>), u64>,
}

impl Builder {
    fn build(mut self, profile: &Profile) -> proto::Profile {
        // The format wants the empty string first.
        self.string("");
        let (events, time) = match profile.kind {
            Kind::OnCpu => ("samples", "cpu"),
            Kind::OffCpu => ("delays", "delay"),
        };
        let sample_type = vec![
            self.value_type(events, "count"),
            self.value_type(time, "nanoseconds"),
        ];
        let period_type = match profile.kind {
            Kind::OnCpu => Some(self.value_type("cpu", "nanoseconds")),
            Kind::OffCpu => None,
        };
        let sample = profile
            .stacks
            .iter()
            .map(|it| self.sample(profile, it))
            .collect();
        let mapping = self.mappings(profile);
        let location = self.locations(profile);
        let comment = self.comments(profile);
        let default_sample_type = self.string(time);
        let started = profile.started.duration_since(std::time::UNIX_EPOCH);
        proto::Profile {
            sample_type,
            sample,
            mapping,
            location,
            function: self.functions,
            string_table: self.strings,
            time_nanos: started.map_or(0, |it| signed(it.as_nanos())),
            duration_nanos: signed(profile.duration.as_nanos()),
            period: period_type.map_or(0, |_| signed(profile.period.as_nanos())),
            period_type,
            comment,
            default_sample_type,
        }
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(id) = self.string_ids.get(text) {
            return *id;
        }
        let id = self.strings.len() as i64;
        self.strings.push(text.to_owned());
        self.string_ids.insert(text.to_owned(), id);
        id
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> proto::ValueType {
        proto::ValueType {
            kind: self.string(kind),
            unit: self.string(unit),
        }
    }

    fn sample(&mut self, profile: &Profile, stack: &Stack) -> proto::Sample {
        let frames = stack.kernel.iter().chain(&stack.user);
        let known = frames.filter(|it| (**it as usize) < profile.frames.len());
        let mut label = Vec::new();
        if let Some(process) = profile.processes.get(stack.process as usize) {
            label.push(self.text_label("process", &process.name));
            label.push(proto::Label {
                key: self.string("pid"),
                num: i64::from(process.pid),
                ..proto::Label::default()
            });
        }
        if stack.preempted {
            label.push(self.text_label("preempted", "true"));
        }
        proto::Sample {
            location_id: known.map(|it| u64::from(*it) + 1).collect(),
            value: vec![signed(stack.count.into()), signed(stack.nanos.into())],
            label,
        }
    }

    fn text_label(&mut self, key: &str, value: &str) -> proto::Label {
        proto::Label {
            key: self.string(key),
            text: self.string(value),
            ..proto::Label::default()
        }
    }

    fn mappings(&mut self, profile: &Profile) -> Vec<proto::Mapping> {
        let mut named = vec![true; profile.modules.len()];
        for frame in &profile.frames {
            let module = frame.module.and_then(|it| named.get_mut(it as usize));
            if let Some(named) = module {
                *named &= !tree::is_address(&frame.name);
            }
        }
        let modules = (1..).zip(&profile.modules).zip(named);
        let mapping = modules.map(|((id, module), has_functions)| proto::Mapping {
            id,
            memory_start: module.start,
            memory_limit: module.end,
            file_offset: module.offset,
            filename: self.string(&module.path),
            build_id: self.string(module.build_id.as_deref().unwrap_or_default()),
            has_functions,
        });
        mapping.collect()
    }

    fn locations(&mut self, profile: &Profile) -> Vec<proto::Location> {
        let frames = (1..).zip(&profile.frames);
        let location = frames.map(|(id, frame)| {
            let module = frame.module;
            let module = module.filter(|it| (*it as usize) < profile.modules.len());
            proto::Location {
                id,
                mapping_id: module.map_or(0, |it| u64::from(it) + 1),
                address: frame.address,
                line: vec![proto::Line {
                    function_id: self.function(&frame.name, module),
                }],
            }
        });
        location.collect()
    }

    /// The name stays out of `system_name`: pprof takes a function with both the same for mangled and
    /// cuts at `<`.
    fn function(&mut self, name: &str, module: Option<u32>) -> u64 {
        let name = self.string(name);
        *self.function_ids.entry((name, module)).or_insert_with(|| {
            let id = self.functions.len() as u64 + 1;
            self.functions.push(proto::Function { id, name });
            id
        })
    }

    fn comments(&mut self, profile: &Profile) -> Vec<i64> {
        let summary = &profile.summary;
        let own = text::time(summary.own_cpu.as_nanos());
        let mut cost = format!("cost: {own} of CPU time in the profiler");
        if let Some(kernel) = summary.kernel_cpu {
            cost += &format!(", {} in its kernel programs", text::time(kernel.as_nanos()));
        }
        vec![self.string(&heading::facts(profile)), self.string(&cost)]
    }
}

fn signed(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
