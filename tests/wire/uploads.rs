//! Profiler files (T6 of `protocols.md`): through the gateway as against the sink itself.

use std::net::SocketAddr;

use bytes::Bytes;
use perigee::engine::Code;
use perigee::sink::state::{UploadState, UploadStatus};
use perigee_proto::skywalking::v10 as sw;
use prost::Message;
use sw::async_profiler_data::Result as AsyncResult;
use sw::pprof_data::Result as PprofResult;
use xxhash_rust::xxh3::xxh3_64;

use crate::client::{Call, Client, soon};
use crate::gateway::Gateway;
use crate::messages::framed;

pub(crate) const JFR: &str = "/skywalking.v10.AsyncProfilerTask/collect";
pub(crate) const PPROF: &str = "/skywalking.v10.PprofTask/collect";

const MIB: usize = 1 << 20;
const SUCCESS: i32 = 0;
const TASK_ERROR: i32 = 1;
const OVERSIZE: i32 = 2;

pub(crate) fn jfr_metadata(outcome: i32, content_size: usize) -> Bytes {
    let data = sw::AsyncProfilerData {
        meta_data: Some(sw::AsyncProfilerMetaData {
            service: "s".to_owned(),
            service_instance: "i".to_owned(),
            task_id: "t".to_owned(),
            r#type: outcome,
            content_size: i32::try_from(content_size).unwrap(),
        }),
        result: None,
    };
    framed(&data.encode_to_vec())
}

fn jfr_chunk(content: &[u8]) -> Bytes {
    let data = sw::AsyncProfilerData {
        meta_data: None,
        result: Some(AsyncResult::Content(content.to_vec())),
    };
    framed(&data.encode_to_vec())
}

pub(crate) fn pprof_metadata(outcome: i32, content_size: usize) -> Bytes {
    let data = sw::PprofData {
        metadata: Some(sw::PprofMetaData {
            r#type: outcome,
            content_size: i32::try_from(content_size).unwrap(),
            ..Default::default()
        }),
        result: None,
    };
    framed(&data.encode_to_vec())
}

fn pprof_chunk(content: &[u8]) -> Bytes {
    let data = sw::PprofData {
        metadata: None,
        result: Some(PprofResult::Content(content.to_vec())),
    };
    framed(&data.encode_to_vec())
}

/// An upload as agents do it: metadata, the answer to it, content, half-close.
struct Upload {
    path: &'static str,
    metadata: Bytes,
    chunks: Vec<Bytes>,
}

impl Upload {
    /// What was answered to the metadata, and after the end.
    async fn to(&self, address: SocketAddr) -> (Option<Vec<u8>>, Vec<u8>) {
        let client = Client::of(address).await;
        let mut call = client.open(self.path).await;
        call.send(self.metadata.clone()).await.unwrap();
        let first = call.message().await;
        for chunk in &self.chunks {
            soon(call.send(chunk.clone())).await.unwrap();
        }
        call.half_close();
        let rest = call.answer().await;
        (first, rest.ok().to_vec())
    }

    /// Does it with the sink and then with the gateway; nobody can tell the difference. What the
    /// sink saw, and what it answered to the metadata.
    async fn is_alike(&self, gateway: &Gateway) -> (UploadState, Option<Vec<u8>>) {
        let directly = self.to(gateway.sink().listen()).await;
        let through = self.to(gateway.app.address).await;
        assert_eq!(through, directly);
        let both = gateway.sink().wait_until(|state| state.uploads.len() == 2);
        let mut uploads = soon(both).await.uploads;
        assert_eq!(uploads[1], uploads[0]);
        (uploads.remove(1), through.0)
    }
}

