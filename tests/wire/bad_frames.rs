//! Agents that break HTTP/2. Each loses its own connection or call at most.

use perigee::sink::fault::Fault;
use perigee::telemetry::books::{ConnectionError, Refusal};
use tokio::io::AsyncWriteExt;

use crate::bystander::Bystander;
use crate::gateway::{Gateway, TRACING, pipe};
use crate::messages::*;
use crate::raw::*;

/// A gateway, an innocent agent, and a connection that may say anything.
struct Scene {
    gateway: Gateway,
    bystander: Bystander,
    raw: Raw,
}

impl Scene {
    async fn set() -> Self {
        let gateway = Gateway::start(1).await;
        let bystander = Bystander::of(&gateway).await;
        let raw = Raw::greeted(gateway.app.address).await;
        Self {
            gateway,
            bystander,
            raw,
        }
    }

    /// The connection ends with this GOAWAY and is counted; nothing else happens.
    async fn ends_with(mut self, code: u32) {
        assert_eq!(self.raw.farewell().await, Some(code));
        self.failed(ConnectionError::Protocol).await;
    }

    async fn failed(self, why: ConnectionError) {
        self.gateway
            .wait_for("the connection counted", |gateway| {
                gateway.connection_errors(why) == 1
            })
            .await;
        self.ends_well().await;
    }

    async fn ends_well(self) {
        self.bystander.stays_unharmed(&self.gateway).await;
        drop(self.raw);
        self.gateway.stop().await;
    }
}

/// What a misbehaving agent says after its first SETTINGS, and the GOAWAY it gets.
async fn violation(frames: &[Frame], code: u32) {
    let mut scene = Scene::set().await;
    for frame in frames {
        scene.raw.send(frame).await;
    }
    scene.ends_with(code).await;
}

#[tokio::test]
async fn garbage_instead_of_a_preface_ends_the_connection() {
    let mut scene = Scene::set().await;
    scene.raw = Raw::silent(scene.gateway.app.address).await;
    scene
        .raw
        .say(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])
        .await;
    scene.raw.say(&[0xaa; 200]).await;
    while scene.raw.next().await.is_some() {}
    scene.failed(ConnectionError::Handshake).await;
}

