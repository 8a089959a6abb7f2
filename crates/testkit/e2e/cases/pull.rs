//! Pulling from registries: Debian's docker-registry with its own manners, and one that misbehaves on request.

use knarr_testkit::image::{self, Format};
use knarr_testkit::lab::Done;
use knarr_testkit::registry::{self, Access, Registry};
use knarr_testkit::server::{Fault, Gate, Hold, LOGIN, Server};
use knarr_testkit::{Compression, Image, ImageMaker, Lab, LayerTar};
use serde_json::json;

use crate::debian;

cases!["pull":
    over_plain_http_on_loopback,
    by_digest,
    zstd_plain_and_docker_manifests,
    the_index_entry_for_this_machine,
    an_index_without_this_machine_is_an_error_that_lists_what_is_there,
    run_pulls_what_is_missing,
    a_second_pull_fetches_nothing,
    with_basic_login_from_the_config_file,
    without_login_is_refused_clearly,
    with_bearer_tokens,
    over_tls_with_a_trusted_certificate,
    over_tls_with_an_unknown_certificate_is_refused,
    an_unknown_tag_is_an_error,
    a_registry_that_is_not_there_is_an_error,
    a_cut_connection_resumes_where_it_was,
    pulls_at_once_fetch_each_blob_once,
    sixty_layers,
    a_distribution_is_the_same_inside_entry_by_entry,
];

fn probe_maker(lab: &Lab) -> ImageMaker {
    let probe = std::fs::read(lab.kit.join("probe")).expect("the kit's probe");
    ImageMaker::new(
        json!({"Env": ["PATH=/bin"]}),
        vec![LayerTar::new().dir("bin/", 0o755).file("bin/probe", 0o755, probe).finish()],
    )
}

fn debians(lab: &Lab) -> Registry {
    lab.needs(registry::PROGRAM, "docker-registry");
    Registry::start().expect("a registry")
}

fn runs(lab: &Lab, name: &str) {
    lab.knarr(["run", "--rm", "--pull", "never", name, "probe", "exit", "3"]).exits(3);
}

fn over_plain_http_on_loopback(lab: &Lab) {
    let registry = debians(lab);
    registry.push("fleet/probe", "v1", &probe_maker(lab).make()).expect("pushed");
    let name = format!("{}/fleet/probe:v1", registry.address);
    lab.knarr(["pull", &name]).ok().shows(&name);
    lab.knarr(["pull", "-q", &name]).ok().prints(&format!("{name}\n"));
    runs(lab, &name);
}

fn by_digest(lab: &Lab) {
    let registry = debians(lab);
    let image = probe_maker(lab).make();
    registry.push("fleet/probe", "v1", &image).expect("pushed");
    let name = format!("{}/fleet/probe@{}", registry.address, image.manifest.digest);
    lab.knarr(["pull", &name]).ok();
    runs(lab, &name);
    let wrong = format!("{}/fleet/probe@sha256:{}", registry.address, "0".repeat(64));
    lab.knarr(["pull", &wrong]).fails();
}

fn zstd_plain_and_docker_manifests(lab: &Lab) {
    let registry = debians(lab);
    let mut maker = probe_maker(lab);
    for (tag, how, format) in [
        ("zstd", Compression::Zstd, Format::Oci),
        ("plain", Compression::Plain, Format::Oci),
        ("docker", Compression::Gzip, Format::Docker),
    ] {
        (maker.layers[0].1, maker.format) = (how, format);
        registry.push("fleet/probe", tag, &maker.make()).expect("pushed");
        let name = format!("{}/fleet/probe:{tag}", registry.address);
        lab.knarr(["pull", &name]).ok();
        runs(lab, &name);
    }
}

fn the_index_entry_for_this_machine(lab: &Lab) {
    let registry = debians(lab);
    let (ours, other) = (
        probe_maker(lab).make(),
        ImageMaker { architecture: "s390x".to_string(), ..ImageMaker::new(json!({}), vec![LayerTar::new().finish()]) }
            .make(),
    );
    for (tag, format) in [("oci", Format::Oci), ("docker", Format::Docker)] {
        let index = image::index(format, &[("s390x", &other), (image::architecture(), &ours)]);
        for image in [&ours, &other] {
            registry.push("fleet/many", &image.config.hex()[..12], image).expect("pushed");
        }
        registry.push_manifest("fleet/many", tag, &index).expect("pushed");
        let name = format!("{}/fleet/many:{tag}", registry.address);
        lab.knarr(["pull", &name]).ok();
        runs(lab, &name);
        let seen = lab.knarr(["image", "inspect", &name]).ok().json();
        assert_eq!(seen[0]["Architecture"], image::architecture());
    }
}

