//! One agent's connection: its call slots, its windows, and the answers it waits for.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use loona_hpack::Decoder;
use mio::event::Event;

use super::{Load, Report};
use crate::http2::{self, DEFAULT_WINDOW, MAX_FRAME, flag, kind, setting};
use crate::link::{Link, Received};
use crate::payload::Call;

/// Bytes that may wait in a connection's outbox before it makes more.
const OUTBOX: usize = 128 * 1024;
/// Answers are small; credit is given back in steps of this.
const CREDIT_STEP: u32 = 16 * 1024;

pub(super) struct Connection {
    link: Link,
    tail: Vec<u8>,
    slots: Vec<Slot>,
    method: &'static str,
    /// What every call says.
    call: Call,
    /// Messages of each call.
    messages: u64,
    authority: String,
    next_stream: u32,
    /// What we may send on the connection, and at first on each stream.
    window: i64,
    initial_window: i64,
    /// DATA bytes not yet given back.
    taken: u32,
    statuses: Statuses,
}

/// A place for one call at a time.
struct Slot {
    /// 0 between calls.
    stream: u32,
    window: i64,
    /// Calls after this one.
    calls_left: u64,
    messages_left: u64,
    /// Bytes of the message under way that have been sent.
    offset: usize,
    half_closed: bool,
}

impl Connection {
    pub(super) fn new(mut link: Link, load: &Load, call: Call, target: SocketAddr) -> Self {
        link.outbox().extend_from_slice(http2::PREFACE);
        http2::put_settings(link.outbox(), &[]);
        let slot = |_| Slot {
            stream: 0,
            window: 0,
            calls_left: load.rounds,
            messages_left: 0,
            offset: 0,
            half_closed: false,
        };
        Self {
            link,
            tail: Vec::new(),
            slots: (0..load.streams).map(slot).collect(),
            method: load.payload.method(),
            call,
            messages: load.messages,
            authority: target.to_string(),
            next_stream: 1,
            window: DEFAULT_WINDOW,
            initial_window: DEFAULT_WINDOW,
            taken: 0,
            statuses: Statuses::default(),
        }
    }

    pub(super) fn note(&mut self, event: &Event) {
        self.link.note(event);
    }

    pub(super) fn is_done(&self) -> bool {
        self.slots
            .iter()
            .all(|slot| slot.stream == 0 && slot.calls_left == 0)
    }

