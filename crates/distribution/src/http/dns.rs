//! Names to addresses without the C library, which a static binary must not ask.
//!
//! Law: the servers of `/etc/resolv.conf` and the names of `/etc/hosts`, nothing else. Where resolv.conf is missing the
//! local resolver is asked, as resolv.conf(5) says; never a public one behind the user's back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The resolver, made when the first name is asked for (it needs the runtime).
#[derive(Clone, Default)]
pub(crate) struct Dns(Arc<OnceLock<TokioResolver>>);

impl Resolve for Dns {
    fn resolve(&self, name: Name) -> Resolving {
        let cell = self.0.clone();
        Box::pin(async move {
            let resolver = match cell.get() {
                Some(resolver) => resolver,
                None => {
                    let made = resolver()?;
                    cell.get_or_init(|| made)
                }
            };
            let found = resolver.lookup_ip(name.as_str()).await.map_err(|why| Unresolved::new(&name, why))?;
            let addresses: Vec<SocketAddr> = found.iter().map(|address| SocketAddr::new(address, 0)).collect();
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// Why a name has no address, in the words of the engines (`no such host` is what scripts look for).
#[derive(Debug, thiserror::Error)]
enum Unresolved {
    #[error("lookup {0}: no such host")]
    Unknown(String),
    #[error("lookup {0}: {1}")]
    Unanswered(String, NetError),
}

impl Unresolved {
    fn new(name: &Name, why: NetError) -> Unresolved {
        let name = name.as_str().to_string();
        if why.is_no_records_found() { Unresolved::Unknown(name) } else { Unresolved::Unanswered(name, why) }
    }
}

fn resolver() -> Result<TokioResolver, NetError> {
    let local = || NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![local()]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::net::{DnsError, NoRecords};
    use hickory_resolver::proto::op::{Query, ResponseCode};

    #[test]
    fn a_name_without_an_address_is_told_from_a_server_without_an_answer() {
        let name: Name = "sea.invalid".parse().expect("a name");
        assert_eq!(Unresolved::new(&name, NetError::Busy).to_string(), "lookup sea.invalid: resource too busy");
        let unknown = NoRecords::new(Query::default(), ResponseCode::NXDomain);
        let unknown = NetError::Dns(DnsError::NoRecordsFound(unknown));
        assert_eq!(Unresolved::new(&name, unknown).to_string(), "lookup sea.invalid: no such host");
    }
}
