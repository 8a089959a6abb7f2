//! Who is at the other end of a connection, and how a request came to us.
//!
//! Law: what a proxy says counts only if its address is one we were told to trust; what a client says of itself never does.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, header};

use crate::outlet::Outlet;

use crate::config::Http;

/// One connection's other end.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    pub tls: bool,
    /// The name in its certificate.
    pub certificate: Option<String>,
    /// Whether it came to the listener that only has the metrics.
    pub metrics_only: bool,
    /// Where the kernel can send it files from.
    pub outlet: Option<Outlet>,
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED: &str = "forwarded";
/// Longest host a client may call us by: a name has 253 characters, and then there is the port.
const HOST_BYTES_MAX: usize = 260;

impl Peer {
    /// The client's own address: behind a trusted proxy the last one that is no proxy of ours.
    pub fn client(&self, http: &Http, headers: &HeaderMap) -> IpAddr {
        let mut client = self.address.ip().to_canonical();
        let told = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let chain: Vec<&str> = told.flat_map(|value| value.split(',')).map(str::trim).collect();
        for told in chain.iter().rev() {
            if !http.trusted_proxies.contains(&client) {
                break;
            }
            let Ok(address) = told.parse::<IpAddr>() else { break };
            client = address.to_canonical();
        }
        client
    }

    /// Whether this is a process of this machine that speaks for itself, and not a proxy for somebody else.
    pub fn is_local(&self, headers: &HeaderMap) -> bool {
        let direct = [FORWARDED_FOR, FORWARDED, FORWARDED_PROTO].iter().all(|name| !headers.contains_key(*name));
        direct && self.address.ip().to_canonical().is_loopback()
    }

    /// Our address as the client calls it, without a slash at the end.
    pub fn base(&self, http: &Http, headers: &HeaderMap) -> String {
        if let Some(url) = &http.url {
            return url.trim_end_matches('/').to_owned();
        }
        let told = headers.get(FORWARDED_PROTO).and_then(|value| value.to_str().ok());
        let by_proxy = http.trusted_proxies.contains(&self.address.ip().to_canonical()) && told == Some("https");
        let scheme = if self.tls || by_proxy { "https" } else { "http" };
        format!("{scheme}://{}", host(headers).unwrap_or_else(|| http.listen.0.to_string()))
    }
}

/// The Host header, if it is one: it is put into headers and documents of ours.
pub fn host(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::HOST)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    (!text.is_empty() && text.len() <= HOST_BYTES_MAX && text.chars().all(plain)).then(|| text.to_owned())
}

/// What of an address counts as one asker: of IPv6 the half that its network gave out.
pub fn asker(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer { address: address.parse().unwrap(), tls: false, certificate: None, metrics_only: false, outlet: None }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    fn trusting(proxies: &[&str]) -> Http {
        Http { trusted_proxies: proxies.iter().map(|text| text.parse().unwrap()).collect(), ..Http::default() }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let told = headers(&[
            ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("host", "r"),
        ]);
        let through = peer("10.0.0.1:9");
        assert_eq!(through.client(&trusting(&[]), &told).to_string(), "10.0.0.1");
        assert_eq!(through.client(&trusting(&["10.0.0.1", "10.0.0.2"]), &told).to_string(), "1.2.3.4");
        assert_eq!(through.base(&trusting(&[]), &told), "http://r");
        assert_eq!(through.base(&trusting(&["10.0.0.1"]), &told), "https://r");
    }

    #[test]
    fn a_local_proxy_is_not_a_local_client() {
        assert!(peer("127.0.0.1:9").is_local(&headers(&[])));
        assert!(peer("[::ffff:127.0.0.1]:9").is_local(&headers(&[])));
        assert!(!peer("127.0.0.1:9").is_local(&headers(&[("x-forwarded-for", "1.2.3.4")])));
        assert!(!peer("10.0.0.1:9").is_local(&headers(&[])));
    }

    #[test]
    fn a_host_that_is_none_is_not_repeated() {
        for hostile in ["a\"b", "a b", "a/b", "", "a,b"] {
            assert_eq!(host(&headers(&[("host", hostile)])), None, "{hostile}");
        }
        assert_eq!(host(&headers(&[("host", "[::1]:5000")])).unwrap(), "[::1]:5000");
    }

    #[test]
    fn a_network_of_six_is_one_asker() {
        assert_eq!(asker("2001:db8:1:2:3:4:5:6".parse().unwrap()).to_string(), "2001:db8:1:2::");
    }
}