    /// Calls that have no answer yet.
    pub(super) fn unanswered(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| slot.calls_left + u64::from(slot.stream != 0))
            .sum()
    }

    /// Whether another turn makes progress without a new event.
    pub(super) fn has_work(&self, allowed: u64) -> bool {
        let sendable = |slot: &Slot| {
            if slot.stream == 0 {
                return slot.calls_left > 0;
            }
            slot.messages_left > 0 && allowed > 0 && slot.window > 0 && self.window > 0
        };
        self.link.is_readable() || (self.link.is_writable() && self.slots.iter().any(sendable))
    }

    /// One read, its frames, new frames while windows and outbox allow, and one write.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(super) fn turn(
        &mut self,
        buffer: &mut [u8],
        allowed: &mut u64,
        report: &mut Report,
    ) -> Result<()> {
        let kept = self.tail.len();
        buffer[..kept].copy_from_slice(&self.tail);
        match self.link.receive(&mut buffer[kept..]) {
            Received::Bytes(read) => {
                let mut bytes = &buffer[..kept + read];
                while let Some(frame) = http2::take_frame(&mut bytes)? {
                    self.frame(&frame, report)?;
                }
                self.tail.clear();
                self.tail.extend_from_slice(bytes);
            }
            Received::Nothing => {}
            Received::End => bail!("the server has ended the connection"),
        }
        self.fill(allowed, report)?;
        Ok(self.link.flush()?)
    }

    fn fill(&mut self, allowed: &mut u64, report: &mut Report) -> Result<()> {
        for slot in &mut self.slots {
            if slot.stream == 0 && slot.calls_left > 0 {
                *slot = Slot {
                    stream: self.next_stream,
                    window: self.initial_window,
                    calls_left: slot.calls_left - 1,
                    messages_left: self.messages,
                    offset: 0,
                    half_closed: false,
                };
                let outbox = self.link.outbox();
                put_request(outbox, self.next_stream, self.method, &self.authority);
                ensure!(
                    self.next_stream < u32::MAX / 2 - 2,
                    "stream ids are used up"
                );
                self.next_stream += 2;
            }
        }
        let mut progress = true;
        while progress && self.link.backlog() < OUTBOX {
            progress = false;
            for slot in &mut self.slots {
                if slot.stream != 0 && slot.messages_left > 0 && (*allowed > 0 || slot.offset > 0) {
                    let room = slot.window.min(self.window).clamp(0, MAX_FRAME as i64) as usize;
                    let message = if slot.messages_left == self.messages {
                        &self.call.first
                    } else {
                        &self.call.following
                    };
                    let piece = &message[slot.offset..];
                    let piece = &piece[..piece.len().min(room)];
                    if piece.is_empty() {
                        continue;
                    }
                    progress = true;
                    http2::put_frame(self.link.outbox(), kind::DATA, 0, slot.stream, piece);
                    *allowed -= u64::from(slot.offset == 0);
                    slot.window -= piece.len() as i64;
                    self.window -= piece.len() as i64;
                    slot.offset += piece.len();
                    if slot.offset == message.len() {
                        slot.offset = 0;
                        slot.messages_left -= 1;
                        report.sent += 1;
                    }
                }
                if slot.stream != 0 && slot.messages_left == 0 && !slot.half_closed {
                    // grpc-java ends a call by an empty frame of its own.
                    slot.half_closed = true;
                    http2::put_frame(
                        self.link.outbox(),
                        kind::DATA,
                        flag::END_STREAM,
                        slot.stream,
                        &[],
                    );
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self, frame: &http2::Frame<'_>, report: &mut Report) -> Result<()> {
        match frame.kind {
            kind::HEADERS => {
                ensure!(
                    frame.has(flag::END_HEADERS),
                    "CONTINUATION is not supported"
                );
                let status = self.statuses.read(frame.content()?)?;
                if frame.has(flag::END_STREAM) {
                    self.answered(frame.stream, status == Some(0), report);
                }
            }
            kind::DATA => {
                self.taken += u32::try_from(frame.payload.len())?;
                if self.taken >= CREDIT_STEP {
                    http2::put_window_update(self.link.outbox(), 0, self.taken);
                    self.taken = 0;
                }
                if frame.has(flag::END_STREAM) {
                    self.answered(frame.stream, false, report);
                }
            }
            kind::RST_STREAM => self.answered(frame.stream, false, report),
            kind::SETTINGS => self.settings(frame)?,
            kind::PING => http2::put_acknowledgement(self.link.outbox(), frame),
            kind::GOAWAY => {
                // The last stream id of a graceful one is the highest there is.
                ensure!(
                    frame.number()? + 2 >= self.next_stream,
                    "the server refuses new streams"
                );
            }
            kind::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number()?),
            kind::WINDOW_UPDATE => {
                let credit = i64::from(frame.number()?);
                if let Some(slot) = self
                    .slots
                    .iter_mut()
                    .find(|slot| slot.stream == frame.stream)
                {
                    slot.window += credit;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn settings(&mut self, frame: &http2::Frame<'_>) -> Result<()> {
        http2::put_acknowledgement(self.link.outbox(), frame);
        for (identifier, value) in frame.settings() {
            match identifier {
                setting::INITIAL_WINDOW_SIZE => {
                    let grown = i64::from(value) - self.initial_window;
                    self.initial_window += grown;
                    for slot in &mut self.slots {
                        slot.window += grown;
                    }
                }
                setting::HEADER_TABLE_SIZE => {
                    ensure!(
                        value >= 4096,
                        "a header table of {value} bytes is too small for us"
                    );
                }
                setting::MAX_CONCURRENT_STREAMS => {
                    let needed = self.slots.len();
                    ensure!(
                        value as usize >= needed,
                        "{needed} streams wanted, {value} allowed"
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn answered(&mut self, stream: u32, well: bool, report: &mut Report) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.stream == stream) else {
            return;
        };
        slot.stream = 0;
        // An answer before our half is closed gives up the rest of the call's messages.
        if well && slot.half_closed {
            report.calls += 1;
            report.acked += self.messages;
        } else {
            report.errors += 1;
        }
    }
}

/// Appends the HEADERS of a call: literals that enter the table the first time, their indexes later.
fn put_request(out: &mut Vec<u8>, stream: u32, method: &str, authority: &str) {
    let mut block = Vec::with_capacity(128);
    block.extend_from_slice(b"\x83\x86");
    if stream == 1 {
        let mut literal = |name: &[u8], value: &str| {
            block.extend_from_slice(name);
            block.push(value.len() as u8);
            block.extend_from_slice(value.as_bytes());
        };
        literal(b"\x44", method);
        literal(b"\x41", authority);
        literal(b"\x5f", "application/grpc");
        literal(b"\x40\x02te", "trailers");
        literal(b"\x7a", "grpc-java-netty/1.74.0");
    } else {
        block.extend_from_slice(b"\xc2\xc1\xc0\xbf\xbe");
    }
    http2::put_frame(out, kind::HEADERS, flag::END_HEADERS, stream, &block);
}

/// Reads `grpc-status` out of header blocks.
#[derive(Default)]
struct Statuses {
    decoder: Decoder<'static>,
    /// Blocks of nothing but indexes, and their status. The table may not change while they are kept.
    known: Vec<(Vec<u8>, Option<u32>)>,
}

impl Statuses {
    fn read(&mut self, block: &[u8]) -> Result<Option<u32>> {
        if let Some((_, status)) = self.known.iter().find(|(known, _)| known == block) {
            return Ok(*status);
        }
        let headers = self.decoder.decode(block);
        let headers = headers.map_err(|error| anyhow::anyhow!("header block: {error:?}"))?;
        let status = headers.iter().find(|(name, _)| name == b"grpc-status");
        let status = status
            .map(|(_, value)| {
                std::str::from_utf8(value)?
                    .parse::<u32>()
                    .context("grpc-status")
            })
            .transpose()?;
        if block.iter().all(|byte| byte & 0x80 != 0) {
            self.known.push((block.to_vec(), status));
        } else {
            self.known.clear();
        }
        Ok(status)
    }
}
