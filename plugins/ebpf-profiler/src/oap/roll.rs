//! What the log says of the processes that are reported: how many there are, and of which services. Pure.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::Entity;

/// Least time between two lines.
const PAUSE: Duration = Duration::from_secs(10);
/// Services that a line names.
const NAMED: usize = 5;

/// Decides when a line is due.
#[derive(Debug)]
pub(super) struct Roll {
    there: Summary,
    said: Summary,
    next: Instant,
}

/// As much of the processes as a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many there are.
    pub(super) processes: usize,
    /// All of their services.
    pub(super) services: Services,
}

/// Displayed by the first few names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Services(BTreeSet<String>);

impl Roll {
    /// Nothing is there and nothing needs to be said of that.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            there: Summary::default(),
            said: Summary::default(),
            next: now,
        }
    }

    /// These are there now.
    pub(super) fn set(&mut self, entities: &[Entity]) {
        self.there.processes = entities.len();
        let services: BTreeSet<&str> = entities.iter().map(|it| &*it.service).collect();
        let before = &mut self.there.services.0;
        if !before.iter().eq(&services) {
            *before = services.into_iter().map(str::to_owned).collect();
        }
    }

    /// When the next line is to be said; `None` while the last one still holds.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.there != self.said).then_some(self.next)
    }

    /// What is to be said now.
    pub(super) fn say(&mut self, now: Instant) -> &Summary {
        self.next = now + PAUSE;
        self.said.clone_from(&self.there);
        &self.said
    }
}

impl Display for Services {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let named = self.0.iter().take(NAMED).map(String::as_str);
        let named: Vec<_> = named.collect();
        f.write_str(&named.join(", "))?;
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Place;

    fn entity(pid: u32, service: &str) -> Entity {
        Entity {
            pid,
            started: 1,
            layer: "OS_LINUX".to_owned(),
            service: service.to_owned(),
            instance: "host-1".to_owned(),
            process: "web".to_owned(),
            labels: Vec::new(),
            place: Place::Host,
            properties: Vec::new(),
        }
    }

    #[test]
    fn a_change_is_said_at_once_and_the_next_one_not_before_10_seconds() {
        let start = Instant::now();
        let mut roll = Roll::new(start);
        assert_eq!(roll.due(), None, "nothing is there");
        roll.set(&[entity(1, "shop"), entity(2, "shop"), entity(3, "bank")]);
        assert_eq!(roll.due(), Some(start));
        let said = roll.say(start);
        assert_eq!(said.processes, 3);
        assert_eq!(said.services.to_string(), "bank, shop");
        roll.set(&[entity(1, "shop"), entity(9, "shop"), entity(3, "bank")]);
        assert_eq!(roll.due(), None, "another PID says nothing new");
        roll.set(&[entity(1, "shop")]);
        assert_eq!(roll.due(), Some(start + PAUSE));
        assert_eq!(roll.say(start + PAUSE).services.to_string(), "shop");
        roll.set(&[]);
        roll.set(&[entity(1, "shop")]);
        assert_eq!(roll.due(), None, "it is as it was");
    }

    #[test]
    fn the_first_services_are_named_and_the_others_counted() {
        let entities = ["a", "b", "c", "d", "e", "f", "g"].map(|service| entity(1, service));
        let mut roll = Roll::new(Instant::now());
        roll.set(&entities);
        let said = roll.say(Instant::now());
        assert_eq!(said.services.to_string(), "a, b, c, d, e and 2 more");
    }
}
