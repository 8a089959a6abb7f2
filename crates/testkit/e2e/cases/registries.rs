//! Pushing, copying, listing, deleting and syncing, with Debian's docker-registry and our own on the other side.

use std::fs;
use std::process::Command;

use knarr_testkit::image::{self, Format};
use knarr_testkit::lab::{Done, finish};
use knarr_testkit::registry::{self, Access, Registry};
use knarr_testkit::relay::Relay;
use knarr_testkit::server::{Fault, Gate, Hold, Server};
use knarr_testkit::{Compression, Image, ImageMaker, Lab, LayerTar};
use serde_json::{Value, json};

cases!["registries":
    a_pulled_image_is_pushed_with_its_digest,
    a_push_sends_only_what_is_missing,
    a_push_mounts_layers_of_other_repositories,
    a_killed_push_goes_on_at_the_byte_the_registry_has,
    an_upload_the_registry_forgot_begins_anew,
    all_tags_are_pushed,
    what_is_not_here_cannot_be_pushed,
    login_is_kept_and_used_and_forgotten,
    a_wrong_password_is_not_kept,
    copies_keep_digests_through_every_transport,
    an_index_is_copied_with_all_its_images,
    an_index_gives_the_image_of_a_platform,
    formats_are_converted_there_and_back,
    layers_are_recompressed,
    files_are_listed_and_read_where_they_are,
    an_estargz_image_is_an_image_like_others,
    digests_are_preserved_or_it_fails,
    a_copied_archive_loads_and_runs,
    remote_images_are_inspected,
    tags_are_listed,
    a_manifest_has_its_digest,
    our_registry_takes_pushes_deletes_and_syncs,
    a_sync_from_yaml_takes_what_it_names,
    a_mirror_is_asked_before_the_registry,
    a_blocked_registry_is_refused,
    a_policy_that_rejects_lets_nothing_in,
    what_we_sign_with_a_key_passes_a_policy_that_names_it,
    called_skopeo_it_is_skopeo,
    a_list_is_pushed_with_its_images,
    an_artifact_goes_to_a_registry_and_comes_back,
    what_an_artifact_lost_is_fetched_again,
    a_short_name_means_what_registries_conf_says,
    tags_are_listed_where_a_rewritten_name_leads,
    a_tar_is_imported_from_a_url,
    a_search_lists_repositories_whose_name_has_the_word,
    a_search_is_dockers_where_the_registry_has_one,
];

fn image(text: &str) -> Image {
    let tars = vec![
        LayerTar::new().dir("a/", 0o755).file("a/one", 0o644, text.repeat(1000)).finish(),
        LayerTar::new().file("a/two", 0o600, format!("two {text}")).finish(),
    ];
    ImageMaker::new(json!({"Env": ["PATH=/bin"], "Labels": {"ship": text}}), tars).make()
}

fn debians(lab: &Lab) -> Registry {
    lab.needs(registry::PROGRAM, "docker-registry");
    Registry::start().expect("a registry")
}

fn pushed(lab: &Lab, text: &str) -> (Registry, Image, String) {
    let (registry, image) = (debians(lab), image(text));
    registry.push("fleet/one", "v1", &image).expect("pushed");
    let name = format!("{}/fleet/one:v1", registry.address);
    (registry, image, name)
}

fn digest_at(lab: &Lab, place: &str) -> String {
    let value = lab.knarr(["image", "inspect", "--no-tags", place]).ok().json();
    value["Digest"].as_str().expect("a digest").to_owned()
}

fn a_pulled_image_is_pushed_with_its_digest(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "pushed");
    lab.knarr(["pull", "-q", &name]).ok();
    let other = format!("{}/fleet/two:v2", registry.address);
    lab.knarr(["tag", &name, &other]).ok();
    let done = lab.knarr(["push", &other]).ok();
    let done = done.shows(&format!("The push refers to repository [{}/fleet/two]\n", registry.address));
    done.shows(&format!("v2: digest: {} size: {}\n", image.manifest.digest, image.manifest.bytes.len()));
    assert_eq!(digest_at(lab, &format!("docker://{other}")), image.manifest.digest);
    lab.knarr(["push", "-q", &other]).ok().prints(&format!("{other}\n"));
}

fn a_push_sends_only_what_is_missing(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "there");
    lab.knarr(["pull", "-q", &name]).ok();
    let done = lab.knarr(["push", &name]).ok();
    let short = |digest: &str| digest["sha256:".len()..][..12].to_owned();
    done.shows(&format!("{}: Layer already exists\n", short(&image.layers[0].digest)));
    drop(registry);
}

fn a_push_mounts_layers_of_other_repositories(lab: &Lab) {
    let (registry, _, name) = pushed(lab, "mounted");
    lab.knarr(["pull", "-q", &name]).ok();
    let other = format!("{}/elsewhere/app:v1", registry.address);
    lab.knarr(["tag", &name, &other]).ok();
    lab.knarr(["push", &other]).ok().shows("Mounted from fleet/one\n");
}

/// Bytes of one layer that a push is killed in.
const BIG_BYTES: u64 = 24 << 20;

/// Bytes that reach the registry before the push is killed.
const BEFORE_BYTES: u64 = 16 << 20;

