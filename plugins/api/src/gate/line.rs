//! Who waits at a gate, who has been called, and what is kept for those.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use super::turns::{One, Turns, Waits};

/// Names a waiter, so that polling twice registers once, and says where it belongs. Unique within
/// the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId {
    source: Source,
    connection: u64,
    stream: u64,
}

/// Who shares a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Address(IpAddr),
    /// Nobody else.
    Alone(u64),
}

impl WaiterId {
    /// A new name of something that belongs to nobody else: it has turns of its own.
    pub fn next() -> Self {
        let stream = number();
        Self {
            source: Source::Alone(stream),
            connection: 0,
            stream,
        }
    }

    /// A new name of a stream on a connection of a client. It shares its turns with the other
    /// streams of the connection, and these theirs with the client's other connections.
    pub fn of(source: IpAddr, connection: u64) -> Self {
        Self {
            source: Source::Address(source.to_canonical()),
            connection,
            stream: number(),
        }
    }
}

fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What somebody wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// So much has to be free.
    pub(super) needed: u64,
    /// So much will be taken.
    pub(super) amount: u64,
}

/// Somebody who wants something.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) wish: Wish,
    pub(super) waker: Waker,
}

type Streams = Turns<u64, One<Waiting>>;
type Connections = Turns<u64, Streams>;
type Sources = Turns<Source, Connections>;

/// The line at a gate.
#[derive(Debug, Default)]
pub(super) struct Line {
    sources: Sources,
    waiting: usize,
    /// Woken for what is kept for them, and have not looked yet.
    called: BTreeMap<WaiterId, u64>,
    kept: u64,
    /// Who has been called in this round.
    round: BTreeSet<Source>,
    /// Its turn has come, and there was too little room for it.
    first: Option<WaiterId>,
}

type Name = <Sources as Waits>::Name;

fn name(waiter: WaiterId) -> Name {
    (waiter.source, (waiter.connection, (waiter.stream, ())))
}

fn named((source, (connection, (stream, ()))): Name) -> WaiterId {
    WaiterId {
        source,
        connection,
        stream,
    }
}

impl Line {
    /// How many wait or have been called.
    pub(super) fn len(&self) -> usize {
        self.waiting + self.called.len()
    }

    /// What is kept for those who have been called.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    pub(super) fn is_called(&self, waiter: WaiterId) -> bool {
        self.called.contains_key(&waiter)
    }

    pub(super) fn contains(&self, waiter: WaiterId) -> bool {
        self.is_called(waiter) || self.sources.get(name(waiter)).is_some()
    }

    /// Takes back a call: nothing is kept any more. Says whether there was one.
    pub(super) fn uncall(&mut self, waiter: WaiterId) -> bool {
        let amount = self.called.remove(&waiter);
        self.kept -= amount.unwrap_or(0);
        amount.is_some()
    }

    /// Begins to wait, or goes on. `again`: its turn has come, but the room has gone.
    pub(super) fn enter(&mut self, waiter: WaiterId, waiting: Waiting, again: bool) {
        if self.sources.get(name(waiter)).is_none() {
            self.waiting += 1;
        }
        // Nothing at all is nothing to wait for.
        let needed = waiting.wish.needed.max(1);
        self.sources.insert(name(waiter), needed, waiting);
        if again && self.first.is_none() {
            self.first = Some(waiter);
        }
    }

    /// Waits no longer, without having been called.
    pub(super) fn leave(&mut self, waiter: WaiterId) {
        self.remove(waiter, false);
    }

    /// Calls whoever is next and needs no more than `room`; what it wants is kept from now on. Where
    /// room `is_scarce`, once a round for each source.
    pub(super) fn call_next(&mut self, room: u64, is_scarce: bool) -> Option<(WaiterId, Waker)> {
        if self.waiting == 0 || room == 0 {
            return None;
        }
        if !is_scarce {
            self.round.clear();
        }
        let next = self.next(room).or_else(|| {
            // The round is over when all who were called have looked.
            let over = self.called.is_empty() && !self.round.is_empty();
            over.then(|| self.round.clear())?;
            self.next(room)
        })?;
        if self.first.is_none() {
            let turn = self.sources.find(u64::MAX, &|source| self.is_due(source));
            self.first = turn.map(named).filter(|turn| *turn != next);
        }
        let waiting = self.remove(next, true)?;
        self.round.insert(next.source);
        self.called.insert(next, waiting.wish.amount);
        self.kept += waiting.wish.amount;
        Some((next, waiting.waker))
    }

    fn next(&self, room: u64) -> Option<WaiterId> {
        let first = self.first.filter(|first| {
            let waiting = self.sources.get(name(*first));
            self.is_due(&first.source) && waiting.is_some_and(|waiting| waiting.wish.needed <= room)
        });
        let by_turns = || self.sources.find(room, &|source| self.is_due(source));
        first.or_else(|| by_turns().map(named))
    }

    fn is_due(&self, source: &Source) -> bool {
        !self.round.contains(source)
    }

    fn remove(&mut self, waiter: WaiterId, served: bool) -> Option<Waiting> {
        let removed = self.sources.remove(name(waiter), served)?;
        self.waiting -= 1;
        if self.first == Some(waiter) {
            self.first = None;
        }
        Some(removed)
    }
}
