use std::process::Command;
use std::time::Duration;

use super::super::samples;
use super::*;

fn read(profile: &Profile) -> proto::Profile {
    use std::io::Read as _;
    let mut out = Vec::new();
    write(profile, &mut out).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(out.as_slice())
        .read_to_end(&mut bytes)
        .unwrap();
    proto::Profile::decode(bytes.as_slice()).unwrap()
}

#[test]
fn a_sample_has_its_stack_from_the_inside_out_its_values_and_labels() {
    let shop = samples::shop();
    let read = read(&shop);
    let text = |id: i64| read.string_table[id as usize].as_str();
    let types: Vec<(&str, &str)> = read
        .sample_type
        .iter()
        .map(|it| (text(it.kind), text(it.unit)))
        .collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    let period_type = read.period_type.unwrap();
    assert_eq!(
        (text(period_type.kind), text(period_type.unit)),
        ("cpu", "nanoseconds")
    );
    assert_eq!(text(read.default_sample_type), "cpu");
    assert_eq!(read.period, 10_101_010);
    assert_eq!(read.time_nanos, 1_700_000_000_000_000_000);
    assert_eq!(read.duration_nanos, 10_000_000_000);

    let call = read.sample.last().unwrap();
    let names = call.location_id.iter().map(|id| {
        let location = read.location.iter().find(|it| it.id == *id).unwrap();
        let function = location.line[0].function_id;
        text(
            read.function
                .iter()
                .find(|it| it.id == function)
                .unwrap()
                .name,
        )
    });
    let expected = ["do_syscall_64", "entry_SYSCALL_64", "hot", "main", "_start"];
    assert_eq!(names.collect::<Vec<_>>(), expected);
    assert_eq!(call.value, [10, 101_010_100]);
    let labels: Vec<_> = call
        .label
        .iter()
        .map(|it| (text(it.key), text(it.text), it.num))
        .collect();
    assert_eq!(labels, [("process", "shop", 0), ("pid", "", 42)]);
}

#[test]
fn a_mapping_tells_its_build_id_and_whether_all_in_it_has_a_name() {
    let read = read(&samples::shop());
    let text = |id: i64| read.string_table[id as usize].as_str();
    let mapping = |it: &proto::Mapping| {
        let place = (it.memory_start, it.memory_limit, it.file_offset);
        (
            text(it.filename).to_owned(),
            text(it.build_id).to_owned(),
            place,
            it.has_functions,
        )
    };
    let mappings: Vec<_> = read.mapping.iter().map(mapping).collect();
    assert_eq!(
        mappings[0],
        (
            "/usr/bin/shop".into(),
            "c0ffee".into(),
            (0x1000, 0x9000, 0x1000),
            true
        )
    );
    assert_eq!(
        mappings[1],
        (
            "/usr/lib/libshop.so".into(),
            String::new(),
            (0x1000, 0x2000, 0x1000),
            false
        )
    );
    let location = &read.location[4];
    assert_eq!((location.mapping_id, location.address), (2, 0x1234));
    assert_eq!(read.location[5].mapping_id, 0, "code without a file");
}

#[test]
fn waits_are_delays_and_those_imposed_are_labelled() {
    let mut profile = samples::chain(&["main"], 3);
    profile.kind = Kind::OffCpu;
    profile.period = Duration::ZERO;
    profile.stacks[0].preempted = true;
    profile.stacks[0].nanos = 77;
    let read = read(&profile);
    let text = |id: i64| read.string_table[id as usize].as_str();
    let types: Vec<(&str, &str)> = read
        .sample_type
        .iter()
        .map(|it| (text(it.kind), text(it.unit)))
        .collect();
    assert_eq!(types, [("delays", "count"), ("delay", "nanoseconds")]);
    assert_eq!((read.period_type, read.period), (None, 0));
    assert_eq!(read.sample[0].value, [3, 77]);
    let label = read.sample[0].label.last().unwrap();
    assert_eq!((text(label.key), text(label.text)), ("preempted", "true"));
}