/// Bytes that do not compress (xorshift64).
fn noise(bytes: usize) -> Vec<u8> {
    let next = |state: &u64| {
        let state = state ^ (state << 13);
        let state = state ^ (state >> 7);
        Some(state ^ (state << 17))
    };
    std::iter::successors(Some(0x5851_f42d_u64), next).map(|state| (state >> 24) as u8).take(bytes).collect()
}

/// A push of a big layer to our registry, killed when most of it is there; the relay on the way is open again.
fn killed_push(lab: &Lab) -> (knarr_testkit::process::Guarded, Relay, String) {
    let tar = LayerTar::new().file("big", 0o644, noise(BIG_BYTES as usize)).finish();
    let image = ImageMaker { layers: vec![(tar, Compression::Gzip)], ..ImageMaker::new(json!({}), Vec::new()) };
    image.make().write_oci_archive(&lab.path("big.tar"), "v1").expect("written");
    lab.knarr(["load", "-i", "big.tar"]).ok();
    let (process, address) = ours(lab);
    let relay = Relay::start(&address, BEFORE_BYTES).expect("a relay");
    let name = format!("{}/fleet/big:v1", relay.address);
    let id = lab.knarr(["images", "-q"]).ok().stdout.trim().to_owned();
    lab.knarr(["tag", &id, &name]).ok();
    let push = lab.start(["push", &name]);
    relay.wait_until_it_hangs();
    knarr_testkit::process::signal(push.id(), "KILL");
    drop(push);
    relay.cut_and_open();
    (process, relay, name)
}

fn a_killed_push_goes_on_at_the_byte_the_registry_has(lab: &Lab) {
    let (_process, relay, name) = killed_push(lab);
    let before = relay.carried();
    lab.knarr(["push", &name]).ok();
    let sent = relay.carried() - before;
    // What the registry had not yet written when the connection was cut is sent again.
    assert!(sent < BIG_BYTES - BEFORE_BYTES + (4 << 20), "{sent} bytes were sent again");
    lab.knarr(["rmi", "-f", &name]).ok();
    lab.knarr(["pull", "-q", &name]).ok();
    let left = fs::read_dir(lab.path("state/uploads/sha256")).expect("the directory of uploads").count();
    assert_eq!(left, 0, "a finished upload is remembered");
}

fn an_upload_the_registry_forgot_begins_anew(lab: &Lab) {
    let (process, relay, name) = killed_push(lab);
    drop(process);
    fs::remove_dir_all(lab.path("registry")).expect("removed");
    let mut again = Command::new(lab.kit.join("knarr"));
    again.args(["registry", "serve", "--root"]).arg(lab.path("registry")).args(["--listen", relay.to()]);
    let _again = knarr_testkit::process::Guarded::spawn(&mut again).expect("our registry");
    knarr_testkit::wait::until("our registry listens", || std::net::TcpStream::connect(relay.to()).ok());
    let before = relay.carried();
    lab.knarr(["push", &name]).ok();
    assert!(relay.carried() - before > BIG_BYTES);
}

fn all_tags_are_pushed(lab: &Lab) {
    let registry = debians(lab);
    lab.load("probe");
    for tag in ["a", "b"] {
        lab.knarr(["tag", "probe", &format!("{}/many:{tag}", registry.address)]).ok();
    }
    let name = format!("{}/many", registry.address);
    lab.knarr(["push", "-a", &name]).ok().shows("a: digest: ").shows("b: digest: ");
    assert_eq!(tags(lab, &format!("docker://{name}")), ["a", "b"]);
}

/// The tags of a repository, sorted: not every registry does that.
fn tags(lab: &Lab, repository: &str) -> Vec<String> {
    let listed = lab.knarr(["image", "list-tags", repository]).ok().json();
    let mut tags: Vec<String> = serde_json::from_value(listed["Tags"].clone()).expect("a list of tags");
    tags.sort();
    tags
}

fn what_is_not_here_cannot_be_pushed(lab: &Lab) {
    let done = lab.knarr(["push", "127.0.0.1:9/nothing:v1"]).exits(1);
    done.says("An image does not exist locally with the tag: 127.0.0.1:9/nothing");
}

fn login_is_kept_and_used_and_forgotten(lab: &Lab) {
    let (registry, _, _) = pushed(lab, "login");
    let registry = registry.restart(Access::Login).expect("restarted");
    let address = registry.address.clone();
    let place = format!("docker://{address}/fleet/one:v1");
    lab.knarr(["image", "inspect", &place]).fails();
    let (user, password) = registry::LOGIN;
    let words = ["login", "-u", user, "--password-stdin", &address];
    lab.knarr_fed(words, format!("{password}\n").as_bytes()).ok().prints("Login Succeeded\n");
    lab.knarr(["login", "--get-login", &address]).ok().prints(&format!("{user}\n"));
    lab.knarr(["image", "inspect", &place]).ok();
    let file: Value = serde_json::from_slice(&fs::read(lab.path("home/.docker/config.json")).expect("kept")).unwrap();
    assert!(file["auths"][&address]["auth"].is_string(), "{file}");
    lab.knarr(["logout", &address]).ok().prints(&format!("Removed login credentials for {address}\n"));
    lab.knarr(["image", "inspect", &place]).fails();
    lab.knarr(["image", "inspect", "--creds", &format!("{user}:{password}"), &place]).ok();
}

