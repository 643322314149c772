//! The addresses of our network namespace's interfaces, by rtnetlink(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, sendto, socket_with};

/// An address and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) interface: String,
    pub(super) ip: IpAddr,
}

// <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x1 | 0x300;
const LINK_NAME: u16 = 3;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct ifinfomsg`.
const LINK: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;

/// All of them, as the kernel lists them: by interface, version 4 first.
pub(super) fn addresses() -> io::Result<Vec<Address>> {
    let mut names = Vec::new();
    dump(GET_LINK, |kind, body| {
        if kind == NEW_LINK {
            names.extend(link(body));
        }
    })?;
    let mut addresses = Vec::new();
    dump(GET_ADDRESS, |kind, body| {
        if kind == NEW_ADDRESS {
            addresses.extend(address(body, &names));
        }
    })?;
    Ok(addresses)
}

/// Asks for everything of a kind; each message's type and body goes to `each`.
fn dump(kind: u16, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    // NETLINK_ROUTE is protocol 0, which rustix has no name for.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let mut request = Vec::with_capacity(HEADER + LINK);
    request.extend_from_slice(&((HEADER + LINK) as u32).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&DUMP.to_ne_bytes());
    request.resize(HEADER + LINK, 0);
    sendto(
        &socket,
        &request,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, body, after)) = message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => {
                    let code = body
                        .first_chunk()
                        .map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => each(kind, body),
            }
            rest = after;
        }
    }
}

/// The first message's type and body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    let next = length.next_multiple_of(4).min(bytes.len());
    Some((kind, body, &bytes[next..]))
}

/// The value of an attribute.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// An interface's index and name.
fn link(body: &[u8]) -> Option<(u32, String)> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let name = attribute(body.get(LINK..)?, LINK_NAME)?;
    let name = name.strip_suffix(&[0]).unwrap_or(name);
    Some((index, String::from_utf8_lossy(name).into_owned()))
}

fn address(body: &[u8], names: &[(u32, String)]) -> Option<Address> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let attributes = body.get(ADDRESS_HEADER..)?;
    // Of a point-to-point link ADDRESS is the other end's.
    let value = attribute(attributes, LOCAL).or_else(|| attribute(attributes, ADDRESS))?;
    let ip = match value.len() {
        4 => IpAddr::from(Ipv4Addr::from(*value.first_chunk::<4>()?)),
        _ => IpAddr::from(Ipv6Addr::from(*value.first_chunk::<16>()?)),
    };
    let (_, interface) = names.iter().find(|(it, _)| *it == index)?;
    Some(Address {
        interface: interface.clone(),
        ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_its_address() {
        let addresses = addresses().unwrap();
        let loopback = addresses.iter().find(|it| it.interface == "lo");
        assert_eq!(loopback.unwrap().ip, IpAddr::from(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn cut_messages_are_not_read_past_their_end() {
        let mut bytes = vec![0; 40];
        bytes[0] = 40;
        bytes[4] = 20;
        assert!(message(&bytes).is_some());
        for length in 0..40 {
            assert!(message(&bytes[..length]).is_none(), "{length}");
        }
        // An attribute of length 0 must end the search, not repeat it.
        assert_eq!(attribute(&[0; 16], 3), None);
        assert_eq!(attribute(&[6, 0, 3, 0, 65, 66], 3), Some(&b"AB"[..]));
        assert_eq!(
            attribute(&[5, 0, 1, 0, 9, 0, 0, 0, 5, 0, 3, 0, 65], 3),
            Some(&b"A"[..])
        );
        assert_eq!(
            attribute(&[5, 0, 1, 0, 9, 0, 0, 0, 9, 0, 3, 0, 65], 3),
            None
        );
    }
}
