//! Images in OCI layouts as bundles and back, changed, inserted into, flattened and rebased; lists and artifacts.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use knarr_testkit::Lab;
use knarr_testkit::lab::finish;
use serde_json::{Value, json};

cases!["layouts":
    a_bundle_is_unpacked_changed_and_repacked,
    a_bundle_nobody_changed_repacks_to_no_layer,
    volumes_and_masked_paths_are_left_out,
    rootless_bundles_keep_owners_in_attributes,
    a_bundle_runs_under_our_runtime,
    config_changes_and_clears,
    insert_puts_hides_and_takes_away,
    new_layers_are_compressed_as_the_last_one_was,
    tags_that_are_no_names_are_refused,
    an_image_of_nothing_grows_layer_by_layer,
    flatten_and_export_show_the_same_tree,
    rebase_moves_our_layers_to_another_base,
    mutate_and_append_work_on_images_of_the_store,
    umoci_reads_what_we_write_and_we_read_what_umoci_writes,
    lists_name_images_and_keep_them,
    artifacts_are_files_under_a_name,
    tags_of_a_layout_are_listed_moved_and_deleted,
];

/// A layout of the kit's probe in the lab, under the tag `v1`.
fn layout(lab: &Lab) {
    let made = Command::new("cp").arg("-r").arg(lab.kit.join("images/probe-layout")).arg(lab.path("lay")).status();
    assert!(made.is_ok_and(|status| status.success()), "cp");
}

fn unpack(lab: &Lab, tag: &str, bundle: &str) {
    let rootless: &[&str] = if lab.is_root() { &[] } else { &["--rootless"] };
    let image = format!("lay:{tag}");
    let words = ["image", "unpack", "--image", &image];
    lab.knarr(words.iter().chain(rootless).chain(&[bundle])).ok();
}

fn manifest(lab: &Lab, tag: &str) -> Value {
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).expect("a document")).expect("JSON");
    let index = read(&lab.path("lay/index.json"));
    let entries = index["manifests"].as_array().expect("a list");
    let entry = entries.iter().find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag);
    let digest = entry.unwrap_or_else(|| panic!("{tag} in {index}"))["digest"]
        .as_str()
        .expect("a digest")
        .replace("sha256:", "");
    read(&lab.path("lay/blobs/sha256").join(digest))
}

fn config(lab: &Lab, tag: &str) -> Value {
    let digest = manifest(lab, tag)["config"]["digest"].as_str().expect("a digest").replace("sha256:", "");
    serde_json::from_slice(&fs::read(lab.path("lay/blobs/sha256").join(digest)).expect("the config")).expect("JSON")
}

fn layers(lab: &Lab, tag: &str) -> usize {
    manifest(lab, tag)["layers"].as_array().map_or(0, Vec::len)
}