fn an_index_without_this_machine_is_an_error_that_lists_what_is_there(lab: &Lab) {
    let other =
        ImageMaker { architecture: "s390x".to_string(), ..ImageMaker::new(json!({}), vec![LayerTar::new().finish()]) }
            .make();
    let index = image::index(Format::Oci, &[("s390x", &other)]);
    let server = Server::start(Hold::default().image("a", "x", &other).manifest("a", "v1", &index), Gate::Open, None)
        .expect("a server");
    lab.knarr(["pull", &format!("{}/a:v1", server.address)]).fails().says("s390x");
}

fn run_pulls_what_is_missing(lab: &Lab) {
    let server = serve(&probe_maker(lab).make(), Gate::Open, None);
    let name = format!("{}/a:v1", server.address);
    lab.knarr(["run", "--rm", &name, "probe", "exit", "3"]).exits(3);
    lab.knarr(["run", "--rm", "--pull", "always", &name, "probe", "exit", "3"]).exits(3);
    drop(server);
    lab.knarr(["run", "--rm", &name, "probe", "exit", "3"]).exits(3);
    lab.knarr(["run", "--rm", "--pull", "always", &name, "probe", "exit", "3"]).exits(125);
}

fn serve(image: &Image, gate: Gate, fault: Option<Fault>) -> Server {
    Server::start(Hold::default().image("a", "v1", image), gate, fault).expect("a server")
}

fn pull(lab: &Lab, server: &Server) -> Done {
    lab.knarr(["pull", &format!("{}/a:v1", server.address)])
}

fn a_second_pull_fetches_nothing(lab: &Lab) {
    let server = serve(&probe_maker(lab).make(), Gate::Open, None);
    pull(lab, &server).ok();
    let before = blob_requests(&server);
    pull(lab, &server).ok();
    assert_eq!(blob_requests(&server), before, "{:?}", server.requests());
}

fn blob_requests(server: &Server) -> usize {
    server.requests().iter().filter(|request| request.starts_with("GET") && request.contains("/blobs/")).count()
}

fn log_in(lab: &Lab, address: &str, (user, password): (&str, &str)) {
    let auth = knarr_testkit::http::base64(format!("{user}:{password}").as_bytes());
    std::fs::create_dir_all(lab.path("home/.docker")).expect("made");
    let config = json!({"auths": {address: {"auth": auth}}});
    std::fs::write(lab.path("home/.docker/config.json"), config.to_string()).expect("written");
}

fn with_basic_login_from_the_config_file(lab: &Lab) {
    let registry = debians(lab);
    registry.push("fleet/probe", "v1", &probe_maker(lab).make()).expect("pushed");
    let registry = registry.restart(Access::Login).expect("restarted");
    let name = format!("{}/fleet/probe:v1", registry.address);
    log_in(lab, &registry.address, registry::LOGIN);
    lab.knarr(["pull", &name]).ok();
    runs(lab, &name);
}

fn without_login_is_refused_clearly(lab: &Lab) {
    let server = serve(&probe_maker(lab).make(), Gate::Basic, None);
    let done = pull(lab, &server).fails();
    assert!(
        done.stderr.to_lowercase().contains("unauthorized")
            || done.stderr.contains("login")
            || done.stderr.contains("credentials"),
        "{done}"
    );
    log_in(lab, &server.address, ("ship", "wrong"));
    pull(lab, &server).fails();
    assert!(server.requests().len() < 20, "it kept trying: {:?}", server.requests());
}

fn with_bearer_tokens(lab: &Lab) {
    let image = probe_maker(lab).make();
    pull(lab, &serve(&image, Gate::BearerForAll, None)).ok();
    let server = serve(&image, Gate::Bearer, None);
    pull(lab, &server).fails();
    log_in(lab, &server.address, LOGIN);
    pull(lab, &server).ok();
    runs(lab, &format!("{}/a:v1", server.address));
}