fn a_wrong_password_is_not_kept(lab: &Lab) {
    let registry = debians(lab).restart(Access::Login).expect("restarted");
    lab.knarr_fed(["login", "-u", "ship", "--password-stdin", &registry.address], b"wrong").exits(1);
    assert!(!lab.path("home/.docker/config.json").exists());
}

fn copies_keep_digests_through_every_transport(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "round");
    let mut from = format!("docker://{name}");
    for (at, to) in ["oci:layout:v1", "oci-archive:archive.tar:v1", "dir:plain", "docker-archive:saved.tar:round:1"]
        .into_iter()
        .enumerate()
    {
        lab.knarr(["image", "copy", &from, to]).ok().shows("Writing manifest to image destination\n");
        let back = format!("docker://{}/back/{at}:v1", registry.address);
        lab.knarr(["image", "copy", "-q", to, &back]).ok().prints("");
        assert_eq!(digest_at(lab, &back), image.manifest.digest, "{to}");
        from = back;
    }
    lab.knarr(["image", "copy", &from, "local:kept:1"]).ok();
    let back = format!("docker://{}/back/local:v1", registry.address);
    lab.knarr(["image", "copy", "--digestfile", "digest", "local:kept:1", &back]).ok();
    assert_eq!(fs::read_to_string(lab.path("digest")).expect("written"), image.manifest.digest);
}

fn an_index_is_copied_with_all_its_images(lab: &Lab) {
    let (registry, index) = many(lab);
    let from = format!("docker://{}/fleet/many:all", registry.address);
    lab.knarr(["image", "copy", "--all", &from, "oci:layout:all"]).ok();
    let back = format!("docker://{}/back/many:all", registry.address);
    lab.knarr(["image", "copy", "--all", "oci:layout:all", &back]).ok();
    assert_eq!(digest_at(lab, &back), index);
    lab.knarr(["image", "copy", "--all", &from, "docker-archive:no.tar:x:1"]).fails().says("no room");
    assert!(!lab.path("no.tar").exists());
}

/// An index of two architectures, and its digest.
fn many(lab: &Lab) -> (Registry, String) {
    let registry = debians(lab);
    let (ours, other) = (
        image("ours"),
        ImageMaker {
            architecture: "s390x".to_owned(),
            ..ImageMaker::new(json!({}), vec![LayerTar::new().file("s390x", 0o644, "x").finish()])
        }
        .make(),
    );
    for image in [&ours, &other] {
        registry.push("fleet/many", &image.config.hex()[..12], image).expect("pushed");
    }
    let index = image::index(Format::Oci, &[("s390x", &other), (image::architecture(), &ours)]);
    registry.push_manifest("fleet/many", "all", &index).expect("pushed");
    (registry, index.digest)
}

fn an_index_gives_the_image_of_a_platform(lab: &Lab) {
    let (registry, _) = many(lab);
    let from = format!("docker://{}/fleet/many:all", registry.address);
    lab.knarr(["image", "copy", "--override-arch", "s390x", &from, "oci:one:x"]).ok();
    let config = lab.knarr(["image", "inspect", "--config", "oci:one:x"]).ok().json();
    assert_eq!(config["architecture"], "s390x");
    let formatted = ["image", "inspect", "--override-arch", "s390x", "--format", "{{.Architecture}}", &from];
    lab.knarr(formatted).ok().prints("s390x\n");
}

