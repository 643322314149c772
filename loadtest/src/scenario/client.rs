//! A client with one call at a time, for tests that follow a call step by step.
//!
//! It blocks, as the simplest of agents does: when the gateway stops reading, so does the test's
//! thread.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use loona_hpack::Decoder;

use crate::http2::{self, DEFAULT_WINDOW, MAX_FRAME, flag, kind, setting};

/// Longest wait for credit or an answer: longer than any outage that a test makes.
const WITHIN: Duration = Duration::from_secs(120);

/// A connection.
pub struct Client {
    stream: TcpStream,
    authority: String,
    decoder: Decoder<'static>,
    unread: Vec<u8>,
    next_stream: u32,
    /// What may be sent on the connection, and at first on each call.
    window: i64,
    initial_window: i64,
    /// The latest call.
    call: State,
    leaving: bool,
}

/// What is known of a call.
struct State {
    stream: u32,
    window: i64,
    ended: Option<Ended>,
}

enum Ended {
    Status(u32, String),
    Reset(u32),
}

/// An open call.
pub struct Call<'a> {
    client: &'a mut Client,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            authority: address.to_string(),
            decoder: Decoder::new(),
            unread: Vec::new(),
            next_stream: 1,
            window: DEFAULT_WINDOW,
            initial_window: DEFAULT_WINDOW,
            call: State {
                stream: 0,
                window: 0,
                ended: None,
            },
            leaving: false,
        };
        let mut hello = http2::PREFACE.to_vec();
        http2::put_settings(&mut hello, &[]);
        client.stream.write_all(&hello)?;
        Ok(client)
    }

    /// Whether the server has said that it takes no more calls.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Begins a call; what was left of the one before is forgotten.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn open(&mut self, method: &str) -> Result<Call<'_>> {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.call = State {
            stream,
            window: self.initial_window,
            ended: None,
        };
        // Static table entries for POST and http, the rest as literals that enter no table.
        let mut block = b"\x83\x86".to_vec();
        for (name, value) in [
            (&b"\x04"[..], method),
            (b"\x01", &self.authority),
            (b"\x0f\x10", "application/grpc"),
            (b"\x00\x02te", "trailers"),
        ] {
            let length = u8::try_from(value.len())
                .ok()
                .filter(|length| *length < 127);
            block.extend_from_slice(name);
            block.push(length.with_context(|| format!("{value:?} is too long"))?);
            block.extend_from_slice(value.as_bytes());
        }
        let mut out = Vec::new();
        http2::put_frame(&mut out, kind::HEADERS, flag::END_HEADERS, stream, &block);
        self.stream.write_all(&out)?;
        Ok(Call { client: self })
    }

    /// One whole call with these messages.
    ///
    /// # Errors
    /// It has not ended with OK.
    pub fn call<M: AsRef<[u8]>>(&mut self, method: &str, messages: &[M]) -> Result<()> {
        let mut call = self.open(method)?;
        for message in messages {
            call.send(message.as_ref())?;
        }
        call.finish()
    }

    /// Reads once, and acts on all whole frames.
    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer)?;
        ensure!(read > 0, "the server has ended the connection");
        self.unread.extend_from_slice(&buffer[..read]);
        let unread = std::mem::take(&mut self.unread);
        let mut bytes = &unread[..];
        let mut replies = Vec::new();
        while let Some(frame) = http2::take_frame(&mut bytes)? {
            self.frame(&frame, &mut replies)?;
        }
        self.unread = bytes.to_vec();
        Ok(self.stream.write_all(&replies)?)
    }

    fn frame(&mut self, frame: &http2::Frame<'_>, replies: &mut Vec<u8>) -> Result<()> {
        http2::put_acknowledgement(replies, frame);
        let ours = frame.stream == self.call.stream;
        match frame.kind {
            kind::HEADERS => {
                let headers = self.decoder.decode(frame.content()?);
                let headers = headers.map_err(|error| anyhow::anyhow!("headers: {error:?}"))?;
                let find = |name: &[u8]| headers.iter().find(|header| header.0 == name);
                if ours && frame.has(flag::END_STREAM) {
                    let (_, status) = find(b"grpc-status").context("no grpc-status")?;
                    let text = find(b"grpc-message").map(|(_, text)| text.as_slice());
                    self.call.ended = Some(Ended::Status(
                        std::str::from_utf8(status)?.parse()?,
                        String::from_utf8_lossy(text.unwrap_or_default()).into_owned(),
                    ));
                }
            }
            kind::RST_STREAM if ours => self.call.ended = Some(Ended::Reset(frame.number()?)),
            kind::GOAWAY => self.leaving = true,
            kind::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number()?),
            kind::WINDOW_UPDATE if ours => self.call.window += i64::from(frame.number()?),
            kind::SETTINGS => {
                for (identifier, value) in frame.settings() {
                    if identifier == setting::INITIAL_WINDOW_SIZE {
                        let grown = i64::from(value) - self.initial_window;
                        self.initial_window += grown;
                        self.call.window += grown;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Call<'_> {
    /// Sends one message, given without its prefix; blocks while there is no credit.
    ///
    /// # Errors
    /// The call has ended, or there is no credit for minutes.
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
        framed.extend_from_slice(message);
        let mut left = &framed[..];
        while !left.is_empty() {
            let client = &mut *self.client;
            let room = client.window.min(client.call.window).max(0);
            let room = usize::try_from(room)?.min(left.len()).min(MAX_FRAME);
            if client.call.ended.is_some() {
                self.outcome()?;
                bail!("answered before the end of the call");
            }
            if room == 0 {
                client.read()?;
                continue;
            }
            let (piece, rest) = left.split_at(room);
            self.put(0, piece)?;
            left = rest;
        }
        Ok(())
    }

    /// Ends our half and waits for OK.
    ///
    /// # Errors
    /// The call ends otherwise; the error says how.
    pub fn finish(mut self) -> Result<()> {
        self.put(flag::END_STREAM, &[])?;
        while self.client.call.ended.is_none() {
            self.client.read()?;
        }
        self.outcome()
    }

    fn put(&mut self, flags: u8, payload: &[u8]) -> Result<()> {
        let client = &mut *self.client;
        let mut out = Vec::with_capacity(http2::HEAD + payload.len());
        http2::put_frame(&mut out, kind::DATA, flags, client.call.stream, payload);
        client.window -= i64::try_from(payload.len())?;
        client.call.window -= i64::try_from(payload.len())?;
        Ok(client.stream.write_all(&out)?)
    }

    fn outcome(&self) -> Result<()> {
        match &self.client.call.ended {
            Some(Ended::Status(0, _)) => Ok(()),
            Some(Ended::Status(code, text)) => bail!("status {code} {text:?}"),
            Some(Ended::Reset(code)) => bail!("reset, error {code}"),
            None => bail!("the call is still open"),
        }
    }
}