#[test]
fn comments_tell_what_is_lost_and_incomplete() {
    let mut profile = samples::shop();
    profile.summary.lost = 5;
    profile.summary.incomplete = 1;
    profile.summary.own_cpu = Duration::from_millis(12);
    let read = read(&profile);
    let comments = read
        .comment
        .iter()
        .map(|it| read.string_table[*it as usize].as_str());
    let expected = [
        "100 samples, one every 10.1 ms (99 Hz) of each CPU; 10 s from 2023-11-14T22:13:20Z; \
         1 incomplete stack (1.0%), 5 lost",
        "cost: 12 ms of CPU time in the profiler",
    ];
    assert_eq!(comments.collect::<Vec<_>>(), expected);
}

#[test]
fn every_reference_is_to_something() {
    for (name, profile) in samples::every() {
        let read = read(&profile);
        assert_eq!(read.string_table[0], "", "{name}");
        assert_eq!(read.sample.len(), profile.stacks.len(), "{name}");
        for sample in &read.sample {
            assert_eq!(sample.value.len(), read.sample_type.len());
            assert!(
                sample
                    .location_id
                    .iter()
                    .all(|it| (1..=read.location.len() as u64).contains(it))
            );
        }
        for location in &read.location {
            assert!(location.mapping_id <= read.mapping.len() as u64);
            assert!((1..=read.function.len() as u64).contains(&location.line[0].function_id));
        }
    }
}

/// What `go tool pprof` says of a profile; `None` where there is no Go.
fn go_pprof(profile: &Profile, options: &[&str]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.pb.gz");
    super::super::Destination::new(&path)
        .unwrap()
        .save(profile)
        .unwrap();
    let mut go = Command::new("go");
    go.args(["tool", "pprof"]).args(options).arg(&path);
    // Its own configuration and downloads go nowhere else.
    go.env("PPROF_TMPDIR", directory.path())
        .env("XDG_CONFIG_HOME", directory.path());
    let output = match go.output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: no go: {error}");
            return None;
        }
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn gos_pprof_reads_shares_stacks_labels_and_mappings() {
    let mut shop = samples::shop();
    shop.frames[3].name = "<warm::Thing<T> as core::ops::Fn(int)>::call".into();
    let Some(top) = go_pprof(&shop, &["-top", "-sample_index=samples"]) else {
        return;
    };
    let row = |name: &str| {
        let line = top
            .lines()
            .find(|it| it.ends_with(name))
            .unwrap_or_else(|| panic!("{name}: {top}"));
        let mut columns = line.split_whitespace();
        let flat = columns.next().unwrap().to_owned();
        (flat, columns.nth(2).unwrap().to_owned())
    };
    assert_eq!(row(" hot"), ("60".into(), "70".into()));
    assert_eq!(
        row(" <warm::Thing<T> as core::ops::Fn(int)>::call"),
        ("20".into(), "20".into())
    );
    assert_eq!(row(" libshop.so+0x1234"), ("5".into(), "5".into()));
    assert!(top.contains("File: shop"), "{top}");

    let raw = go_pprof(&shop, &["-raw"]).unwrap();
    for expected in [
        "samples/count cpu/nanoseconds[dflt]",
        "Period: 10101010",
        "10  101010100: 9 8 3 2 1",
        "pid:[42]",
        "process:[shop]",
        "0x1000/0x9000/0x1000 /usr/bin/shop c0ffee [FN]",
        "0x1000/0x2000/0x1000 /usr/lib/libshop.so",
    ] {
        assert!(raw.contains(expected), "{expected}: {raw}");
    }
}

#[test]
fn gos_pprof_reads_every_profile() {
    for (name, profile) in samples::every() {
        let Some(top) = go_pprof(&profile, &["-top"]) else {
            return;
        };
        assert!(top.contains("Duration: 10s"), "{name}: {top}");
    }
}