fn formats_are_converted_there_and_back(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "formats");
    let docker = format!("docker://{}/docker:v1", registry.address);
    lab.knarr(["image", "copy", "--format", "v2s2", &format!("docker://{name}"), &docker]).ok();
    let raw = lab.knarr(["image", "inspect", "--raw", &docker]).ok().json();
    assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(raw["config"]["digest"], image.config.digest.as_str());
    lab.knarr(["image", "copy", &docker, "oci:converted:v1"]).ok();
    let raw = lab.knarr(["image", "inspect", "--raw", "oci:converted:v1"]).ok().json();
    assert_eq!(raw["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(raw["layers"][0]["digest"], image.layers[0].digest.as_str());
    lab.knarr(["image", "copy", "--preserve-digests", &docker, "oci:kept:v1"]).ok();
    let raw = lab.knarr(["image", "inspect", "--raw", "oci:kept:v1"]).ok().json();
    assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
}

fn layers_are_recompressed(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "recompressed");
    let zstd = format!("docker://{}/zstd:v1", registry.address);
    lab.knarr(["image", "copy", "--dest-compress-format", "zstd", &format!("docker://{name}"), &zstd]).ok();
    let raw = lab.knarr(["image", "inspect", "--raw", &zstd]).ok().json();
    assert_eq!(raw["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(raw["config"]["digest"], image.config.digest.as_str());
    let plain = zstd.strip_prefix("docker://").expect("its transport");
    lab.knarr(["pull", "-q", plain]).ok();
    lab.knarr(["image", "copy", "--dest-decompress", &zstd, "dir:plain"]).ok();
    let hex = &image.diff_ids[0]["sha256:".len()..];
    assert!(lab.path("plain").join(hex).exists(), "the plain layer has its diff id's name");
}

fn files_are_listed_and_read_where_they_are(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "listed");
    for form in ["zstd:chunked", "estargz", "gzip"] {
        let there = format!("docker://{}/{}:v1", registry.address, form.replace(':', "-"));
        let from = format!("docker://{name}");
        lab.knarr(["image", "copy", "--dest-compress-format", form, "--dest-force-compress-format", &from, &there])
            .ok();
        let listed = lab.knarr(["image", "files", &there]).ok();
        let table = "2 of 2 layers have a table of contents";
        assert_eq!(listed.stderr.contains(table), form != "gzip", "{form}: {}", listed.stderr);
        assert_eq!(lab.knarr(["image", "files", "--whole", &there]).ok().text(), listed.text(), "{form}");
        listed.shows("/a/one\n").shows("/a/two\n");
        let below = lab.knarr(["image", "files", "-l", "-q", &there, "a/two"]).ok();
        assert!(!below.shows("-rw-------").shows("0:0").shows("/a/two").stdout.contains("/a/one"));
        let text = lab.knarr(["image", "cat", &there, "/a/../a/two"]).ok();
        assert_eq!(text.text(), "two listed");
        lab.knarr(["image", "cat", &there, "/a"]).fails().says("not a regular file");
    }
    lab.knarr(["pull", "-q", &name]).ok();
    lab.knarr(["image", "cat", &name, "a/two"]).ok().prints("two listed");
    let digest = lab.knarr(["image", "files", "--format", "{{.Type}} {{.Layer}}", &name, "/a/one"]).ok();
    assert_eq!(digest.text(), format!("file {}", image.layers[0].digest));
}

fn an_estargz_image_is_an_image_like_others(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "estargz");
    let there = format!("{}/estargz:v1", registry.address);
    let place = format!("docker://{there}");
    lab.knarr(["image", "copy", "--dest-compress-format", "estargz", &format!("docker://{name}"), &place]).ok();
    let raw = lab.knarr(["image", "inspect", "--raw", &place]).ok().json();
    assert_eq!(raw["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert!(raw["layers"][0]["annotations"]["containerd.io/snapshot/stargz/toc.digest"].is_string());
    assert_ne!(raw["config"]["digest"], image.config.digest.as_str());
    // The tars have another file, so that the config must name others: a pull compares.
    lab.knarr(["pull", "-q", &there]).ok();
    let config = lab.knarr(["image", "inspect", "--config", &place]).ok().json();
    assert_eq!(config["config"]["Labels"]["ship"], "estargz");
    // What is eStargz already stays as it is.
    let again = format!("docker://{}/again:v1", registry.address);
    lab.knarr(["image", "copy", "--dest-compress-format", "estargz", &place, &again]).ok();
    assert_eq!(digest_at(lab, &again), digest_at(lab, &place));
    let words = ["image", "copy", "--preserve-digests", "--dest-compress-format", "estargz", &place, "dir:x"];
    lab.knarr(words).ok();
}

fn digests_are_preserved_or_it_fails(lab: &Lab) {
    let (_registry, _, name) = pushed(lab, "preserved");
    let from = format!("docker://{name}");
    let words = ["image", "copy", "--preserve-digests", "--format", "v2s2", &from, "dir:x"];
    lab.knarr(words).fails().says("preserve digests");
    let words = ["image", "copy", "--preserve-digests", "--dest-compress-format", "zstd", &from, "dir:y"];
    lab.knarr(words).fails().says("preserve digests");
}

fn a_copied_archive_loads_and_runs(lab: &Lab) {
    lab.load("probe");
    for (to, name) in [("docker-archive:a.tar:boat:1", "a.tar"), ("oci-archive:b.tar:boat:1", "b.tar")] {
        lab.knarr(["image", "copy", "local:probe", to]).ok();
        lab.knarr(["rmi", "-f", "boat:1"]);
        lab.knarr(["load", "-i", name]).ok().shows("Loaded image: boat:1\n");
        lab.knarr(["run", "--rm", "boat:1", "probe", "exit", "3"]).exits(3);
    }
}

fn remote_images_are_inspected(lab: &Lab) {
    let (_registry, image, name) = pushed(lab, "inspected");
    let place = format!("docker://{name}");
    let seen = lab.knarr(["image", "inspect", &place]).ok().json();
    assert_eq!(seen["Name"], name.trim_end_matches(":v1"));
    assert_eq!(seen["Digest"], image.manifest.digest.as_str());
    assert_eq!((&seen["RepoTags"], &seen["Labels"]["ship"]), (&json!(["v1"]), &json!("inspected")));
    assert_eq!(seen["LayersData"][1]["Digest"], image.layers[1].digest.as_str());
    let raw = lab.knarr(["image", "inspect", "--raw", &place]).ok();
    assert_eq!(raw.stdout.as_bytes(), image.manifest.bytes);
    let raw = lab.knarr(["image", "inspect", "--raw", "--config", &place]).ok();
    assert_eq!(raw.stdout.as_bytes(), image.config.bytes);
    lab.knarr(["image", "inspect", &place.replace(":v1", ":v9")]).exits(2).says("manifest unknown");
}

fn tags_are_listed(lab: &Lab) {
    let (registry, image, _) = pushed(lab, "listed");
    registry.push("fleet/one", "v2", &image).expect("pushed");
    let repository = format!("docker://{}/fleet/one", registry.address);
    assert_eq!(tags(lab, &repository), ["v1", "v2"]);
    lab.knarr(["image", "list-tags", &format!("{repository}:v1")]).fails().says("No tag or digest allowed");
}

fn a_manifest_has_its_digest(lab: &Lab) {
    let image = image("digest");
    fs::write(lab.path("manifest.json"), &image.manifest.bytes).expect("written");
    let done = lab.knarr(["image", "manifest-digest", "manifest.json"]).ok();
    done.prints(&format!("{}\n", image.manifest.digest));
}

/// Our own registry, on a port of its own.
pub fn ours(lab: &Lab) -> (knarr_testkit::process::Guarded, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let address = port.to_string();
    let mut command = Command::new(lab.kit.join("knarr"));
    command.args(["registry", "serve", "--root"]).arg(lab.path("registry")).args(["--listen", &address]);
    command.stdout(fs::File::create(lab.path("registry.log")).expect("a log"));
    command.stderr(fs::File::create(lab.path("registry.err")).expect("a log"));
    let process = knarr_testkit::process::Guarded::spawn(&mut command).expect("our registry");
    knarr_testkit::wait::until("our registry listens", || std::net::TcpStream::connect(&address).ok());
    (process, address)
}

fn our_registry_takes_pushes_deletes_and_syncs(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "ours");
    registry.push("fleet/one", "v2", &image).expect("pushed");
    let (_process, address) = ours(lab);
    let source = name.trim_end_matches(":v1");
    lab.knarr(["image", "sync", "--src", "docker", "--dest", "docker", source, &format!("{address}/copies")])
        .ok()
        .says("Synced 2 images from 1 sources");
    let repository = format!("docker://{address}/copies/one");
    assert_eq!(digest_at(lab, &format!("{repository}:v2")), image.manifest.digest);
    // A tag the source does not have goes, the others stay.
    lab.knarr(["image", "copy", &format!("docker://{name}"), &format!("{repository}:stale")]).ok();
    let sync =
        ["image", "sync", "--delete", "--src", "docker", "--dest", "docker", source, &format!("{address}/copies")];
    lab.knarr(sync).ok().says("Deleting");
    assert_eq!(tags(lab, &repository), ["v1", "v2"]);
    lab.knarr(["image", "delete", &format!("{repository}:v1")]).ok().prints("");
    lab.knarr(["image", "inspect", &format!("{repository}:v1")]).exits(2);
}

fn a_sync_from_yaml_takes_what_it_names(lab: &Lab) {
    let registry = debians(lab);
    let image = image("yaml");
    for tag in ["1.0", "1.5", "2.0", "latest"] {
        registry.push("app", tag, &image).expect("pushed");
    }
    let address = &registry.address;
    let file = format!(
        "\"{address}\":\n  tls-verify: false\n  images:\n    app: [latest]\n  images-by-semver:\n    app: \"<2\"\n"
    );
    fs::write(lab.path("sync.yml"), file).expect("written");
    let words = ["image", "sync", "--src", "yaml", "--dest", "dir", "--scoped", "sync.yml", "mirror"];
    lab.knarr(words.iter().chain(&["--dry-run"])).ok().says("Would have copied").says("Would have synced 3 images");
    assert!(!lab.path("mirror").exists());
    lab.knarr(words).ok().says("Synced 3 images from 2 sources");
    let there = |tag: &str| lab.path(&format!("mirror/{address}/app:{tag}/manifest.json")).exists();
    assert!(there("latest") && there("1.0") && there("1.5") && !there("2.0"));
    lab.knarr(words).fails().says("Refusing to overwrite destination directory");
}

fn a_mirror_is_asked_before_the_registry(lab: &Lab) {
    let (registry, image, _) = pushed(lab, "mirror");
    let conf = format!(
        "[[registry]]\nprefix = \"registry.example\"\nlocation = \"127.0.0.1:9\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        registry.address
    );
    let dir = lab.path("home/.config/containers");
    fs::create_dir_all(&dir).expect("made");
    fs::write(dir.join("registries.conf"), conf).expect("written");
    lab.knarr(["pull", "-q", "registry.example/fleet/one:v1"]).ok().prints("registry.example/fleet/one:v1\n");
    let seen = lab.knarr(["image", "inspect", "--no-tags", "docker://registry.example/fleet/one:v1"]).ok().json();
    assert_eq!(seen["Digest"], image.manifest.digest.as_str());
}

fn a_blocked_registry_is_refused(lab: &Lab) {
    let dir = lab.path("home/.config/containers");
    fs::create_dir_all(&dir).expect("made");
    fs::write(dir.join("registries.conf"), "[[registry]]\nlocation = \"bad.example\"\nblocked = true\n")
        .expect("written");
    lab.knarr(["pull", "bad.example/x"]).fails().says("registry bad.example is blocked by configuration");
    fs::write(dir.join("registries.conf"), "[[registry]]\nlocation = 3\n").expect("written");
    lab.knarr(["pull", "bad.example/x"]).fails().says("registries.conf");
}

fn a_policy_that_rejects_lets_nothing_in(lab: &Lab) {
    let (registry, _, name) = pushed(lab, "policy");
    let dir = lab.path("home/.config/containers");
    fs::create_dir_all(&dir).expect("made");
    let policy = json!({"default": [{"type": "reject"}],
        "transports": {"docker": {format!("{}/good", registry.address): [{"type": "insecureAcceptAnything"}]}}});
    fs::write(dir.join("policy.json"), policy.to_string()).expect("written");
    lab.knarr(["pull", &name]).fails().says("is rejected by policy");
    lab.knarr(["images", "-q"]).ok().prints("");
    lab.knarr(["image", "copy", &format!("docker://{name}"), "dir:x"]).fails().says("rejected");
    lab.knarr(["image", "copy", "--insecure-policy", &format!("docker://{name}"), "dir:y"]).ok();
    let good = format!("docker://{}/good/one:v1", registry.address);
    lab.knarr(["image", "copy", "--insecure-policy", "dir:y", &good]).ok();
    lab.knarr(["pull", "-q", good.trim_start_matches("docker://")]).ok();
}

fn what_we_sign_with_a_key_passes_a_policy_that_names_it(lab: &Lab) {
    let (registry, _, name) = pushed(lab, "signed");
    fs::write(lab.path("pass"), "anchor\n").expect("written");
    fs::write(lab.path("wrong"), "sail\n").expect("written");
    for key in ["ship", "other"] {
        let words = ["image", "generate-sigstore-key", "--output-prefix", key, "--passphrase-file", "pass"];
        lab.knarr(words).ok().shows(&format!("Key written to \"{key}.private\" and \"{key}.pub\""));
        lab.knarr(words).fails().says("Refusing to overwrite existing");
    }
    let signed = format!("docker://{}/fleet/signed:v1", registry.address);
    let sign = |key: &str, pass: &str, to: &str| {
        let flags = ["image", "copy", "--sign-by-sigstore-private-key", key, "--sign-passphrase-file", pass];
        lab.knarr(flags.into_iter().chain([&*format!("docker://{name}"), to]))
    };
    sign("ship.private", "wrong", &signed).fails().says("wrong passphrase");
    sign("ship.private", "pass", "oci:x:v1").fails().says("--sign-identity");
    // Signatures come beside those that are there.
    sign("other.private", "pass", &signed).ok();
    sign("ship.private", "pass", &signed).ok();
    let copy = |key: &str, from: &str, to: &str| {
        let path = lab.path(key).display().to_string();
        let policy = json!({"default": [{"type": "sigstoreSigned", "keyPath": path}]});
        fs::write(lab.path("policy.json"), policy.to_string()).expect("written");
        lab.knarr(["image", "copy", "--policy", "policy.json", from, to])
    };
    copy("ship.pub", &signed, "oci:a:v1").ok();
    copy("other.pub", &signed, "oci:b:v1").ok();
    copy("ship.pub", &format!("docker://{name}"), "oci:c:v1").fails().says("no signature exists");
    let moved = format!("docker://{}/fleet/moved:v1", registry.address);
    lab.knarr(["image", "copy", "--referrers", &signed, &moved]).ok();
    copy("ship.pub", &moved, "oci:d:v1").fails().says("is not accepted");
    // An index and its images are signed each.
    let (registry, _) = many(lab);
    let flags = ["image", "copy", "--all", "--sign-by-sigstore-private-key", "ship.private", "--sign-passphrase-file"];
    let repository = format!("docker://{}/fleet/indexed", registry.address);
    let from = format!("docker://{}/fleet/many:all", registry.address);
    lab.knarr(flags.into_iter().chain(["pass", &*from, &*format!("{repository}:v1")])).ok();
    let tags = lab.knarr(["image", "list-tags", &repository]).ok().json();
    let is_signature = |tag: &&Value| tag.as_str().is_some_and(|tag| tag.ends_with(".sig"));
    assert_eq!(tags["Tags"].as_array().expect("tags").iter().filter(is_signature).count(), 3, "{tags}");
}

fn called_skopeo_it_is_skopeo(lab: &Lab) {
    let (_registry, image, name) = pushed(lab, "skopeo");
    let place = format!("docker://{name}");
    skopeo(lab, &["--version"]).ok().shows("skopeo version");
    let seen = skopeo(lab, &["inspect", &place]).ok().json();
    assert_eq!(seen["Digest"], image.manifest.digest.as_str());
    let done = skopeo(lab, &["--insecure-policy", "copy", &place, "dir:copied"]).ok();
    done.shows("Getting image source signatures\n").shows("Writing manifest to image destination\n");
    skopeo(lab, &["inspect", &place.replace(":v1", ":v9")]).exits(2).says("level=fatal msg=").says("manifest unknown");
    let done = skopeo(lab, &["--debug", "inspect", &place]).ok();
    done.says(&format!(
        "level=debug msg=\"GET http://{}: 200 OK\"",
        name.replacen('/', "/v2/", 1).replace(":v1", "/manifests/v1")
    ));
    skopeo(lab, &["copy", "--remove-signatures", "--referrers", &place, "dir:x"]).fails().says("--remove-signatures");
    skopeo(lab, &["logout", "--tls-verify=false", "registry.example"]).fails().says("--tls-verify");
    skopeo(lab, &["fly"]).exits(1).says("Unrecognized command `skopeo fly`");
    skopeo(lab, &["standalone-sign"]).exits(1).says("requires --output");
    skopeo(lab, &["layers"]).exits(1).says("use copy with dir:");
}

fn skopeo(lab: &Lab, words: &[&str]) -> Done {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(lab.kit.join("knarr"));
    command.arg0("skopeo").args(words).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", lab.path("home"));
    command.current_dir(&lab.directory);
    finish(&mut command, &format!("skopeo {}", words.join(" ")), b"")
}

fn configure(lab: &Lab, registries: &str) {
    let dir = lab.path("home/.config/containers");
    fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join("registries.conf"), registries)).expect("written");
}

