//! Proxies: used for what is not this machine, and only then. The registry's name does not exist, so that nothing but the
//! proxy can be asked.

use std::sync::Arc;

use knarr_distribution::{Network, Proxies, PullOptions};

use crate::image::{Layer, Shelf};
use crate::server::{Reply, Request, Server};
use crate::setup::{Place, fails, options};

fn with_proxy(proxy: &str) -> PullOptions<'static> {
    let options = options();
    let url = Some(format!("http://{proxy}"));
    let proxies = Proxies { http: url.clone(), https: url, no_proxy: None };
    PullOptions { network: Network { proxies, tls_verify: Some(false), ..options.network }, ..options }
}

#[test]
fn a_registry_elsewhere_is_reached_through_the_proxy() {
    let shelf = Arc::new(Shelf::of(&[Layer::gzip(&[("a", b"1")])]));
    let proxy = Server::start(move |request| match request.path.strip_prefix("http://reg.invalid") {
        Some(path) => shelf.answer(&Request { path: path.to_owned(), ..request.clone() }),
        // CONNECT, which would be for TLS.
        None => Reply::new(405, ""),
    });
    Place::new().pull_with("reg.invalid/app:v1", &with_proxy(&proxy.host())).unwrap();
    assert_eq!(proxy.requests()[0].method, "CONNECT");
}

#[test]
fn this_machine_is_never_reached_through_a_proxy() {
    let proxy = Server::start(|_| Reply::new(500, ""));
    let server = Server::start(Shelf::of(&[Layer::gzip(&[("a", b"1")])]).into_handler());
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &with_proxy(&proxy.host())).unwrap();
    assert!(proxy.requests().is_empty());
}

#[test]
fn a_proxy_that_is_no_url_is_named() {
    let mut options = with_proxy("x");
    options.network.proxies.https = Some("http://[".to_owned());
    fails(Place::new().pull_with("reg.invalid/app:v1", &options), "proxy \"http://[\" is not a URL");
}