/// Every name below a directory with what `ls` would say of it.
fn listing(root: &Path) -> String {
    let script =
        "find . -printf '%P %y %m %U:%G %s %n %l\\n' | awk '{ if ($2 == \"d\") { $5 = 0; $6 = 0 } print }' | sort";
    let done = Command::new("sh").args(["-c", script]).current_dir(root).output().expect("find");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn a_bundle_is_unpacked_changed_and_repacked(lab: &Lab) {
    layout(lab);
    unpack(lab, "v1", "one");
    let root = lab.path("one/rootfs");
    assert!(root.join("bin/probe").exists() && lab.path("one/config.json").exists());
    fs::remove_file(root.join("etc/group")).expect("remove");
    fs::write(root.join("etc/sail"), "canvas").expect("write");
    fs::hard_link(root.join("etc/sail"), root.join("etc/link")).expect("link");
    symlink("sail", root.join("etc/symlink")).expect("symlink");
    fs::create_dir_all(root.join("new/deep\nodd")).expect("mkdir");
    fs::set_permissions(root.join("bin"), fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::remove_dir_all(root.join("tmp")).expect("remove");
    fs::write(root.join("tmp"), "a file now").expect("write");
    lab.knarr(["image", "repack", "--image", "lay:v2", "one"]).ok();
    assert_eq!((layers(lab, "v1"), layers(lab, "v2")), (1, 2));
    unpack(lab, "v2", "two");
    assert_eq!(listing(&root), listing(&lab.path("two/rootfs")));
    assert!(!lab.path("two/rootfs/etc/group").exists());
    lab.knarr(["image", "unpack", "--image", "lay:v2", "two"]).fails();
    lab.knarr(["image", "unpack", "--image", "lay:nothing", "three"]).fails();
    lab.knarr(["image", "repack", "--image", "lay:v3", "/tmp"]).fails().says("is no bundle of ours");
}

fn a_bundle_nobody_changed_repacks_to_no_layer(lab: &Lab) {
    layout(lab);
    unpack(lab, "v1", "one");
    lab.knarr(["image", "repack", "--image", "lay:v2", "--refresh-bundle", "one"]).ok();
    assert_eq!(layers(lab, "v2"), 1);
    fs::write(lab.path("one/rootfs/etc/sail"), "canvas").expect("write");
    lab.knarr(["image", "repack", "--image", "lay:v3", "--refresh-bundle", "--compress", "zstd", "one"]).ok();
    lab.knarr(["image", "repack", "--image", "lay:v4", "one"]).ok();
    assert_eq!((layers(lab, "v3"), layers(lab, "v4")), (2, 2));
    assert_eq!(manifest(lab, "v3")["layers"][1]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(config(lab, "v4")["history"][3]["empty_layer"], true);
}

fn volumes_and_masked_paths_are_left_out(lab: &Lab) {
    layout(lab);
    lab.knarr(["image", "config", "--image", "lay:v1", "--config.volume", "/root"]).ok();
    unpack(lab, "v1", "one");
    for name in ["root/x", "home/x", "etc/x"] {
        fs::write(lab.path("one/rootfs").join(name), "x").expect("write");
    }
    lab.knarr(["image", "repack", "--image", "lay:v2", "--mask-path", "/home", "one"]).ok();
    unpack(lab, "v2", "two");
    let has = |bundle: &str, name: &str| lab.path(bundle).join("rootfs").join(name).exists();
    assert!(has("two", "etc/x") && !has("two", "root/x") && !has("two", "home/x"));
    lab.knarr(["image", "repack", "--image", "lay:v3", "--no-mask-volumes", "one"]).ok();
    unpack(lab, "v3", "three");
    assert!(has("three", "root/x") && has("three", "home/x"));
}

fn rootless_bundles_keep_owners_in_attributes(lab: &Lab) {
    layout(lab);
    lab.knarr(["image", "unpack", "--rootless", "--image", "lay:v1", "one"]).ok();
    let alice = fs::metadata(lab.path("one/rootfs/home/alice")).expect("stat");
    assert_eq!(alice.uid(), fs::metadata(lab.path("one")).expect("stat").uid(), "everything is ours");
    fs::write(lab.path("one/rootfs/home/alice/new"), "x").expect("write");
    lab.knarr(["image", "repack", "--image", "lay:v2", "one"]).ok();
    lab.knarr(["image", "export", "oci:lay:v2", "tree.tar"]).ok();
    let archive = fs::File::open(lab.path("tree.tar")).expect("the tar");
    let mut archive = tar::Archive::new(archive);
    let mut owner = None;
    for entry in archive.entries().expect("entries") {
        let entry = entry.expect("entry");
        if entry.path().expect("path").ends_with("home/alice") {
            owner = Some(entry.header().uid().expect("uid"));
        }
    }
    if owner == Some(0) {
        lab.skip("this file system has no user attributes");
    }
    assert_eq!(owner, Some(1000), "alice owns her home again");
}

fn a_bundle_runs_under_our_runtime(lab: &Lab) {
    layout(lab);
    lab.knarr([
        "image",
        "config",
        "--image",
        "lay:v1",
        "--config.cmd",
        "/bin/probe",
        "--config.cmd",
        "exit",
        "--config.cmd",
        "7",
        "--config.label",
        "a=b",
    ])
    .ok();
    unpack(lab, "v1", "one");
    let path = lab.path("one/config.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&path).expect("the document")).expect("JSON");
    assert_eq!(document["annotations"]["a"], "b");
    assert_eq!(document["annotations"]["org.opencontainers.image.os"], "linux");
    assert_eq!(document["process"]["args"], serde_json::json!(["/bin/probe", "exit", "7"]));
    if !lab.is_root() {
        return;
    }
    document["process"]["terminal"] = false.into();
    fs::write(&path, document.to_string()).expect("written");
    let mut command = Command::new(lab.kit.join("knarr"));
    command
        .args(["runtime", "--root"])
        .arg(lab.path("runtime"))
        .args(["run", "--bundle"])
        .arg(lab.path("one"))
        .arg("boat");
    finish(&mut command, "knarr runtime run", b"").exits(7);
}

fn config_changes_and_clears(lab: &Lab) {
    layout(lab);
    let change = [
        "image",
        "config",
        "--image",
        "lay:v1",
        "--tag",
        "v2",
        "--config.user",
        "alice",
        "--config.env",
        "A=1",
        "--config.exposedports",
        "80/tcp",
        "--config.workingdir",
        "/tmp",
        "--config.stopsignal",
        "SIGINT",
        "--author",
        "me",
        "--architecture",
        "arm64",
        "--manifest.annotation",
        "x=y",
        "--history.comment",
        "why",
        "--created",
        "2026-01-02T03:04:05Z",
    ];
    lab.knarr(change).ok();
    let new = config(lab, "v2");
    assert_eq!(
        (&new["config"]["User"], &new["config"]["StopSignal"], &new["architecture"]),
        (&"alice".into(), &"SIGINT".into(), &"arm64".into())
    );
    assert_eq!((&new["author"], &new["created"]), (&"me".into(), &"2026-01-02T03:04:05Z".into()));
    assert!(new["config"]["Env"].as_array().expect("a list").contains(&"A=1".into()));
    assert_eq!(manifest(lab, "v2")["annotations"]["x"], "y");
    assert_eq!(new["history"].as_array().and_then(|list| list.last()).expect("a step")["comment"], "why");
    assert!(config(lab, "v1")["config"]["User"].is_null(), "the old image stays");
    lab.knarr([
        "image",
        "config",
        "--image",
        "lay:v2",
        "--no-history",
        "--clear",
        "config.env",
        "--clear",
        "manifest.annotations",
    ])
    .ok();
    assert!(config(lab, "v2")["config"]["Env"].is_null() && manifest(lab, "v2")["annotations"].is_null());
    lab.knarr(["image", "config", "--image", "lay:v2", "--clear", "rootfs.diffids"])
        .fails()
        .says("is no field that can be cleared");
    lab.knarr(["image", "config", "--image", "lay:v2", "--created", "yesterday"]).fails().says("RFC 3339");
}

fn insert_puts_hides_and_takes_away(lab: &Lab) {
    layout(lab);
    fs::create_dir_all(lab.path("site/sub")).expect("mkdir");
    fs::write(lab.path("site/sub/page"), "hello").expect("write");
    lab.knarr(["image", "insert", "--image", "lay:v1", "--tag", "v2", "site", "/srv/www"]).ok();
    lab.knarr(["image", "insert", "--image", "lay:v2", "--tag", "v3", "--opaque", "site", "/etc"]).ok();
    lab.knarr(["image", "insert", "--image", "lay:v3", "--tag", "v4", "--whiteout", "/root"]).ok();
    lab.knarr(["image", "insert", "--image", "lay:v4", "--tag", "v5", "site/sub/page", "/root"]).ok();
    unpack(lab, "v2", "two");
    unpack(lab, "v5", "five");
    assert_eq!(fs::read_to_string(lab.path("two/rootfs/srv/www/sub/page")).expect("the page"), "hello");
    assert!(lab.path("two/rootfs/etc/passwd").exists() && !lab.path("five/rootfs/etc/passwd").exists());
    assert!(lab.path("five/rootfs/etc/sub/page").exists());
    assert_eq!(fs::read_to_string(lab.path("five/rootfs/root")).expect("a file"), "hello");
    lab.knarr(["image", "insert", "--image", "lay:v1", "site", "/../x"]).fails();
    lab.knarr(["image", "insert", "--image", "lay:v1", "site"]).fails();
}

/// The media type of the topmost layer.
fn last_layer(lab: &Lab, tag: &str) -> String {
    let place = format!("oci:lay:{tag}");
    let manifest = lab.knarr(["image", "inspect", "--raw", &place]).ok().json();
    let layers = manifest["layers"].as_array().expect("layers");
    layers.last().and_then(|layer| layer["mediaType"].as_str()).expect("a media type").to_owned()
}

fn new_layers_are_compressed_as_the_last_one_was(lab: &Lab) {
    layout(lab);
    fs::write(lab.path("page"), "hello").expect("write");
    let insert = |tag: &str, new: &str, options: &[&str]| {
        let image = format!("lay:{tag}");
        let words = ["image", "insert", "--image", &image, "--tag", new];
        lab.knarr(words.iter().chain(options).chain(&["page", "/page"])).ok();
        last_layer(lab, new)
    };
    assert!(insert("v1", "zstd", &["--compress", "zstd"]).ends_with("+zstd"));
    assert!(insert("zstd", "again", &[]).ends_with("+zstd"));
    assert!(insert("zstd", "plain", &["--compress", "none"]).ends_with(".tar"));
    // A plain layer is nobody's wish for more of them.
    assert!(insert("plain", "over", &[]).ends_with("+zstd"));
    unpack(lab, "zstd", "bundle");
    fs::write(lab.path("bundle/rootfs/new"), "x").expect("write");
    lab.knarr(["image", "repack", "--image", "lay:packed", "bundle"]).ok();
    assert!(last_layer(lab, "packed").ends_with("+zstd"));
    lab.knarr(["image", "insert", "--image", "lay:v1", "--compress", "lzw", "page", "/page"]).fails().says("\"lzw\"");
}

fn tags_that_are_no_names_are_refused(lab: &Lab) {
    layout(lab);
    lab.knarr(["image", "new", "--image", "lay:bad tag"]).fails().says("tag contains invalid characters: \"bad tag\"");
    lab.knarr(["image", "new", "--image", "lay:"]).fails().says("invalid --image: tag is empty");
    lab.knarr(["image", "new", "--image", ":v1"]).fails().says("invalid --image: path is empty");
    let config = |tag: &str| lab.knarr(["image", "config", "--image", "lay:v1", "--config.user", "0", "--tag", tag]);
    config("").fails().says("invalid --tag: tag is empty");
    config("dash-").fails().says("invalid --tag: tag contains invalid characters: \"dash-\"");
    config("team/app:v1").ok();
    let words = ["image", "config", "--image", "lay:v1", "--no-history", "--history.author", "me"];
    lab.knarr(words).fails().says("--no-history");
    unpack(lab, "team/app:v1", "bundle");
}

fn an_image_of_nothing_grows_layer_by_layer(lab: &Lab) {
    lab.knarr(["image", "init", "--layout", "lay"]).ok();
    lab.knarr(["image", "init", "--layout", "lay"]).fails().says("is there already");
    lab.knarr(["image", "new", "--image", "lay:v1"]).ok();
    lab.knarr(["image", "new", "--image", "lay:v1"]).fails();
    assert_eq!(layers(lab, "v1"), 0);
    unpack(lab, "v1", "one");
    fs::write(lab.path("one/rootfs/first"), "x").expect("write");
    lab.knarr(["image", "repack", "--image", "lay:v1", "--refresh-bundle", "one"]).ok();
    fs::write(lab.path("one/rootfs/second"), "x").expect("write");
    lab.knarr(["image", "repack", "--image", "lay:v1", "one"]).ok();
    assert_eq!(layers(lab, "v1"), 2);
    lab.knarr(["pull", "oci:lay:v1"]).ok();
}

fn flatten_and_export_show_the_same_tree(lab: &Lab) {
    lab.load("layers");
    lab.knarr(["image", "flatten", "-t", "flat", "layers"]).ok().shows("sha256:");
    let image: Value = lab.knarr(["image", "inspect", "flat"]).ok().json()[0].take();
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
    lab.knarr(["image", "export", "layers", "one.tar"]).ok();
    lab.knarr(["image", "export", "flat", "two.tar"]).ok();
    assert!(fs::read(lab.path("one.tar")).expect("one") == fs::read(lab.path("two.tar")).expect("two"));
    lab.knarr(["run", "--rm", "flat", "probe", "exit", "3"]).exits(3);
}

fn rebase_moves_our_layers_to_another_base(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "write", "/ours", "x"]).ok();
    lab.knarr(["commit", "boat", "app:v1"]).ok();
    lab.knarr(["run", "--name", "base", "probe", "probe", "write", "/base", "y"]).ok();
    lab.knarr(["commit", "base", "base:v2"]).ok();
    lab.knarr(["image", "rebase", "--old-base", "probe", "--new-base", "base:v2", "-t", "app:v2", "app:v1"]).ok();
    lab.knarr(["run", "--rm", "app:v2", "probe", "cat", "/ours"]).ok().prints("x");
    lab.knarr(["run", "--rm", "app:v2", "probe", "cat", "/base"]).ok().prints("y");
    lab.knarr(["image", "rebase", "--old-base", "base:v2", "--new-base", "probe", "app:v1"])
        .fails()
        .says("does not stand on");
}

fn mutate_and_append_work_on_images_of_the_store(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["image", "mutate", "--label", "a=b", "--env", "A=1", "--cmd", "probe,exit,5", "-t", "changed", "probe"])
        .ok();
    lab.knarr(["run", "--rm", "changed"]).exits(5);
    lab.knarr(["image", "inspect", "-f", "{{.Config.Labels.a}}", "changed"]).ok().prints("b\n");
    let layer = knarr_testkit::LayerTar::new().file("extra", 0o644, "more").finish();
    fs::write(lab.path("layer.tar"), layer).expect("written");
    lab.knarr(["image", "append", "-b", "probe", "-f", "layer.tar", "-t", "grown"]).ok();
    lab.knarr(["run", "--rm", "grown", "probe", "cat", "/extra"]).ok().prints("more");
    lab.knarr(["image", "append", "-f", "layer.tar", "-t", "alone"]).ok();
    assert!(
        lab.knarr(["image", "inspect", "probe"]).ok().json()[0]["Config"]["Labels"]
            .as_object()
            .is_none_or(|labels| labels.is_empty())
    );
}

fn umoci_reads_what_we_write_and_we_read_what_umoci_writes(lab: &Lab) {
    lab.needs_root();
    if Command::new("umoci").arg("--version").output().is_err() {
        lab.skip("umoci is not installed");
    }
    layout(lab);
    unpack(lab, "v1", "ours");
    fs::write(lab.path("ours/rootfs/etc/sail"), "canvas").expect("write");
    fs::remove_dir_all(lab.path("ours/rootfs/root")).expect("remove");
    lab.knarr(["image", "repack", "--image", "lay:v2", "ours"]).ok();
    let umoci = |words: &[&str]| {
        let mut command = Command::new("umoci");
        command.args(words).current_dir(&lab.directory);
        finish(&mut command, "umoci", b"").ok()
    };
    umoci(&["unpack", "--image", "lay:v2", "theirs"]);
    assert_eq!(listing(&lab.path("ours/rootfs")), listing(&lab.path("theirs/rootfs")));
    fs::write(lab.path("theirs/rootfs/etc/mast"), "oak").expect("write");
    fs::remove_dir_all(lab.path("theirs/rootfs/home")).expect("remove");
    umoci(&["repack", "--image", "lay:v3", "theirs"]);
    unpack(lab, "v3", "again");
    assert_eq!(listing(&lab.path("theirs/rootfs")), listing(&lab.path("again/rootfs")));
}

fn lists_name_images_and_keep_them(lab: &Lab) {
    lab.load("probe");
    lab.load("configured");
    lab.knarr(["manifest", "create", "many:v1", "probe"]).ok().shows("Created manifest list docker.io/library/many:v1");
    lab.knarr(["manifest", "create", "many:v1", "probe"]).fails().says("--amend");
    lab.knarr(["manifest", "add", "--arch", "arm64", "--variant", "v8", "many:v1", "configured"]).ok().shows("sha256:");
    let list = lab.knarr(["manifest", "inspect", "many:v1"]).ok().json();
    assert_eq!(list["manifests"][1]["platform"]["architecture"], "arm64");
    assert_eq!(list["mediaType"], "application/vnd.oci.image.index.v1+json");
    lab.knarr(["manifest", "annotate", "--os", "windows", "--annotation", "a=b", "many:v1", "probe"]).ok();
    let list = lab.knarr(["manifest", "inspect", "many:v1"]).ok().json();
    assert_eq!(
        (&list["manifests"][0]["platform"]["os"], &list["manifests"][0]["annotations"]["a"]),
        (&"windows".into(), &"b".into())
    );
    lab.knarr(["manifest", "exists", "many:v1"]).exits(0);
    lab.knarr(["manifest", "remove", "many:v1", "configured"]).ok();
    assert_eq!(
        lab.knarr(["manifest", "inspect", "many:v1"]).ok().json()["manifests"].as_array().map(Vec::len),
        Some(1)
    );
    lab.knarr(["rmi", "probe"]).ok();
    let digest = list["manifests"][0]["digest"].as_str().expect("a digest").replace("sha256:", "");
    assert!(lab.path("state/blobs/sha256").join(&digest).exists(), "the list keeps what it names");
    lab.knarr(["manifest", "rm", "many:v1"]).ok();
    lab.knarr(["manifest", "exists", "many:v1"]).exits(1);
    lab.knarr(["manifest", "inspect", "many:v1"]).fails().says("no such manifest");
    lab.knarr(["system", "prune", "-f"]).ok();
    assert!(!lab.path("state/blobs/sha256").join(&digest).exists());
}

fn artifacts_are_files_under_a_name(lab: &Lab) {
    fs::write(lab.path("weights"), "0.5").expect("write");
    fs::write(lab.path("readme"), "how").expect("write");
    lab.knarr(["artifact", "add", "--type", "application/vnd.me.model", "team/model:v1", "weights"])
        .ok()
        .shows("sha256:");
    lab.knarr(["artifact", "add", "team/model:v1", "readme"]).fails().says("artifact already exists");
    lab.knarr(["artifact", "add", "--append", "team/model:v1", "readme"]).ok();
    lab.knarr(["artifact", "add", "--append", "team/model:v1", "readme"]).fails();
    let artifact = lab.knarr(["artifact", "inspect", "team/model:v1"]).ok().json();
    assert_eq!(artifact["Manifest"]["artifactType"], "application/vnd.me.model");
    assert_eq!(artifact["Manifest"]["layers"].as_array().map(Vec::len), Some(2));
    lab.knarr(["artifact", "ls"]).ok().shows("REPOSITORY").shows("docker.io/team/model");
    lab.knarr(["system", "prune", "-a", "-f"]).ok();
    fs::create_dir(lab.path("out")).expect("mkdir");
    lab.knarr(["artifact", "extract", "team/model:v1", "out"]).ok();
    assert_eq!(fs::read_to_string(lab.path("out/weights")).expect("weights"), "0.5");
    lab.knarr(["artifact", "extract", "--title", "readme", "team/model:v1", "alone"]).ok();
    assert_eq!(fs::read_to_string(lab.path("alone")).expect("readme"), "how");
    lab.knarr(["artifact", "extract", "--title", "nothing", "team/model:v1", "alone"]).fails();
    lab.knarr(["artifact", "rm", "team/model:v1"]).ok().shows("sha256:");
    lab.knarr(["artifact", "ls", "-q"]).ok().prints("");
    lab.knarr(["artifact", "inspect", "team/model:v1"]).fails().says("no such artifact");
}

fn tags_of_a_layout_are_listed_moved_and_deleted(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["image", "copy", "local:probe", "oci:box:v1"]).ok();
    lab.knarr(["image", "copy", "oci:box:v1", "oci:box:v2"]).ok();
    assert_eq!(lab.knarr(["image", "list-tags", "oci:box"]).ok().json()["Tags"], json!(["v1", "v2"]));
    let blobs = || std::fs::read_dir(lab.path("box/blobs/sha256")).expect("blobs").count();
    let before = blobs();
    lab.knarr(["image", "delete", "oci:box:v1"]).ok();
    assert_eq!(blobs(), before, "the other name needs them");
    lab.knarr(["image", "delete", "oci:box:v1"]).fails().says("no image is called \"v1\"");
    lab.knarr(["image", "delete", "oci:box"]).fails().says("say which image");
    lab.knarr(["image", "inspect", "oci:box:v2"]).ok();
    lab.knarr(["image", "delete", "oci:box:v2"]).ok();
    assert_eq!((lab.knarr(["image", "list-tags", "oci:box"]).ok().json()["Tags"].clone(), blobs()), (json!([]), 0));
}