fn a_list_is_pushed_with_its_images(lab: &Lab) {
    let registry = debians(lab);
    lab.load("probe");
    lab.load("configured");
    lab.knarr(["manifest", "create", "many:v1", "probe"]).ok();
    lab.knarr(["manifest", "add", "--arch", "s390x", "many:v1", "configured"]).ok();
    let name = format!("{}/fleet/many:v1", registry.address);
    let digest = lab.knarr(["manifest", "push", "-q", "many:v1", &format!("docker://{name}")]).ok().stdout;
    let place = format!("docker://{name}");
    let there = lab.knarr(["image", "inspect", "--raw", &place]).ok();
    let here = lab.knarr(["manifest", "inspect", "many:v1"]).ok();
    assert_eq!(there.json(), here.json());
    assert_eq!(digest.trim(), knarr_testkit::blob::sha256(there.stdout.as_bytes()));
    lab.knarr(["image", "copy", "--multi-arch=all", &place, "oci:copied:v1"]).ok();
    lab.knarr(["manifest", "push", "--rm", "many:v1", &name.replace(":v1", ":v2")]).ok();
    lab.knarr(["manifest", "exists", "many:v1"]).exits(1);
    assert_eq!(tags(lab, &format!("docker://{}/fleet/many", registry.address)), ["v1", "v2"]);
    lab.knarr(["manifest", "push", "many:v1"]).fails().says("no such manifest");
}

