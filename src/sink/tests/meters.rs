//! Sets of meters.

use sw::meter_data::Metric;

use super::*;

const STREAM: &str = "/skywalking.v3.MeterReportService/collect";
const BATCH: &str = "/skywalking.v3.MeterReportService/collectBatch";

fn labels(labels: &[(&str, &str)]) -> Vec<sw::Label> {
    let label = |(name, value): &(&str, &str)| sw::Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    labels.iter().map(label).collect()
}

fn labelled_meter(name: &str, of: &[(&str, &str)], value: f64) -> sw::MeterData {
    sw::MeterData {
        metric: Some(Metric::SingleValue(sw::MeterSingleValue {
            name: name.to_owned(),
            labels: labels(of),
            value,
        })),
        ..Default::default()
    }
}

fn meter(name: &str, value: f64) -> sw::MeterData {
    labelled_meter(name, &[], value)
}

fn named(meter: sw::MeterData, service: &str, instance: &str, timestamp: i64) -> sw::MeterData {
    sw::MeterData {
        service: service.to_owned(),
        service_instance: instance.to_owned(),
        timestamp,
        ..meter
    }
}

fn batch(meters: &[sw::MeterData]) -> Bytes {
    encoded(&sw::MeterDataCollection {
        meter_data: meters.to_vec(),
    })
}

#[tokio::test]
async fn of_four_values_of_one_name_and_labels_only_the_first_counts() {
    let meters = [
        named(
            labelled_meter("m", &[("a", "1"), ("b", "2")], 1.0),
            "s",
            "i",
            7,
        ),
        labelled_meter("m", &[("a", "1"), ("b", "2")], 2.0),
        labelled_meter("m", &[("b", "2"), ("a", "1")], 3.0),
        labelled_meter("m", &[("a", "1"), ("b", "2")], 4.0),
        labelled_meter("m", &[("b", "1"), ("a", "2")], 5.5),
        meter("m", -6.0),
    ];
    let set = expected(&["m{a=1,b=2}=1@7 s i", "m{b=1,a=2}=5.5@7 s i", "m=-6@7 s i"]);
    let (entries, state) = filed(STREAM, meters.iter().map(encoded).collect()).await;
    assert_eq!(entries, set);
    assert_eq!((state.repeated, state.unfiled()), (3, 3));
    let (entries, state) = filed(BATCH, vec![batch(&meters), batch(&meters)]).await;
    assert_eq!(entries, [set.clone(), set].concat());
    assert_eq!((state.repeated, state.unfiled()), (6, 6));
}

#[tokio::test]
async fn a_stream_is_worked_out_when_it_ends_under_the_last_names() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(STREAM).await;
    let answers = tokio::spawn(answers);
    for meter in [
        named(meter("a", 1.0), "s", "i", 5),
        meter("b", 2.0),
        named(meter("c", 3.0), "t", "", 6),
        meter("d", 4.0),
    ] {
        messages.send(encoded(&meter)).await.unwrap();
    }
    soon(sink.wait_until(|state| state.messages(STREAM) == 4)).await;
    assert_eq!(entries(&sink, STREAM), []);
    assert!(sink.snapshot().services.is_empty());
    drop(messages);
    soon(answers).await.unwrap().unwrap();
    assert_eq!(
        entries(&sink, STREAM),
        expected(&["a=1@6 t i", "b=2@6 t i", "c=3@6 t i", "d=4@6 t i"])
    );
    let state = sink.snapshot();
    assert_eq!(state.services["t/i"][STREAM], 1);
    assert_eq!(state.services.len(), 1);
}

#[tokio::test]
async fn a_stream_that_is_broken_off_is_worked_out() {
    let sink = start();
    let (response, mut call) = raw_call(&sink, "/MeterReportService/collect").await;
    let meter = encoded(&named(meter("a", 1.0), "s", "i", 5));
    call.send_data(framed(&meter), false).unwrap();
    let path = "/MeterReportService/collect";
    soon(sink.wait_until(|state| state.messages(path) == 1)).await;
    call.send_reset(h2::Reason::CANCEL);
    drop(response);
    soon(sink.wait_until(|state| state.methods[path].cut == 1)).await;
    assert_eq!(entries(&sink, path), expected(&["a=1@5 s i"]));
}

#[tokio::test]
async fn a_batch_is_a_set_of_its_own_while_the_call_is_open() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(BATCH).await;
    let answers = tokio::spawn(answers);
    let meters = [meter("a", 1.0), named(meter("b", 2.0), "s", "i", 5)];
    messages.send(batch(&meters)).await.unwrap();
    soon(sink.wait_until(|state| state.messages(BATCH) == 1)).await;
    assert_eq!(entries(&sink, BATCH), expected(&["a=1@5 s i", "b=2@5 s i"]));
    assert_eq!(sink.snapshot().services["s/i"][BATCH], 1);
    messages.send(batch(&meters[..1])).await.unwrap();
    let state = soon(sink.wait_until(|state| state.messages(BATCH) == 2)).await;
    assert_eq!(entries(&sink, BATCH).len(), 2);
    assert_eq!(state.methods[BATCH].unnamed, 1);
    drop(messages);
    soon(answers).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_set_without_service_instance_or_timestamp_is_dropped_silently() {
    for (service, instance, timestamp) in [("", "i", 5), ("s", "", 5), ("s", "i", 0)] {
        let meters = [
            named(meter("a", 1.0), service, instance, timestamp),
            meter("b", 2.0),
            meter("b", 3.0),
        ];
        let (entries, state) = filed(STREAM, meters.iter().map(encoded).collect()).await;
        assert_eq!(entries, []);
        assert_eq!((state.unnamed, state.repeated), (3, 0));
        let (entries, state) = filed(BATCH, vec![batch(&meters)]).await;
        assert_eq!(entries, []);
        assert_eq!((state.unnamed, state.repeated), (3, 0));
    }
}

#[tokio::test]
async fn a_histogram_is_one_value() {
    let bucket = |bucket: f64, count: i64, is_negative_infinity: bool| sw::MeterBucketValue {
        bucket,
        count,
        is_negative_infinity,
    };
    let histogram = sw::MeterData {
        metric: Some(Metric::Histogram(sw::MeterHistogram {
            name: "h".to_owned(),
            labels: labels(&[("le", "x")]),
            values: vec![
                bucket(0.0, 1, true),
                bucket(0.5, 2, false),
                bucket(10.0, 3, false),
            ],
        })),
        ..Default::default()
    };
    let (entries, _) = filed(BATCH, vec![batch(&[named(histogram, "s", "i", 5)])]).await;
    assert_eq!(entries, expected(&["h{le=x}=[-inf:1,0.5:2,10:3]@5 s i"]));
}
