//! The host: its name and its addresses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

use super::addresses::{Address, addresses};

/// What templates and properties say of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) agent_id: String,
    pub(super) name: String,
    /// Empty where the host has no address but its loopback's.
    pub(super) address: String,
    pub(super) addresses: Vec<Address>,
}

impl Host {
    /// As it is now.
    pub(super) fn read(proc_root: &Path, agent_id: &str) -> Self {
        let name = fs::read_to_string(proc_root.join("sys/kernel/hostname"));
        let addresses = addresses().unwrap_or_else(|error| {
            tracing::warn!(%error, "the host's addresses are not known");
            Vec::new()
        });
        Self {
            agent_id: agent_id.to_owned(),
            name: name.unwrap_or_default().trim().to_owned(),
            address: outgoing()
                .or_else(|| first(&addresses))
                .map_or_else(String::new, |address| address.to_string()),
            addresses,
        }
    }

    /// The first address of an interface.
    pub(super) fn address_of(&self, interface: &str, version_4: bool) -> Option<IpAddr> {
        let mut addresses = self.addresses.iter();
        addresses
            .find(|it| it.interface == interface && it.ip.is_ipv4() == version_4)
            .map(|it| it.ip)
    }
}

/// Where a packet to elsewhere would come from. Nothing is sent: 192.0.2.0/24 belongs to nobody.
fn outgoing() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 255), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

fn first(addresses: &[Address]) -> Option<IpAddr> {
    let mut outside = addresses
        .iter()
        .map(|it| it.ip)
        .filter(|ip| !ip.is_loopback());
    let version_4 = outside.clone().find(IpAddr::is_ipv4);
    version_4.or_else(|| outside.next())
}
