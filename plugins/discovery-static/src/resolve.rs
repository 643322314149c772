//! Looking up names.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

/// The addresses of a name, later.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Looks up names.
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, with `port`.
    fn resolve(&self, host: &str, port: u16) -> Lookup;
}

/// The system's resolver: hosts file, search domains and DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> Lookup {
        let host = host.to_owned();
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((host, port)).await?;
            Ok(addresses.collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_a_literal_address_without_any_lookup() {
        let found = SystemResolver.resolve("127.0.0.1", 11800).await.unwrap();
        assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], 11800))]);
    }

    #[tokio::test]
    async fn the_system_knows_localhost_with_the_port_asked_for() {
        let found = SystemResolver.resolve("localhost", 7).await.unwrap();
        assert!(!found.is_empty());
        for address in found {
            assert!(address.ip().is_loopback(), "{address}");
            assert_eq!(address.port(), 7);
        }
    }
}
