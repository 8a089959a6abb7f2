//! registries.conf in action: mirrors first, the registry itself last, and never what is blocked.

use knarr_distribution::{ErrorKind, Network, PullOptions, Registries};

use crate::image::{Layer, Shelf, ranged};
use crate::server::{Reply, Sending, Server};
use crate::setup::{Place, fails, options};

fn with(conf: &str) -> PullOptions<'static> {
    let options = options();
    let registries = Registries::parse(conf).unwrap();
    PullOptions { network: Network { registries, ..options.network }, ..options }
}

fn mirrored(primary: &Server, mirror: &Server) -> PullOptions<'static> {
    with(&format!(
        "[[registry]]\nprefix = \"reg.example/team\"\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        primary.host(),
        mirror.host()
    ))
}

#[test]
fn a_mirror_is_asked_first_and_the_image_keeps_its_name() {
    let shelf = Shelf::of(&[Layer::gzip(&[("a", b"1")])]);
    let (primary, mirror) = (Server::start(|_| Reply::new(500, "")), Server::start(shelf.into_handler()));
    let image = Place::new().pull_with("reg.example/team/app:v1", &mirrored(&primary, &mirror)).unwrap();
    assert_eq!(image.names[0].to_string(), "reg.example/team/app:v1");
    assert!(primary.requests().is_empty());
}

#[test]
fn a_mirror_is_told_which_registry_is_meant() {
    let shelf = Shelf::of(&[Layer::gzip(&[("a", b"1")])]);
    let mirror = Server::start(shelf.into_handler());
    let conf =
        format!("[[registry]]\nlocation = \"reg.example\"\n[[registry.mirror]]\nlocation = \"{}\"\n", mirror.host());
    Place::new().pull_with("reg.example/app:v1", &with(&conf)).unwrap();
    assert!(mirror.requests().iter().all(|request| request.query == "ns=reg.example"), "{:?}", mirror.requests());
}

#[test]
fn a_mirror_without_the_image_or_out_of_order_is_passed_over() {
    for status in [404, 403] {
        let shelf = Shelf::of(&[Layer::gzip(&[("a", b"1")])]);
        let (primary, mirror) = (Server::start(shelf.into_handler()), Server::start(move |_| Reply::new(status, "")));
        Place::new().pull_with("reg.example/team/app:v1", &mirrored(&primary, &mirror)).unwrap();
    }
}

#[test]
fn a_blob_that_breaks_at_the_mirror_goes_on_at_the_registry_at_the_same_byte() {
    let layer = Layer::big();
    let shelf = Shelf::of(std::slice::from_ref(&layer));
    let (on_mirror, blob) = (shelf.clone(), layer.clone());
    let mirror = Server::start(move |request| match request.path.ends_with(blob.digest().as_str()) {
        true if request.header("range").is_none() => ranged(request, &blob.blob).sent(Sending::CutAfter(1 << 20)),
        true => Reply::error(404, "BLOB_UNKNOWN", "gone"),
        false => on_mirror.answer(request),
    });
    let primary = Server::start(shelf.into_handler());
    Place::new().pull_with("reg.example/team/app:v1", &mirrored(&primary, &mirror)).unwrap();
    let requests = primary.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("range"), Some(format!("bytes={}-", 1 << 20).as_str()));
}

#[test]
fn what_is_blocked_is_not_asked() {
    let server = Server::start(|_| Reply::new(500, ""));
    let options = with(&format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", server.host()));
    let error = fails(
        Place::new().pull_with(&format!("{}/app:v1", server.host()), &options),
        &format!("registry {} is blocked by configuration", server.host()),
    );
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(server.requests().is_empty());
}
