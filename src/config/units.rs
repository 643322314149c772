//! Quantities as they are written in the file: durations, bytes, addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::settings::ServerAddr;

/// Go's durations: `5s`, `300ms`, `1h30m`, `1.5h`, `0`. Negative ones are refused.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let unit_end = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        total = total.checked_add(nanoseconds(number, unit)?)?;
        rest = next;
    }
    i64::try_from(total).ok()?;
    Some(Duration::from_nanos(u64::try_from(total).ok()?))
}

fn nanoseconds(number: &str, unit: &str) -> Option<u128> {
    let scale: u128 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = fraction.get(..fraction.len().min(18))?;
    let ten: u128 = 10;
    let part = digits(fraction)? * scale / ten.pow(u32::try_from(fraction.len()).ok()?);
    digits(whole)?.checked_mul(scale)?.checked_add(part)
}

fn digits(text: &str) -> Option<u128> {
    match text {
        "" => Some(0),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// Bytes: `1048576`, `512MiB`, `512Mi`, `1GB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let unit_at = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "TiB" | "Ti" => 1 << 40,
        "kB" | "KB" | "k" => 1_000,
        "MB" | "M" => 1_000_000,
        "GB" | "G" => 1_000_000_000,
        "TB" | "T" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// The inverse of [`bytes()`]: the largest binary unit that leaves no rest.
pub(super) fn show_bytes(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(
            || bytes.to_string(),
            |(shift, unit)| format!("{}{unit}", bytes >> shift),
        )
}

/// A listen address. No host means all interfaces: `[::]`, which takes IPv4 too, as Go does.
pub(super) fn listen_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = split_port(text)?;
    let ip = match host {
        "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        _ => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port))
}

/// `host:port` of an OAP node, of weight 1.
pub(super) fn server_address(text: &str) -> Option<ServerAddr> {
    let (host, port) = split_port(text.trim())?;
    let foreign =
        |letter: char| letter.is_whitespace() || letter.is_control() || "/@,".contains(letter);
    if host.is_empty() || port == 0 || host.contains(foreign) {
        return None;
    }
    let host = host.to_owned();
    Some(ServerAddr {
        host,
        port,
        weight: 1,
    })
}

/// Splits off the port and takes the brackets off an IPv6 address.
fn split_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok()?;
    match host.strip_prefix('[') {
        Some(rest) => {
            let host = rest.strip_suffix(']')?;
            host.parse::<Ipv6Addr>().is_ok().then_some((host, port))
        }
        None if host.contains([':', '[', ']']) => None,
        None => Some((host, port)),
    }
}
