//! How many connections one address may have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts open connections by address.
///
/// An address is a whole one, also of IPv6: the agents of a cluster share a prefix.
#[derive(Debug)]
pub(crate) struct Sources {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Sources {
    /// At most so many connections an address.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    /// A place for one more connection of this address; `None` if it has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place {
            sources: Arc::clone(self),
            address,
        })
    }
}

/// A connection's place; free again once dropped.
#[derive(Debug)]
pub(crate) struct Place {
    sources: Arc<Sources>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sources.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_as_many_as_it_may_and_leaves_others_theirs() {
        let sources = Arc::new(Sources::new(2));
        let admit = |address: &str| sources.admit(address.parse().unwrap());
        let first = admit("10.0.0.1");
        let _second = admit("::ffff:10.0.0.1").expect("the same address, and there are two");
        assert!(admit("10.0.0.1").is_none());
        let other = admit("10.0.0.2");
        assert!(other.is_some());
        drop(first);
        let _third = admit("10.0.0.1").expect("one has gone");
        drop(other);
        assert_eq!(sources.open.lock().len(), 1, "who has none is forgotten");
    }
}
