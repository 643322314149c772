//! Single frames, for what the h2 crate refuses to send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::client::soon;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.to_vec(),
        }
    }

    /// A HEADERS frame that opens a call.
    pub(crate) fn call(stream: u32, path: &str, more: &[(&str, &str)]) -> Self {
        let block = [request(path), fields(more)].concat();
        Self::new(HEADERS, END_HEADERS, stream, &block)
    }

    /// The code of a GOAWAY or of a RST_STREAM.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut out = length[1..].to_vec();
        out.extend([self.kind, self.flags]);
        out.extend(self.stream.to_be_bytes());
        out.extend(&self.payload);
        out
    }
}

/// Whether the frame ends the connection or the stream by force.
pub(crate) fn ends(frame: &Frame, stream: u32) -> bool {
    frame.kind == GOAWAY || (frame.kind == RST_STREAM && frame.stream == stream)
}

/// The header block of a gRPC request.
pub(crate) fn request(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "gateway"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ])
}

/// Fields as HPACK literals, none of them remembered.
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn length(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        block.push(value as u8);
        return;
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(rest as u8 | 128);
        rest >>= 7;
    }
    block.push(rest as u8);
}

async fn read(reader: &mut OwnedReadHalf) -> Option<Frame> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream,
        payload,
    })
}

/// A connection on which anything may be said.
pub(crate) struct Raw {
    reader: OwnedReadHalf,
    /// Kept apart so that a flood can be written while answers are read.
    pub(crate) writer: OwnedWriteHalf,
}

impl Raw {
    /// Connected, nothing said.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        Self { reader, writer }
    }

    /// Connected, preface and SETTINGS said and heard.
    pub(crate) async fn greeted(address: SocketAddr) -> Self {
        let mut raw = Self::silent(address).await;
        raw.say(PREFACE).await;
        raw.send(&Frame::new(SETTINGS, 0, 0, &[])).await;
        let heard = raw.next().await.unwrap();
        assert_eq!((heard.kind, heard.flags), (SETTINGS, 0));
        raw
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        self.say(&frame.encode()).await;
    }

    /// The next frame; `None` when the connection is over.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        soon(read(&mut self.reader)).await
    }

    /// Says so much that answers have to be read meanwhile, and reads up to the frame that this is
    /// true of; `None` when the connection is over before.
    pub(crate) async fn flood(
        &mut self,
        bytes: &[u8],
        last: impl Fn(&Frame) -> bool,
    ) -> Option<Frame> {
        let Self { reader, writer } = self;
        let reading = async {
            loop {
                match read(reader).await {
                    Some(frame) if !last(&frame) => {}
                    end => return end,
                }
            }
        };
        // What ends the connection may come before everything is written.
        let (_cut, frame) = soon(async { tokio::join!(writer.write_all(bytes), reading) }).await;
        frame
    }

    /// The next frame that this is true of.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection is over");
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Reads to the end of the connection; the error code of its GOAWAY.
    pub(crate) async fn farewell(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }

    /// The error code with which this stream is reset.
    pub(crate) async fn reset_of(&mut self, stream: u32) -> u32 {
        let reset = |frame: &Frame| frame.kind == RST_STREAM && frame.stream == stream;
        self.until(reset).await.code()
    }

    /// Makes a report as it should be, and gets its answer: the connection is alive and well.
    pub(crate) async fn is_alive(&mut self, stream: u32) {
        let path = crate::messages::HEALTH;
        self.send(&Frame::call(stream, path, &[])).await;
        self.send(&Frame::new(DATA, END_STREAM, stream, &[0; 5]))
            .await;
        let body = self
            .until(|frame| frame.kind == DATA && frame.stream == stream)
            .await;
        assert_eq!(body.payload, [0, 0, 0, 0, 2, 8, 1]);
    }
}
