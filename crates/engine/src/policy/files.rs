//! The three small files every container gets: hosts, hostname, resolv.conf.

use crate::wanted::Dns;

/// `/etc/hosts`. `address` is the container's own, where it has one.
pub fn hosts_file(
    hostname: &str,
    domainname: Option<&str>,
    address: Option<&str>,
    extra: &[(String, String)],
) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for (name, address) in extra {
        text += &format!("{address}\t{name}\n");
    }
    if !hostname.is_empty() {
        let address = address.unwrap_or("127.0.1.1");
        match domainname {
            Some(domain) => text += &format!("{address}\t{hostname}.{domain} {hostname}\n"),
            None => text += &format!("{address}\t{hostname}\n"),
        }
    }
    text
}

/// `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// `/etc/resolv.conf`: the host's, with what was asked in place of its lines of the same kind. Where the container has its own
/// network, a resolver on the host's loopback cannot be reached and is left out.
pub fn resolv_conf(host: &str, dns: &Dns, shares_network: bool) -> String {
    let mut text = String::new();
    for line in host.lines() {
        let mut words = line.split_whitespace();
        let keep = match (words.next(), words.next()) {
            (Some("nameserver"), Some(address)) => dns.servers.is_empty() && (shares_network || !is_loopback(address)),
            (Some("search" | "domain"), _) => dns.search.is_empty(),
            (Some("options"), _) => dns.options.is_empty(),
            (Some(word), _) => !word.starts_with(['#', ';']),
            (None, _) => false,
        };
        if keep {
            text += &format!("{}\n", line.trim());
        }
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    // A lone dot means: no search list at all.
    let search: Vec<&str> = dns.search.iter().map(String::as_str).filter(|domain| *domain != ".").collect();
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}

fn is_loopback(address: &str) -> bool {
    address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# by dhcp\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch example.org\noptions edns0\n";

    fn check(dns: Dns, shares_network: bool, expect: &str) {
        assert_eq!(resolv_conf(HOST, &dns, shares_network), expect);
    }

    #[test]
    fn a_private_network_has_no_use_for_the_hosts_loopback_resolver() {
        check(Dns::default(), false, "nameserver 192.0.2.1\nsearch example.org\noptions edns0\n");
        let all = "nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch example.org\noptions edns0\n";
        check(Dns::default(), true, all);
    }

    #[test]
    fn what_is_asked_replaces_lines_of_its_kind() {
        let dns = Dns { servers: vec!["9.9.9.9".into()], search: vec![".".into()], options: vec!["ndots:2".into()] };
        check(dns, false, "nameserver 9.9.9.9\noptions ndots:2\n");
    }

    #[test]
    fn hosts_ends_with_the_containers_own_name() {
        let text = hosts_file("web", Some("example"), None, &[("db".into(), "10.0.0.2".into())]);
        assert!(text.ends_with("10.0.0.2\tdb\n127.0.1.1\tweb.example web\n"), "{text}");
    }
}
