//! Registries that lie and archives that climb: a sentence, nothing outside touched, and the next command works.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use knarr_testkit::hostile;
use knarr_testkit::lab::Done;
use knarr_testkit::leftovers;
use knarr_testkit::server::{Fault, Gate, Hold, Server};
use knarr_testkit::{Blob, Compression, Image, ImageMaker, Lab, LayerTar};
use serde_json::json;

cases!["hostile":
    names_with_dots_stay_inside,
    absolute_names_land_inside,
    symlinks_lead_nowhere_outside,
    relative_symlinks_lead_nowhere_outside,
    hard_links_reach_nothing_outside,
    hard_links_through_symlinks_reach_nothing_outside,
    a_directory_swapped_for_a_symlink_leads_nowhere_outside,
    whiteouts_delete_nothing_outside,
    whiteouts_of_dots_delete_nothing,
    directory_entries_change_no_mode_outside,
    a_promised_terabyte_is_a_short_read,
    a_layer_bomb_ends_at_the_limit,
    an_entry_of_unknown_type_breaks_nothing,
    a_bent_byte_is_found,
    a_shortened_blob_is_found,
    a_lengthened_blob_is_found,
    a_blob_that_is_always_cut_ends_with_a_sentence,
    a_manifest_of_a_hundred_megabytes_is_refused,
    a_manifest_with_another_digest_is_refused,
    a_wrong_diff_id_is_found,
    redirects_in_a_circle_end,
    a_server_error_is_told,
    garbage_as_manifest_is_refused,
    garbage_as_archive_is_refused,
    an_image_without_layers_has_no_program,
    a_hostile_config_is_refused,
];

fn works_afterwards(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "probe", "exit", "3"]).exits(3);
    assert!(lab.path("state").exists());
}

/// A file outside of every root that must stay as it is.
fn canary(lab: &Lab) -> PathBuf {
    let outside = lab.path("outside");
    fs::create_dir_all(&outside).expect("made");
    fs::write(outside.join("canary"), "alive").expect("written");
    outside
}

fn maker(tar: Vec<u8>) -> ImageMaker {
    ImageMaker::new(json!({"Cmd": ["/x"]}), vec![tar])
}

/// Loads an image of the one layer `tar`, as archive and over the network; it may fail, the canary must live.
fn climb(lab: &Lab, make: impl Fn(&str) -> Vec<u8>) {
    let outside = canary(lab);
    let tar = make(&outside.display().to_string());
    let archive = lab.path("evil.tar");
    maker(tar.clone()).save(&archive, "evil:latest").expect("written");
    for done in [lab.knarr(["load", "-i", &archive.display().to_string()]), pull(lab, &serve(&maker(tar).make(), None))]
    {
        assert!(!done.stderr.contains("panicked") && done.signal.is_none(), "{done}");
    }
    let seen: Vec<_> = fs::read_dir(&outside).expect("still there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(seen, ["canary"], "something was made or removed outside");
    assert_eq!(fs::read_to_string(outside.join("canary")).expect("still there"), "alive", "it was written through");
    works_afterwards(lab);
}

fn serve(image: &Image, fault: Option<Fault>) -> Server {
    Server::start(Hold::default().image("a", "v1", image), Gate::Open, fault).expect("a server")
}

fn pull(lab: &Lab, server: &Server) -> Done {
    lab.knarr(["pull", &format!("{}/a:v1", server.address)])
}

fn names_with_dots_stay_inside(lab: &Lab) {
    climb(lab, |outside| hostile::climbs_by_dots(&format!("{outside}/canary")));
}

fn absolute_names_land_inside(lab: &Lab) {
    climb(lab, |outside| hostile::absolute_name(&format!("{outside}/canary")));
}

fn symlinks_lead_nowhere_outside(lab: &Lab) {
    climb(lab, |outside| hostile::through_a_symlink(outside, "canary"));
}

fn relative_symlinks_lead_nowhere_outside(lab: &Lab) {
    climb(lab, |outside| hostile::through_a_relative_symlink(outside, "canary"));
}

fn hard_links_reach_nothing_outside(lab: &Lab) {
    climb(lab, |outside| hostile::hard_link_out(&format!("{outside}/canary")));
}

fn hard_links_through_symlinks_reach_nothing_outside(lab: &Lab) {
    climb(lab, |outside| hostile::hard_link_through_a_symlink(outside, "canary"));
}

fn a_directory_swapped_for_a_symlink_leads_nowhere_outside(lab: &Lab) {
    climb(lab, |outside| hostile::swaps_a_directory_for_a_symlink(outside, "canary"));
}

fn whiteouts_delete_nothing_outside(lab: &Lab) {
    climb(lab, |outside| hostile::whiteout_climbs(outside, "canary"));
}

fn whiteouts_of_dots_delete_nothing(lab: &Lab) {
    climb(lab, |_| hostile::whiteout_of_dots());
}

fn directory_entries_change_no_mode_outside(lab: &Lab) {
    use std::os::unix::fs::PermissionsExt;
    let outside = canary(lab);
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).expect("changed");
    climb(lab, hostile::chmods_the_parent);
    assert_eq!(fs::metadata(&outside).expect("still there").permissions().mode() & 0o777, 0o750);
}