fn with_artifact(lab: &Lab) -> (Registry, String, String) {
    let registry = debians(lab);
    let name = format!("{}/team/model:v1", registry.address);
    fs::write(lab.path("weights"), "0.5").expect("written");
    let digest = lab.knarr(["artifact", "add", "--type", "application/vnd.me.model", &name, "weights"]).ok().stdout;
    assert_eq!(lab.knarr(["artifact", "push", "-q", &name]).ok().stdout, digest);
    (registry, name, digest)
}

fn an_artifact_goes_to_a_registry_and_comes_back(lab: &Lab) {
    let (_registry, name, digest) = with_artifact(lab);
    lab.knarr(["artifact", "rm", &name]).ok();
    lab.knarr(["system", "prune", "-a", "-f"]).ok();
    assert_eq!(lab.knarr(["artifact", "pull", "-q", &name]).ok().stdout, digest);
    lab.knarr(["system", "prune", "-a", "-f"]).ok();
    lab.knarr(["artifact", "extract", &name, "back"]).ok();
    assert_eq!(fs::read_to_string(lab.path("back")).expect("the file"), "0.5");
    lab.knarr(["artifact", "push", &name.replace("model", "nothing")]).fails().says("no such artifact");
    lab.knarr(["artifact", "pull", &name.replace("model", "nothing")]).fails();
}