fn over_tls_with_a_trusted_certificate(lab: &Lab) {
    lab.needs("/usr/bin/openssl", "openssl");
    let registry = debians(lab);
    registry.push("fleet/probe", "v1", &probe_maker(lab).make()).expect("pushed");
    let registry = registry.restart(Access::Tls).expect("restarted");
    // The directory of containers-certs.d(5) that belongs to a user.
    let trusted = lab.path(&format!("home/.config/containers/certs.d/{}", registry.address));
    std::fs::create_dir_all(&trusted).expect("made");
    std::fs::copy(registry.certificate(), trusted.join("ca.crt")).expect("copied");
    let name = format!("{}/fleet/probe:v1", registry.address);
    lab.knarr(["pull", &name]).ok();
    runs(lab, &name);
}

fn over_tls_with_an_unknown_certificate_is_refused(lab: &Lab) {
    lab.needs("/usr/bin/openssl", "openssl");
    let registry = debians(lab).restart(Access::Tls).expect("restarted");
    lab.knarr(["pull", &format!("{}/fleet/probe:v1", registry.address)]).fails();
}

fn an_unknown_tag_is_an_error(lab: &Lab) {
    let server = serve(&probe_maker(lab).make(), Gate::Open, None);
    lab.knarr(["pull", &format!("{}/a:v2", server.address)]).fails().says("v2");
    lab.knarr(["images", "-q"]).ok().prints("");
}

fn a_registry_that_is_not_there_is_an_error(lab: &Lab) {
    // Port 9 (discard) of loopback: nobody listens there.
    lab.knarr(["pull", "127.0.0.1:9/a:v1"]).fails().says("127.0.0.1:9");
}

fn a_cut_connection_resumes_where_it_was(lab: &Lab) {
    let image = probe_maker(lab).make();
    let (digest, half) = (image.layers[0].digest.clone(), image.layers[0].bytes.len() / 2);
    let server = serve(&image, Gate::Open, Some(Fault::CutOnce(digest.clone(), half)));
    pull(lab, &server).ok();
    runs(lab, &format!("{}/a:v1", server.address));
    let asked: Vec<String> = server.requests().into_iter().filter(|request| request.contains(&digest)).collect();
    assert!(asked.iter().any(|request| request.ends_with(&format!("bytes={half}-"))), "{asked:?}");
}

fn pulls_at_once_fetch_each_blob_once(lab: &Lab) {
    let image = probe_maker(lab).make();
    let server = serve(&image, Gate::Open, None);
    let name = format!("{}/a:v1", server.address);
    let mut pulls: Vec<_> = (0..4).map(|_| lab.start(["pull", &name])).collect();
    for pull in &mut pulls {
        assert!(pull.wait_patiently().success());
    }
    let layer = server
        .requests()
        .into_iter()
        .filter(|request| request.starts_with("GET") && request.contains(&image.layers[0].digest))
        .count();
    assert_eq!(layer, 1, "{:?}", server.requests());
    runs(lab, &name);
}

fn sixty_layers(lab: &Lab) {
    let mut maker = probe_maker(lab);
    for number in 0..60 {
        let tar = LayerTar::new().file(&format!("file-{number}"), 0o644, number.to_string()).finish();
        maker.layers.push((tar, Compression::Gzip));
    }
    let server = serve(&maker.make(), Gate::Open, None);
    pull(lab, &server).ok();
    let name = format!("{}/a:v1", server.address);
    lab.knarr(["run", "--rm", &name, "probe", "cat", "/file-59"]).ok().prints("59");
    lab.knarr(["run", "--rm", &name, "probe", "cat", "/file-0"]).ok().prints("0");
}

fn a_distribution_is_the_same_inside_entry_by_entry(lab: &Lab) {
    let layout = lab.kit.join("images/debian");
    if !layout.exists() {
        lab.skip("the kit has no image debian");
    }
    let registry = debians(lab);
    registry.push("debian", "v1", &Image::read_layout(&layout).expect("the kit's image")).expect("pushed");
    let name = format!("{}/debian:v1", registry.address);
    lab.knarr(["pull", "-q", &name]).ok();
    let find = ["run", "--rm", &name, "find", "/", "-xdev"].into_iter().chain(debian::FIND);
    let seen = debian::sorted(lab.knarr(find).ok().stdout.as_bytes());
    let expected = std::fs::read_to_string(layout.join("listing")).expect("the kit's listing");
    let differs = seen.lines().zip(expected.lines()).find(|(seen, expected)| seen != expected);
    assert!(
        seen == expected,
        "{} entries seen, {} expected, first difference: {differs:?}",
        seen.lines().count(),
        expected.lines().count()
    );
    lab.knarr(["run", "--rm", &name, "bash", "-c", "dpkg --verify base-files; exit 4"]).exits(4);
}
