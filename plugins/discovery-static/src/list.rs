//! Satellite's comma list of servers.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A name, or an address without port or brackets.
    pub host: String,
    /// Where the OAP listens; Satellite's default is 11800.
    pub port: u16,
    /// Relative share of unkeyed messages, of each of the name's addresses; 0 counts as 1.
    pub weight: u32,
}

impl Server {
    /// The address, where the host is one.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(out, "[{host}]:{port}")
        } else {
            write!(out, "{host}:{port}")
        }
    }
}

/// Why a list is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Nothing but commas and spaces.
    #[error("no server in \"{list}\"")]
    Empty {
        /// The whole list.
        list: String,
    },
    /// No colon, or nothing behind it.
    #[error("\"{entry}\" has no port: expected host:port")]
    NoPort {
        /// The entry.
        entry: String,
    },
    /// Something else than 1 to 65535 behind the colon.
    #[error("\"{entry}\" has port \"{port}\": expected 1 to 65535")]
    Port {
        /// The entry.
        entry: String,
        /// What stands for the port.
        port: String,
    },
    /// Nothing in front of the port.
    #[error("\"{entry}\" has no host: expected host:port")]
    NoHost {
        /// The entry.
        entry: String,
    },
    /// Neither a name nor an address, for instance a URL.
    #[error("\"{entry}\" has host \"{host}\": expected a name or an address")]
    Host {
        /// The entry.
        entry: String,
        /// What stands for the host.
        host: String,
    },
    /// Several colons that belong to an IPv6 address, which needs brackets.
    #[error("\"{entry}\" has an IPv6 address without brackets: expected [address]:port")]
    Brackets {
        /// The entry.
        entry: String,
    },
}

/// Reads `host:port, host:port`. Spaces round an entry are ignored, as is an empty entry: Satellite
/// starts with a trailing comma too. Every weight is 1.
///
/// # Errors
///
/// The first entry that is not a server, or a list without any.
pub fn parse_list(list: &str) -> Result<Vec<Server>, ListError> {
    let entries = list.split(',').map(str::trim);
    let servers = entries
        .filter(|entry| !entry.is_empty())
        .map(parse_entry)
        .collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        let list = list.to_owned();
        return Err(ListError::Empty { list });
    }
    Ok(servers)
}

fn parse_entry(text: &str) -> Result<Server, ListError> {
    let entry = || text.to_owned();
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or_else(|| ListError::Host {
                entry: entry(),
                host: entry(),
            })?;
            // A zone such as `fe80::1%eth0` is no part of an address that TLS could know.
            let address = host.parse::<Ipv6Addr>();
            let address = address.map_err(|_| ListError::Host {
                entry: entry(),
                host: host.to_owned(),
            })?;
            (address.to_string(), rest.strip_prefix(':').unwrap_or(rest))
        }
        None if text.parse::<Ipv6Addr>().is_ok() => {
            return Err(ListError::Brackets { entry: entry() });
        }
        None => {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
            check_host(text, host)?;
            (host.to_owned(), port)
        }
    };
    if port.is_empty() {
        return Err(ListError::NoPort { entry: entry() });
    }
    let number = port.parse().ok().filter(|number| *number != 0);
    let port = number.ok_or_else(|| ListError::Port {
        entry: entry(),
        port: port.to_owned(),
    })?;
    Ok(Server {
        host,
        port,
        weight: 1,
    })
}

/// Letters of names as they occur: underscores are common inside clusters.
fn check_host(entry: &str, host: &str) -> Result<(), ListError> {
    let entry = entry.to_owned();
    if host.is_empty() {
        return Err(ListError::NoHost { entry });
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(ListError::Brackets { entry });
    }
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    if !host.chars().all(is_letter) {
        let host = host.to_owned();
        return Err(ListError::Host { entry, host });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: u16) -> Server {
        Server {
            host: host.to_owned(),
            port,
            weight: 1,
        }
    }

    #[test]
    fn a_list_is_split_at_commas_and_trimmed() {
        let expected = [
            server("a", 11800),
            server("b.c_d-e", 1),
            server("10.0.0.1", 65535),
        ];
        let list = "a:11800, b.c_d-e:1 ,\t10.0.0.1:65535\n";
        assert_eq!(parse_list(list).unwrap(), expected);
    }

    #[test]
    fn empty_entries_are_skipped_as_long_as_one_is_left() {
        assert_eq!(parse_list(",a:1,, ").unwrap(), [server("a", 1)]);
        for list in ["", " ", ",", " , ,"] {
            let list = list.to_owned();
            assert_eq!(parse_list(&list), Err(ListError::Empty { list }));
        }
    }

    #[test]
    fn an_address_of_version_6_is_bracketed() {
        let servers = parse_list("[::1]:11800, [2001:DB8::0:1]:5").unwrap();
        assert_eq!(servers, [server("::1", 11800), server("2001:db8::1", 5)]);
        assert_eq!(
            servers[0].literal(),
            Some(IpAddr::from(Ipv6Addr::LOCALHOST))
        );
    }

    #[test]
    fn what_is_shown_can_be_parsed_again() {
        for text in ["[::1]:11800", "oap:11800", "10.0.0.1:1"] {
            let servers = parse_list(text).unwrap();
            assert_eq!(servers[0].to_string(), text);
        }
    }

    #[test]
    fn a_name_is_no_literal_address() {
        assert_eq!(server("oap", 1).literal(), None);
        assert_eq!(server("10.0.0", 1).literal(), None);
    }

    #[test]
    fn errors_name_the_entry_and_say_what_is_expected() {
        let cases = [
            ("ok:1, oap", r#""oap" has no port: expected host:port"#),
            ("oap:", r#""oap:" has no port: expected host:port"#),
            ("[::1]", r#""[::1]" has no port: expected host:port"#),
            (":11800", r#"":11800" has no host: expected host:port"#),
            (
                "oap:http",
                r#""oap:http" has port "http": expected 1 to 65535"#,
            ),
            ("oap:0", r#""oap:0" has port "0": expected 1 to 65535"#),
            (
                "oap:65536",
                r#""oap:65536" has port "65536": expected 1 to 65535"#,
            ),
            ("[::1]:x", r#""[::1]:x" has port "x": expected 1 to 65535"#),
            (
                "http://oap:11800",
                r#""http://oap:11800" has host "http://oap": expected a name or an address"#,
            ),
            (
                "a b:1",
                r#""a b:1" has host "a b": expected a name or an address"#,
            ),
            (
                "a:1;b:2",
                r#""a:1;b:2" has host "a:1;b": expected a name or an address"#,
            ),
            (
                "[oap]:1",
                r#""[oap]:1" has host "oap": expected a name or an address"#,
            ),
            (
                "[::1:1",
                r#""[::1:1" has host "[::1:1": expected a name or an address"#,
            ),
            (
                "fe80::1",
                r#""fe80::1" has an IPv6 address without brackets: expected [address]:port"#,
            ),
            (
                "1:2:3:4:5:6:7:8:11800",
                r#""1:2:3:4:5:6:7:8:11800" has an IPv6 address without brackets: expected [address]:port"#,
            ),
        ];
        for (list, expected) in cases {
            assert_eq!(parse_list(list).unwrap_err().to_string(), expected);
        }
    }
}
