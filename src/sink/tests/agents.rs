//! Segments and logs.

use sw::log_data_body::Content;

use super::super::decode::hash;
use super::*;

const LOGS: &str = "/skywalking.v3.LogReportService/collect";

fn log_with(service: &str, instance: &str, content: Option<Content>) -> Bytes {
    encoded(&sw::LogData {
        service: service.to_owned(),
        service_instance: instance.to_owned(),
        body: Some(sw::LogDataBody {
            r#type: String::new(),
            content,
        }),
        ..Default::default()
    })
}

fn log(text: &str, service: &str, instance: &str) -> Bytes {
    let text = text.to_owned();
    log_with(service, instance, Some(Content::Text(sw::TextLog { text })))
}

#[tokio::test]
async fn logs_of_two_services_on_one_stream_are_all_filed_under_the_first() {
    let messages = vec![
        log("1", "a", "a-1"),
        log("2", "b", "b-1"),
        log("3", "", ""),
        log("4", "b", "b-2"),
    ];
    let (entries, state) = filed(LOGS, messages).await;
    assert_eq!(
        entries,
        expected(&["1 a a-1", "2 a b-1", "3 a -", "4 a b-2"])
    );
    assert_eq!(state.unfiled(), 0);
}

#[tokio::test]
async fn a_log_before_any_service_is_dropped_silently_and_the_next_stream_knows_none() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let messages = vec![log("1", "", "i"), log("2", "a", "i"), log("3", "", "i")];
    client.call(LOGS, messages).await.unwrap();
    client.call(LOGS, vec![log("4", "", "i")]).await.unwrap();
    assert_eq!(entries(&sink, LOGS), expected(&["2 a i", "3 a i"]));
    let state = sink.snapshot();
    assert_eq!(state.methods[LOGS].messages, 4);
    assert_eq!(state.methods[LOGS].unnamed, 2);
    assert_eq!(state.services["a/i"][LOGS], 2);
    assert_eq!(state.services.len(), 1);
}

#[tokio::test]
async fn a_log_is_called_by_its_text_of_any_kind() {
    let (json, yaml) = (r#"{"k":1}"#.to_owned(), "k:1".to_owned());
    let bare = log_with("a", "i", None);
    let messages = vec![
        log_with("a", "i", Some(Content::Json(sw::JsonLog { json }))),
        log_with("a", "i", Some(Content::Yaml(sw::YamlLog { yaml }))),
        bare.clone(),
    ];
    let (entries, _) = filed(LOGS, messages).await;
    let bare = format!("{} a i", hash(&bare));
    assert_eq!(entries, expected(&[r#"{"k":1} a i"#, "k:1 a i", &bare]));
}

#[tokio::test]
async fn a_collection_is_one_message_of_each_service_and_an_entry_for_each_segment() {
    let sink = start();
    let path = "/skywalking.v3.TraceSegmentReportService/collectInSync";
    let collection = sw::SegmentCollection {
        segments: vec![
            segment_of("1", "a"),
            segment_of("2", "b"),
            segment_of("3", "a"),
        ],
    };
    let mut client = Client::of(&sink).await;
    client.call(path, vec![encoded(&collection)]).await.unwrap();
    assert_eq!(
        entries(&sink, path),
        expected(&["1 a a-1", "2 b b-1", "3 a a-1"])
    );
    let state = sink.snapshot();
    assert_eq!(state.total_messages, 1);
    assert_eq!(state.services["a/a-1"][path], 1);
    assert_eq!(state.services["b/b-1"][path], 1);
}

#[tokio::test]
async fn names_and_silent_drops_are_counted_without_ids() {
    let sink = start_with(SinkOptions::default());
    let mut client = Client::of(&sink).await;
    let messages = vec![log("1", "", "i"), log("2", "a", "i"), log("3", "b", "i")];
    client.call(LOGS, messages).await.unwrap();
    let state = sink.snapshot();
    assert_eq!(state.services["a/i"][LOGS], 2);
    assert_eq!(state.methods[LOGS].unfiled(), 1);
    assert_eq!(entries(&sink, LOGS), []);
    assert_eq!(state.ids_dropped, 0);
}