fn a_promised_terabyte_is_a_short_read(lab: &Lab) {
    let archive = lab.path("evil.tar");
    maker(hostile::promises_a_terabyte()).save(&archive, "evil:latest").expect("written");
    lab.knarr(["load", "-i", &archive.display().to_string()]).fails();
    lab.knarr(["images", "-q"]).ok().prints("");
    works_afterwards(lab);
}

fn a_layer_bomb_ends_at_the_limit(lab: &Lab) {
    // The limit is lowered where the bomb would fill a disk; see `system limits` in docs/formats.md.
    let packed = hostile::bomb(1);
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", packed);
    let mut image = maker(LayerTar::new().finish()).make();
    image.layers = vec![layer];
    let manifest = json!({"schemaVersion": 2, "mediaType": image.manifest.media_type, "config": image.config.descriptor(), "layers": [image.layers[0].descriptor()]});
    image.manifest = Blob::new(&image.manifest.media_type.clone(), manifest.to_string().into_bytes());
    let server = serve(&image, None);
    let done = lab.knarr(["pull", &format!("{}/a:v1", server.address)]).fails();
    let bytes = disk_bytes(&lab.path("state"));
    assert!(bytes < 256 << 20, "{bytes} bytes stayed on disk\n{done}");
    works_afterwards(lab);
}

/// What a tree occupies.
fn disk_bytes(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let children = fs::read_dir(path).into_iter().flatten().flatten();
    let below: u64 = if metadata.is_dir() { children.map(|child| disk_bytes(&child.path())).sum() } else { 0 };
    metadata.blocks() * 512 + below
}

fn an_entry_of_unknown_type_breaks_nothing(lab: &Lab) {
    let archive = lab.path("odd.tar");
    maker(hostile::unknown_type()).save(&archive, "odd:latest").expect("written");
    let done = lab.knarr(["load", "-i", &archive.display().to_string()]);
    assert!(done.signal.is_none() && !done.stderr.contains("panicked"), "{done}");
    works_afterwards(lab);
}

fn good_image() -> Image {
    let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    ImageMaker {
        layers: vec![(LayerTar::new().file("x", 0o755, noise).finish(), Compression::Plain)],
        ..maker(Vec::new())
    }
    .make()
}

/// Pulls with `fault` on the layer; it must fail with a sentence and leave no image, and succeed without the fault.
fn faulty(lab: &Lab, fault: impl Fn(&str) -> Fault) -> Done {
    let image = good_image();
    let server = serve(&image, Some(fault(&image.layers[0].digest)));
    let done = pull(lab, &server).fails();
    lab.knarr(["images", "-q"]).ok().prints("");
    pull(lab, &serve(&image, None)).ok();
    works_afterwards(lab);
    done
}

fn a_bent_byte_is_found(lab: &Lab) {
    let done = faulty(lab, |digest| Fault::BendLastByte(digest.to_string()));
    assert!(done.stderr.contains("sha256:"), "which blob?\n{done}");
}

fn a_shortened_blob_is_found(lab: &Lab) {
    let done = faulty(lab, |digest| Fault::Shorten(digest.to_string(), 1000));
    assert!(done.stderr.contains("sha256:"), "which blob?\n{done}");
}

fn a_lengthened_blob_is_found(lab: &Lab) {
    let done = faulty(lab, |digest| Fault::Lengthen(digest.to_string(), 1000));
    assert!(done.stderr.contains("sha256:"), "which blob?\n{done}");
}

fn a_blob_that_is_always_cut_ends_with_a_sentence(lab: &Lab) {
    faulty(lab, |digest| Fault::CutAlways(digest.to_string(), 0));
}

fn a_manifest_of_a_hundred_megabytes_is_refused(lab: &Lab) {
    let started = Instant::now();
    let done = faulty(lab, |_| Fault::SwellManifest(100 << 20));
    assert!(done.stderr.contains("manifest"), "{done}");
    assert!(started.elapsed().as_secs() < 15, "it took {:?}", started.elapsed());
}

