//! What a reader hands out: entries, and what an OAP would have dropped without a word.

use super::Names;
use crate::sink::stacks::Datum;
use crate::sink::state::Id;

/// What a message, or the end of a call, gives to file.
#[derive(Debug, Default)]
pub(in crate::sink) struct Filing {
    /// With ids all there are; without, one for each run of the same names.
    pub(in crate::sink) entries: Vec<Id>,
    /// Stacks, which are stored beside.
    pub(in crate::sink) stacks: Vec<Datum>,
    /// See [`MethodState::unnamed`](crate::sink::state::MethodState::unnamed).
    pub(in crate::sink) unnamed: u64,
    /// See [`MethodState::repeated`](crate::sink::state::MethodState::repeated).
    pub(in crate::sink) repeated: u64,
    /// See [`MethodState::unfinished`](crate::sink::state::MethodState::unfinished).
    pub(in crate::sink) unfinished: u64,
    wants_ids: bool,
}

impl Filing {
    pub(in crate::sink) fn new(wants_ids: bool) -> Self {
        Self {
            wants_ids,
            ..Self::default()
        }
    }

    /// Whether there is nothing to book.
    pub(in crate::sink) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unnamed + self.repeated + self.unfinished == 0
    }

    /// Files an entry; its id is only made when somebody will look at it.
    pub(super) fn file(&mut self, names: &Names, id: impl FnOnce() -> String) {
        let Names { service, instance } = names;
        let is_named_so = |last: &Id| last.service == *service && last.instance == *instance;
        if !self.wants_ids && self.entries.last().is_some_and(is_named_so) {
            return;
        }
        self.entries.push(Id {
            id: if self.wants_ids { id() } else { String::new() },
            service: service.clone(),
            instance: instance.clone(),
        });
    }
}