#[tokio::test]
async fn t06_a_jfr_of_20_mib_arrives_whole() {
    let gateway = Gateway::start(1).await;
    let content: Vec<u8> = (0..20 * MIB).map(|at| ((at * 31) >> 7) as u8).collect();
    let upload = Upload {
        path: JFR,
        metadata: jfr_metadata(SUCCESS, content.len()),
        chunks: content.chunks(MIB).map(jfr_chunk).collect(),
    };
    let (seen, _) = upload.is_alike(&gateway).await;
    assert_eq!(seen.status, UploadStatus::Ok);
    assert_eq!(seen.xxh3, format!("{:016x}", xxh3_64(&content)));
}

#[tokio::test]
async fn t06_a_jfr_whose_task_failed_ends_with_ok_and_without_a_message() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(JFR).await;
    call.send(jfr_metadata(TASK_ERROR, 0)).await.unwrap();
    call.half_close();
    assert_eq!(call.answer().await.ok(), b"");
    let seen = gateway.sink().wait_until(|state| state.uploads.len() == 1);
    assert_eq!(soon(seen).await.uploads[0].status, UploadStatus::TaskError);
}

#[tokio::test]
async fn an_oversized_jfr_is_refused_by_the_oap_itself() {
    let gateway = Gateway::start(1).await;
    let upload = Upload {
        path: JFR,
        metadata: jfr_metadata(SUCCESS, 31 * MIB),
        chunks: Vec::new(),
    };
    let (_, answer) = upload.is_alike(&gateway).await;
    let oversize = sw::AsyncProfilerCollectionResponse { r#type: OVERSIZE };
    assert_eq!(answer.unwrap(), framed(&oversize.encode_to_vec()));
}

#[tokio::test]
async fn t06_a_pprof_is_answered_in_all_three_cases() {
    let cases = [
        (SUCCESS, 3, UploadStatus::Ok),
        (TASK_ERROR, 0, UploadStatus::TaskError),
        (SUCCESS, 31 * MIB, UploadStatus::Oversize),
    ];
    for (outcome, size, status) in cases {
        let gateway = Gateway::start(1).await;
        let upload = Upload {
            path: PPROF,
            metadata: pprof_metadata(outcome, size),
            chunks: match status {
                UploadStatus::Ok => vec![pprof_chunk(b"abc")],
                _ => Vec::new(),
            },
        };
        let (seen, answer) = upload.is_alike(&gateway).await;
        assert_eq!(seen.status, status);
        assert!(answer.is_some(), "{status:?}");
    }
}

/// A JFR upload whose metadata has been answered.
pub(crate) async fn begun_jfr(client: &Client, headers: &[(&str, &str)]) -> Call {
    let mut call = client.open_with(JFR, headers).await;
    call.send(jfr_metadata(SUCCESS, 2 * MIB)).await.unwrap();
    call.message().await.unwrap();
    call.send(jfr_chunk(&vec![1; MIB])).await.unwrap();
    call
}

#[tokio::test]
async fn t06_a_reset_travels_on_to_the_oap() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = begun_jfr(&client, &[]).await;
    call.reset();
    let seen = soon(gateway.sink().wait_until(|state| !state.uploads.is_empty())).await;
    assert_eq!(seen.uploads[0].status, UploadStatus::Cut);
    assert_eq!(seen.methods[JFR].cut, 1);
}

#[tokio::test]
async fn a_lost_client_is_a_reset_for_the_oap() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let _call = begun_jfr(&client, &[]).await;
    client.over.abort();
    let seen = soon(gateway.sink().wait_until(|state| !state.uploads.is_empty())).await;
    assert_eq!(seen.uploads[0].status, UploadStatus::Cut);
}

#[tokio::test]
async fn a_node_lost_in_the_middle_of_an_upload_is_internal() {
    let mut gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let call = begun_jfr(&client, &[]).await;
    gateway.sinks.remove(0).shutdown().unwrap();
    assert_eq!(call.answer().await.code(), Code::Internal);
    let books = gateway.app.books.totals();
    assert_eq!(
        (books.passthrough_calls, books.passthrough_failures),
        (1, 1)
    );
}
