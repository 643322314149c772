//! The sink against real clients over real sockets.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::server::BytesCodec;
use super::state::{Id, MethodState};
use super::{Sink, SinkHandle, SinkOptions};

mod agents;
mod answers;
mod control;
mod ebpf;
mod envoy;
mod faults;
mod meters;
mod otlp;
mod profiles;
mod uploads;

pub(super) const SEGMENTS: &str = "/skywalking.v3.TraceSegmentReportService/collect";
pub(super) const EVENTS: &str = "/skywalking.v3.EventService/collect";
pub(super) const KEEP_ALIVE: &str = "/skywalking.v3.ManagementService/keepAlive";

pub(super) fn start() -> SinkHandle {
    start_with(SinkOptions {
        keep_ids: 1000,
        ..SinkOptions::default()
    })
}

pub(super) fn start_with(options: SinkOptions) -> SinkHandle {
    Sink::start(options).unwrap()
}

/// Fails the test instead of hanging it.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("nothing happened for 20 s")
}

pub(super) struct Client(tonic::client::Grpc<Channel>);

impl Client {
    pub(super) async fn of(sink: &SinkHandle) -> Self {
        let channel = Endpoint::from_shared(format!("http://{}", sink.listen()))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let grpc = tonic::client::Grpc::new(channel)
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
        Self(grpc)
    }

    pub(super) fn gzip(self) -> Self {
        Self(
            self.0
                .send_compressed(tonic::codec::CompressionEncoding::Gzip),
        )
    }

    /// Sends the messages, half-closes, and collects the answers.
    pub(super) async fn call(
        &mut self,
        path: &'static str,
        messages: Vec<Bytes>,
    ) -> Result<Vec<Bytes>, Status> {
        self.call_as(path, Request::new(messages)).await
    }

    pub(super) async fn call_as(
        &mut self,
        path: &'static str,
        request: Request<Vec<Bytes>>,
    ) -> Result<Vec<Bytes>, Status> {
        soon(async {
            self.0.ready().await.unwrap();
            let path = PathAndQuery::from_static(path);
            let request = request.map(stream::iter);
            let response = self.0.streaming(request, path, BytesCodec).await?;
            collect(response.into_inner()).await
        })
        .await
    }

    /// Opens a call. The answers' future resolves with the first of them.
    pub(super) async fn open(
        &mut self,
        path: &'static str,
    ) -> (
        mpsc::Sender<Bytes>,
        impl Future<Output = Result<Streaming<Bytes>, Status>> + use<>,
    ) {
        let (sender, receiver) = mpsc::channel(1);
        let mut grpc = self.0.clone();
        grpc.ready().await.unwrap();
        let answers = async move {
            let request = Request::new(ReceiverStream::new(receiver));
            let path = PathAndQuery::from_static(path);
            let response = grpc.streaming(request, path, BytesCodec).await?;
            Ok(response.into_inner())
        };
        (sender, answers)
    }
}

/// What a sink has filed on a path: ids with their services and instances.
pub(super) fn entries(sink: &SinkHandle, path: &str) -> Vec<(String, String, String)> {
    let ids = sink.ids(path).into_iter();
    ids.map(
        |Id {
             id,
             service,
             instance,
         }| (id, service, instance),
    )
    .collect()
}

/// What one call with these messages, answered with OK, leaves in a sink: entries and counts.
pub(super) async fn filed(
    path: &'static str,
    messages: Vec<Bytes>,
) -> (Vec<(String, String, String)>, MethodState) {
    let sink = start();
    let count = messages.len() as u64;
    Client::of(&sink).await.call(path, messages).await.unwrap();
    let state = soon(sink.wait_until(|state| state.methods[path].open == 0)).await;
    let method = state.methods[path].clone();
    assert_eq!(method.messages, count, "{path}");
    (entries(&sink, path), method)
}

/// `id service instance`, one for each entry; `-` is nothing.
pub(super) fn expected(entries: &[&str]) -> Vec<(String, String, String)> {
    let text = |word: &str| if word == "-" { "" } else { word }.to_owned();
    let entry = |entry: &&str| match entry.split(' ').collect::<Vec<_>>()[..] {
        [id, service, instance] => (text(id), text(service), text(instance)),
        _ => panic!("not an entry: {entry}"),
    };
    entries.iter().map(entry).collect()
}

/// A call by the h2 crate, for what tonic's client hides.
pub(super) async fn raw_call(
    sink: &SinkHandle,
    path: &str,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let stream = tokio::net::TcpStream::connect(sink.listen()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://sink{path}"))
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    client.send_request(request, false).unwrap()
}

/// The message with its gRPC prefix.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    framed.into()
}

pub(super) async fn collect(mut answers: Streaming<Bytes>) -> Result<Vec<Bytes>, Status> {
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

pub(super) fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

pub(super) fn segment(id: &str, service: &str) -> Bytes {
    encoded(&segment_of(id, service))
}

pub(super) fn segment_of(id: &str, service: &str) -> sw::SegmentObject {
    sw::SegmentObject {
        trace_segment_id: id.to_owned(),
        service: service.to_owned(),
        service_instance: format!("{service}-1"),
        ..Default::default()
    }
}

pub(super) fn ping(service: &str) -> Bytes {
    encoded(&sw::InstancePingPkg {
        service: service.to_owned(),
        service_instance: "i".to_owned(),
        layer: String::new(),
    })
}

/// Bytes that are no message: a field of length 127 of which nothing follows.
pub(super) fn undecodable() -> Bytes {
    Bytes::from_static(&[0x0a, 0x7f])
}

pub(super) fn assert_code<T: std::fmt::Debug>(result: Result<T, Status>, code: Code) -> String {
    let status = result.expect_err("the call should have failed");
    assert_eq!(status.code(), code, "{status}");
    status.message().to_owned()
}