fn what_an_artifact_lost_is_fetched_again(lab: &Lab) {
    let (_registry, name, _) = with_artifact(lab);
    let lost = knarr_testkit::blob::sha256(b"0.5");
    let path = lab.path(&format!("state/blobs/sha256/{}", lost.trim_start_matches("sha256:")));
    fs::remove_file(&path).expect("removed");
    lab.knarr(["system", "check"]).exits(1).shows(&lost);
    let format = "{{.Whole}} {{range .Findings}}{{.Finding}}{{end}}";
    lab.knarr(["system", "check", "--format", format])
        .exits(1)
        .prints(&format!("false blob {lost}: its file is missing\n"));
    lab.knarr(["system", "check", "--repair"]).ok().shows(&format!("blob {lost}: its file is missing: fetched again"));
    assert_eq!(fs::read_to_string(path).expect("it is back"), "0.5");
    lab.knarr(["system", "check", "--contents"]).ok().prints("no damage found\n");
    lab.knarr(["artifact", "rm", &name]).ok();
}

fn a_short_name_means_what_registries_conf_says(lab: &Lab) {
    let registry = debians(lab);
    let probe = fs::read(lab.kit.join("probe")).expect("the kit's probe");
    let layer = LayerTar::new().dir("bin/", 0o755).file("bin/probe", 0o755, probe).finish();
    let image = ImageMaker::new(json!({"Env": ["PATH=/bin"]}), vec![layer]).make();
    registry.push("fleet/boat", "v1", &image).expect("pushed");
    let address = &registry.address;
    configure(
        lab,
        &format!(
            "unqualified-search-registries = [\"127.0.0.1:9\", \"{address}\"]\n[aliases]\nboat = \"{address}/fleet/boat\"\n"
        ),
    );
    let words = ["run", "--rm", "boat:v1", "probe", "exit", "3"];
    lab.knarr(words).exits(3).says("Unable to find image 'boat:v1' locally");
    drop(registry);
    // Now it is here under the name it was found by, and nobody is asked.
    assert_eq!(lab.knarr(words).exits(3).stderr, "");
    lab.knarr(["run", "--rm", "fleet/nothing:v1"]).fails();
}

