//! Profiler files.

use perigee_proto::skywalking::v10;
use v10::async_profiler_data::Result as AsyncResult;
use v10::pprof_data::Result as PprofResult;
use xxhash_rust::xxh3::xxh3_64;

use super::super::state::{UploadState, UploadStatus};
use super::*;

const ASYNC: &str = "/skywalking.v10.AsyncProfilerTask/collect";
const PPROF: &str = "/skywalking.v10.PprofTask/collect";

fn jfr(outcome: i32, content_size: i32) -> Bytes {
    encoded(&v10::AsyncProfilerData {
        meta_data: Some(v10::AsyncProfilerMetaData {
            service: "s".to_owned(),
            service_instance: "i".to_owned(),
            task_id: "t".to_owned(),
            r#type: outcome,
            content_size,
        }),
        result: None,
    })
}

fn jfr_chunk(content: &[u8]) -> Bytes {
    encoded(&v10::AsyncProfilerData {
        meta_data: None,
        result: Some(AsyncResult::Content(content.to_vec())),
    })
}

fn pprof(outcome: i32, content_size: i32) -> Bytes {
    encoded(&v10::PprofData {
        metadata: Some(v10::PprofMetaData {
            r#type: outcome,
            content_size,
            ..Default::default()
        }),
        result: None,
    })
}

async fn upload_of(sink: &SinkHandle) -> UploadState {
    soon(sink.wait_until(|state| !state.uploads.is_empty()))
        .await
        .uploads
        .remove(0)
}

#[tokio::test]
async fn a_jfr_is_answered_after_its_metadata_and_hashed() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(ASYNC).await;
    let answers = tokio::spawn(answers);
    messages.send(jfr(0, 6)).await.unwrap();
    let mut answers = soon(answers).await.unwrap().unwrap();
    assert_eq!(soon(answers.message()).await.unwrap(), Some(Bytes::new()));
    messages.send(jfr_chunk(b"abc")).await.unwrap();
    messages.send(jfr_chunk(b"def")).await.unwrap();
    drop(messages);
    assert_eq!(soon(answers.message()).await.unwrap(), None);
    assert_eq!(
        upload_of(&sink).await,
        UploadState {
            path: ASYNC.to_owned(),
            service: "s".to_owned(),
            instance: "i".to_owned(),
            task_id: "t".to_owned(),
            content_size: 6,
            received: 6,
            xxh3: format!("{:016x}", xxh3_64(b"abcdef")),
            status: UploadStatus::Ok,
        }
    );
}

#[tokio::test]
async fn a_failed_jfr_task_gets_no_message_and_ends_at_the_half_close() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(ASYNC).await;
    let answers = tokio::spawn(answers);
    messages.send(jfr(1, 0)).await.unwrap();
    soon(sink.wait_until(|state| state.messages(ASYNC) == 1)).await;
    assert!(!answers.is_finished());
    drop(messages);
    let answers = soon(answers).await.unwrap().unwrap();
    assert_eq!(collect(answers).await.unwrap(), [] as [Bytes; 0]);
    assert_eq!(upload_of(&sink).await.status, UploadStatus::TaskError);
}

#[tokio::test]
async fn a_file_above_30_mib_is_told_so() {
    for (path, metadata) in [
        (ASYNC, jfr(0, (30 << 20) + 1)),
        (PPROF, pprof(0, (30 << 20) + 1)),
    ] {
        let sink = start();
        let mut client = Client::of(&sink).await;
        let answers = client.call(path, vec![metadata]).await.unwrap();
        assert_eq!(answers, [Bytes::from_static(&[8, 2])], "{path}");
        assert_eq!(
            upload_of(&sink).await.status,
            UploadStatus::Oversize,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_pprof_is_answered_also_when_its_task_failed() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let failed = client.call(PPROF, vec![pprof(1, 0)]).await.unwrap();
    assert_eq!(failed, [Bytes::from_static(&[8, 1])]);
    let chunk = encoded(&v10::PprofData {
        metadata: None,
        result: Some(PprofResult::Content(b"ab".to_vec())),
    });
    let good = client.call(PPROF, vec![pprof(0, 2), chunk]).await.unwrap();
    assert_eq!(good, [Bytes::new()]);
    let state = soon(sink.wait_until(|state| state.uploads.len() == 2)).await;
    let statuses = state.uploads.iter().map(|upload| upload.status);
    assert!(statuses.eq([UploadStatus::TaskError, UploadStatus::Ok]));
}

#[tokio::test]
async fn too_much_is_an_error_and_too_little_is_noted() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let much = client.call(ASYNC, vec![jfr(0, 2), jfr_chunk(b"abc")]).await;
    assert_code(much, Code::Unknown);
    client
        .call(ASYNC, vec![jfr(0, 4), jfr_chunk(b"abc")])
        .await
        .unwrap();
    assert_code(
        client.call(ASYNC, vec![jfr_chunk(b"a")]).await,
        Code::Unknown,
    );
    let state = soon(sink.wait_until(|state| state.uploads.len() == 3)).await;
    let statuses = state.uploads.iter().map(|upload| upload.status);
    assert!(statuses.eq([
        UploadStatus::Overflow,
        UploadStatus::Incomplete,
        UploadStatus::Cut
    ]));
}

#[tokio::test]
async fn a_reset_upload_is_cut() {
    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
        let sink = start();
        let (_answer, mut body) = raw_call(&sink, ASYNC).await;
        body.send_data(framed(&jfr(0, 6)), false).unwrap();
        body.send_data(framed(&jfr_chunk(b"abc")), false).unwrap();
        soon(sink.wait_until(|state| state.messages(ASYNC) == 2)).await;
        body.send_reset(reason);
        let upload = upload_of(&sink).await;
        assert_eq!((upload.status, upload.received), (UploadStatus::Cut, 3));
        assert_eq!(sink.snapshot().methods[ASYNC].cut, 1);
        assert_eq!(sink.snapshot().errors.len(), 0);
    }
}