fn a_manifest_with_another_digest_is_refused(lab: &Lab) {
    let image = good_image();
    let lie = format!("sha256:{}", "1".repeat(64));
    let mut manifest = image.manifest.clone();
    manifest.digest = lie.clone();
    let server =
        Server::start(Hold::default().image("a", "v1", &image).manifest("a", "lie", &manifest), Gate::Open, None)
            .expect("a server");
    lab.knarr(["pull", &format!("{}/a@{lie}", server.address)]).fails().says("1111");
    lab.knarr(["images", "-q"]).ok().prints("");
    works_afterwards(lab);
}

fn a_wrong_diff_id_is_found(lab: &Lab) {
    let mut image = good_image();
    let config = String::from_utf8(image.config.bytes.clone())
        .expect("JSON")
        .replace(&image.diff_ids[0], &format!("sha256:{}", "2".repeat(64)));
    image.config = Blob::new(&image.config.media_type.clone(), config.into_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": image.manifest.media_type, "config": image.config.descriptor(), "layers": [image.layers[0].descriptor()]});
    image.manifest = Blob::new(&image.manifest.media_type.clone(), manifest.to_string().into_bytes());
    pull(lab, &serve(&image, None)).fails().says("2222");
    lab.knarr(["images", "-q"]).ok().prints("");
    works_afterwards(lab);
}

fn redirects_in_a_circle_end(lab: &Lab) {
    let server = serve(&good_image(), Some(Fault::RedirectLoop));
    pull(lab, &server).fails();
    assert!(server.requests().len() < 100, "{} requests", server.requests().len());
}

fn a_server_error_is_told(lab: &Lab) {
    let server = serve(&good_image(), Some(Fault::Status(500)));
    pull(lab, &server).fails().says("500");
    assert!(server.requests().len() < 50, "{} requests", server.requests().len());
}

fn garbage_as_manifest_is_refused(lab: &Lab) {
    for garbage in
        ["", "{", "[]", "{\"schemaVersion\":1}", "\u{0}\u{1}", "{\"schemaVersion\":2,\"config\":{},\"layers\":{}}"]
    {
        let manifest = Blob::new("application/vnd.oci.image.manifest.v1+json", garbage.as_bytes().to_vec());
        let server = Server::start(Hold::default().manifest("a", "v1", &manifest), Gate::Open, None).expect("a server");
        pull(lab, &server).fails();
    }
    works_afterwards(lab);
}

fn garbage_as_archive_is_refused(lab: &Lab) {
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for garbage in [b"".as_slice(), b"not a tar", &noise, &[0; 10240]] {
        let path = lab.path("garbage.tar");
        fs::write(&path, garbage).expect("written");
        lab.knarr(["load", "-i", &path.display().to_string()]).fails();
    }
    lab.knarr(["load", "-i", &lab.directory.display().to_string()]).fails();
    works_afterwards(lab);
}

fn an_image_without_layers_has_no_program(lab: &Lab) {
    let image = ImageMaker::new(json!({"Cmd": ["/x"]}), Vec::new());
    image.save(&lab.path("empty.tar"), "empty:latest").expect("written");
    lab.knarr(["load", "-i", &lab.path("empty.tar").display().to_string()]).ok();
    lab.knarr(["run", "--rm", "empty"]).exits(127);
    works_afterwards(lab);
}

fn a_hostile_config_is_refused(lab: &Lab) {
    let tar = LayerTar::new().file("x", 0o755, "x").finish();
    for config in [
        json!({"Cmd": ["/x"], "WorkingDir": "../../.."}),
        json!({"Cmd": ["/x\u{0}y"]}),
        json!({"Cmd": ["/x"], "Env": ["A=\u{0}"]}),
        json!({"Cmd": ["/x"], "Volumes": {"../../up": {}}}),
        json!({"Cmd": ["/x"], "User": "../../etc/passwd"}),
    ] {
        let archive = lab.path("odd.tar");
        ImageMaker::new(config, vec![tar.clone()]).save(&archive, "odd:latest").expect("written");
        let loaded = lab.knarr(["load", "-i", &archive.display().to_string()]);
        let done = if loaded.code == Some(0) { lab.knarr(["run", "--rm", "odd"]) } else { loaded };
        assert!(done.code.is_some_and(|code| code != 0) && !done.stderr.contains("panicked"), "{done}");
    }
    assert!(leftovers::mounts(&lab.directory).is_empty());
    works_afterwards(lab);
}