fn tags_are_listed_where_a_rewritten_name_leads(lab: &Lab) {
    let (registry, _, _) = pushed(lab, "rewritten");
    configure(
        lab,
        &format!("[[registry]]\nprefix = \"shop.example/ships\"\nlocation = \"{}/fleet\"\n", registry.address),
    );
    assert_eq!(tags(lab, "docker://shop.example/ships/one"), ["v1"]);
}

fn a_tar_is_imported_from_a_url(lab: &Lab) {
    let image = image("imported");
    let hold = Hold::default().image("a", "v1", &image);
    let server = Server::start(hold, Gate::Open, None).expect("a server");
    let url = format!("http://{}/v2/a/blobs/{}", server.address, image.layers[0].digest);
    lab.knarr(["import", "-m", "from afar", &url, "imported:v1"]).ok().shows("sha256:");
    let seen = lab.knarr(["image", "inspect", "imported:v1"]).ok().json();
    assert_eq!(seen[0]["RootFS"]["Layers"], json!([image.diff_ids[0]]));
    lab.knarr(["import", &url.replace("/a/", "/b/"), "nothing:v1"]).fails().says("404");
    let cut = Fault::CutAlways(image.layers[0].digest.clone(), 20);
    let cutting = Server::start(Hold::default().image("a", "v1", &image), Gate::Open, Some(cut)).expect("a server");
    lab.knarr(["import", &url.replace(&server.address, &cutting.address), "nothing:v1"]).fails();
    assert_eq!(lab.knarr(["images", "-q"]).ok().stdout.lines().count(), 1);
}

fn a_search_lists_repositories_whose_name_has_the_word(lab: &Lab) {
    let (_process, address) = ours(lab);
    lab.load("probe");
    for name in ["fleet/one", "fleet/two", "one", "shore"] {
        lab.knarr(["image", "copy", "local:probe", &format!("docker://{address}/{name}:v1")]).ok();
    }
    let names = |words: &[&str]| lab.knarr(["search", "--format", "{{.Name}}"].iter().chain(words)).ok().stdout;
    let lines =
        |repositories: &[&str]| repositories.iter().map(|name| format!("{address}/{name}\n")).collect::<String>();
    assert_eq!(names(&[&format!("{address}/one")]), lines(&["one", "fleet/one"]));
    assert_eq!(names(&[&format!("{address}/")]), lines(&["fleet/one", "fleet/two", "one", "shore"]));
    assert_eq!(names(&["--limit", "1", &format!("{address}/one")]), lines(&["one"]));
    assert_eq!(names(&["--filter", "is-official=true", &format!("{address}/one")]), "");
    lab.knarr(["search", &format!("{address}/one")]).ok().shows("NAME ").shows("DESCRIPTION").shows("OFFICIAL\n");
    let tags = lab.knarr(["search", "--list-tags", &format!("{address}/fleet/two")]).ok().stdout;
    let table: Vec<Vec<&str>> = tags.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(table, [vec!["NAME", "TAG"], vec![&format!("{address}/fleet/two"), "v1"]]);
    configure(lab, &format!("unqualified-search-registries = [\"127.0.0.1:9\", \"{address}\"]\n"));
    let done = lab.knarr(["search", "--format", "{{.Index}}/{{.Name}}", "shore"]).ok();
    done.prints(&format!("{address}/{address}/shore\n")).says("note: ");
    lab.knarr(["search", "--limit", "200", "shore"]).exits(125).says("limit 200 is outside the range of [1, 100]");
    lab.knarr(["search", "--filter", "age=3", "shore"]).exits(125).says("invalid filter");
    lab.knarr(["search", "http://127.0.0.1/shore"]).exits(125).says("should not have a scheme");
}

fn a_search_is_dockers_where_the_registry_has_one(lab: &Lab) {
    let results = json!({"num_results": 2, "query": "ship", "results": [
        {"name": "ship", "description": "A ship that carries\neverything over every sea and back again",
         "star_count": 120, "is_official": true, "is_automated": false},
        {"name": "team/ship", "description": "", "star_count": 3, "is_official": false, "is_automated": true}]});
    let page = knarr_testkit::Blob::new("application/json", results.to_string().into_bytes());
    let server = Server::start(Hold::default().page("/v1/search", &page), Gate::Open, None).expect("a server");
    let term = format!("{}/ship", server.address);
    let table = lab.knarr(["search", &term]).ok().stdout;
    assert!(table.contains("A ship that carries everything over every se…   120       [OK]\n"), "{table}");
    assert_eq!(server.requests().last().expect("a request"), "GET /v1/search?q=ship&n=25");
    let json = lab.knarr(["search", "--no-trunc", "--format", "json", "--filter", "stars=100", &term]).ok().json();
    assert_eq!(json["IsOfficial"], "true");
    assert_eq!(json["Description"], "A ship that carries everything over every sea and back again");
    let format = ["search", "--filter", "is-official=false", "--format", "{{.Name}} {{.Stars}} {{.Automated}}", &term];
    lab.knarr(format).ok().prints(&format!("{}/team/ship 3 [OK]\n", server.address));
}