#[tokio::test]
async fn http_1_ends_the_connection() {
    let mut scene = Scene::set().await;
    scene.raw = Raw::silent(scene.gateway.app.address).await;
    scene
        .raw
        .say(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")
        .await;
    while scene.raw.next().await.is_some() {}
    scene.failed(ConnectionError::Handshake).await;
}

#[tokio::test]
async fn frames_of_impossible_sizes_end_the_connection() {
    for frame in [
        Frame::new(SETTINGS, 0, 0, &[0; 5]),
        Frame::new(PING, 0, 0, &[0; 7]),
        Frame::new(RST_STREAM, 0, 1, &[0; 3]),
        Frame::new(WINDOW_UPDATE, 0, 0, &[0; 5]),
        Frame::new(DATA, 0, 1, &vec![0; 16_385]),
    ] {
        let call = Frame::call(1, SEGMENTS, &[]);
        let mut scene = Scene::set().await;
        scene.raw.send(&call).await;
        scene.raw.send(&frame).await;
        let code = scene.raw.farewell().await;
        // The crate says the one where the standard says the other.
        let expected = [Some(FRAME_SIZE_ERROR), Some(PROTOCOL_ERROR)];
        assert!(expected.contains(&code), "{code:?} for {frame:?}");
        scene.failed(ConnectionError::Protocol).await;
    }
}

#[tokio::test]
async fn data_on_stream_0_ends_the_connection() {
    violation(&[Frame::new(DATA, 0, 0, EMPTY)], PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn data_on_a_stream_that_was_never_opened_ends_the_connection() {
    violation(&[Frame::new(DATA, 0, 1, EMPTY)], PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn a_stream_with_an_even_number_ends_the_connection() {
    violation(&[Frame::call(2, SEGMENTS, &[])], PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn a_continuation_of_nothing_ends_the_connection() {
    let frame = Frame::new(CONTINUATION, END_HEADERS, 1, &request(SEGMENTS));
    violation(&[frame], PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn a_window_that_overflows_ends_the_connection_or_the_call() {
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let update = Frame::new(WINDOW_UPDATE, 0, 0, &most);
    violation(&[update.clone(), update], FLOW_CONTROL_ERROR).await;
    let mut scene = Scene::set().await;
    let update = Frame::new(WINDOW_UPDATE, 0, 1, &most);
    scene.raw.send(&Frame::call(1, SEGMENTS, &[])).await;
    scene.raw.send(&update).await;
    scene.raw.send(&update).await;
    assert_eq!(scene.raw.reset_of(1).await, FLOW_CONTROL_ERROR);
    scene.raw.is_alive(3).await;
    scene.ends_well().await;
}

#[tokio::test]
async fn more_data_than_the_window_allows_ends_the_connection_or_the_call() {
    let mut scene = Scene::set().await;
    scene.raw.send(&Frame::call(1, SEGMENTS, &[])).await;
    // One message of which the window has room for a small part; nobody reads as fast as this.
    let mut flood = Frame::new(DATA, 0, 1, b"\0\x02\0\0\0").encode();
    let chunk = Frame::new(DATA, 0, 1, &[0; 16_384]).encode();
    flood.extend(chunk.repeat(1024));
    let end = scene.raw.flood(&flood, |frame| ends(frame, 1)).await;
    assert_eq!(end.unwrap().code(), FLOW_CONTROL_ERROR);
    scene.ends_well().await;
}

#[tokio::test]
async fn frames_of_unknown_kinds_are_ignored() {
    let mut scene = Scene::set().await;
    scene.raw.send(&Frame::new(0xfa, 0xff, 0, &[1; 100])).await;
    scene.raw.send(&Frame::call(1, SEGMENTS, &[])).await;
    scene.raw.send(&Frame::new(0x77, 0, 1, b"priority")).await;
    scene.raw.is_alive(3).await;
    scene.ends_well().await;
}

/// The h2 crate is stricter than the standard, which has the call end only.
#[tokio::test]
async fn a_name_in_capitals_ends_the_connection() {
    let call = Frame::call(1, SEGMENTS, &[("Authentication", "t")]);
    violation(&[call], PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn a_header_block_that_does_not_decode_ends_the_connection() {
    // An index far beyond the table: from here on both sides' tables differ.
    let frame = Frame::new(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f]);
    violation(&[frame], PROTOCOL_ERROR).await;
}

/// A call whose headers hold a value of so many bytes, in frames of 16 KiB.
fn long_headers(stream: u32, bytes: usize) -> Vec<u8> {
    let block = [request(SEGMENTS), fields(&[("x", &"v".repeat(bytes))])].concat();
    let last = block.chunks(16_384).count() - 1;
    let frames = block.chunks(16_384).enumerate().map(|(number, part)| {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let flags = if number == last { END_HEADERS } else { 0 };
        Frame::new(kind, flags, stream, part).encode()
    });
    frames.collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn headers_of_16_kib_are_refused_and_cost_the_call_only() {
    let mut scene = Scene::set().await;
    scene.raw.say(&long_headers(1, 16 << 10)).await;
    scene
        .raw
        .until(|frame| frame.kind == HEADERS && frame.stream == 1)
        .await;
    assert_eq!(scene.gateway.refusals(Refusal::Metadata), 1);
    scene.raw.is_alive(3).await;
    scene.ends_well().await;
}

/// Above what is read at all: the h2 crate answers by itself.
#[tokio::test]
async fn headers_of_70_kib_cost_the_call_only() {
    let mut scene = Scene::set().await;
    scene.raw.say(&long_headers(1, 70 << 10)).await;
    let answer = scene.raw.until(|frame| frame.stream == 1).await;
    assert_eq!(answer.kind, HEADERS);
    scene.raw.is_alive(3).await;
    scene.ends_well().await;
}

#[tokio::test]
async fn headers_of_200_kib_end_the_connection() {
    let mut scene = Scene::set().await;
    let headers = long_headers(1, 200 << 10);
    let end = scene.raw.flood(&headers, |frame| ends(frame, 1)).await;
    assert_eq!(end.unwrap().code(), ENHANCE_YOUR_CALM);
    scene.failed(ConnectionError::Protocol).await;
}

#[tokio::test]
async fn endless_continuations_end_the_connection() {
    let mut scene = Scene::set().await;
    let first = Frame::new(HEADERS, 0, 1, &request(SEGMENTS)).encode();
    let more = Frame::new(CONTINUATION, 0, 1, &fields(&[("x", "y")])).encode();
    let flood = [first, more.repeat(100_000)].concat();
    let end = scene.raw.flood(&flood, |frame| ends(frame, 1)).await;
    assert_eq!(end.unwrap().code(), ENHANCE_YOUR_CALM);
    scene.failed(ConnectionError::Protocol).await;
}

#[tokio::test]
async fn a_flood_of_pings_is_answered() {
    let mut scene = Scene::set().await;
    let pings = (0..20_000_u64).map(|number| Frame::new(PING, 0, 0, &number.to_be_bytes()));
    let pings = pings.map(|ping| ping.encode()).collect::<Vec<_>>().concat();
    let last = Frame::new(PING, ACK, 0, &19_999_u64.to_be_bytes());
    let end = scene.raw.flood(&pings, |frame| *frame == last);
    assert_eq!(end.await, Some(last.clone()));
    scene.raw.is_alive(1).await;
    scene.ends_well().await;
}

#[tokio::test]
async fn a_flood_of_settings_is_answered() {
    let mut scene = Scene::set().await;
    // The initial window, to and fro.
    let settings = (0..20_000_u32).map(|number| {
        let window = (65_535 + number % 2).to_be_bytes();
        Frame::new(SETTINGS, 0, 0, &[&[0, 4][..], &window].concat()).encode()
    });
    let mut flood = settings.collect::<Vec<_>>().concat();
    flood.extend(Frame::new(PING, 0, 0, b"the last").encode());
    let last = Frame::new(PING, ACK, 0, b"the last");
    let end = scene.raw.flood(&flood, |frame| *frame == last);
    assert_eq!(end.await, Some(last.clone()));
    scene.raw.is_alive(1).await;
    scene.ends_well().await;
}

/// Answers that nobody takes must not pile up.
#[tokio::test]
async fn a_flood_of_pings_by_one_who_does_not_read_is_not_read_either() {
    let mut scene = Scene::set().await;
    let pings = Frame::new(PING, 0, 0, &[7; 8]).encode().repeat(4 << 20);
    let writing = scene.raw.writer.write_all(&pings);
    let written = tokio::time::timeout(std::time::Duration::from_secs(2), writing).await;
    assert!(written.is_err(), "64 MiB of pings were read");
    scene.ends_well().await;
}

#[tokio::test]
async fn a_flood_of_calls_that_are_reset_at_once_costs_their_connection_at_most() {
    let mut scene = Scene::set().await;
    let mut flood = Vec::new();
    for stream in (1..40_000).step_by(2) {
        flood.extend(Frame::call(stream, SEGMENTS, &[]).encode());
        flood.extend(Frame::new(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).encode());
    }
    flood.extend(Frame::new(PING, 0, 0, b"the last").encode());
    let end = scene
        .raw
        .flood(&flood, |frame| frame.kind == GOAWAY || frame.kind == PING);
    let end = end.await.unwrap();
    assert!(
        end.kind == PING || end.code() == ENHANCE_YOUR_CALM,
        "{end:?}"
    );
    scene
        .gateway
        .wait_for("only the bystander's call is open", |gateway| {
            gateway.app.books.front.streams_open.value() == 1
        })
        .await;
    scene.ends_well().await;
}

/// Each frame costs more memory than its byte, and the windows count bytes.
#[tokio::test]
async fn a_flood_of_single_bytes_on_paused_streams_ends_the_connection() {
    let gateway = Gateway::start_with(1, |settings| {
        let queue = pipe(settings, TRACING).queue.as_mut().unwrap();
        queue.event_buffer_size = 8;
        queue.partition = 1;
    })
    .await;
    let bystander = Bystander::of(&gateway).await;
    gateway.sink().set_fault(Fault {
        path: Some("TraceSegment".to_owned()),
        stall: true,
        ..Fault::default()
    });
    let mut raw = Raw::greeted(gateway.app.address).await;
    let streams = [1, 3, 5];
    for stream in streams {
        raw.send(&Frame::call(stream, SEGMENTS, &[])).await;
        for number in 0..600 {
            let message = framed(&segment(&number.to_string(), "shop"));
            raw.send(&Frame::new(DATA, 0, stream, &message)).await;
        }
    }
    gateway
        .wait_for("the streams paused", |gateway| {
            gateway.app.books.front.paused_streams.value() >= streams.len() as u64
        })
        .await;
    let flood = streams.map(|stream| Frame::new(DATA, 0, stream, &[0]).encode().repeat(30_000));
    let end = raw
        .flood(&flood.concat(), |frame| frame.kind == GOAWAY)
        .await;
    assert_eq!(end.unwrap().code(), ENHANCE_YOUR_CALM);
    gateway
        .wait_for("the connection counted", |gateway| {
            gateway.connection_errors(ConnectionError::Protocol) == 1
        })
        .await;
    gateway.sink().set_fault(Fault::default());
    bystander.stays_unharmed(&gateway).await;
    drop(raw);
    gateway.stop().await;
}
