//! Loading, naming, listing and removing images.

use knarr_testkit::Lab;
use serde_json::Value;

cases!["images":
    version_is_printed,
    hello_runs_without_anything,
    a_docker_archive_is_loaded_by_name,
    an_archive_on_standard_input_is_loaded,
    an_oci_archive_is_loaded,
    archives_of_xz_and_bzip2_are_read,
    an_oci_layout_is_pulled_from,
    loading_twice_changes_nothing,
    images_has_dockers_columns,
    images_q_prints_ids,
    an_image_runs_by_id_prefix_and_by_name_with_tag,
    tag_gives_another_name,
    rmi_removes_the_name_and_then_the_image,
    rmi_refuses_what_is_in_use,
    rmi_of_nothing_is_an_error,
    inspect_shows_the_config,
    system_df_counts,
    a_name_that_is_no_name_is_refused,
    the_blobs_are_gone_after_the_last_name,
];

fn version_is_printed(lab: &Lab) {
    lab.knarr(["--version"]).ok().shows("knarr");
}

fn hello_runs_without_anything(lab: &Lab) {
    let done = lab.knarr(["run", "--rm", "knarr/hello"]).ok();
    assert!(done.stdout.contains("Protected:") && done.stdout.contains("pid 1"), "{done}");
}

fn a_docker_archive_is_loaded_by_name(lab: &Lab) {
    let archive = lab.kit.join("images/probe.tar").display().to_string();
    lab.knarr(["load", "-i", &archive]).ok().prints("Loaded image: probe:latest\n");
    lab.knarr(["load", "-q", "--input", &archive]).ok();
    lab.knarr(["load", "-i", "/no/such/file"]).fails().says("/no/such/file");
}

fn an_archive_on_standard_input_is_loaded(lab: &Lab) {
    let archive = std::fs::read(lab.kit.join("images/probe.tar")).expect("the kit's image");
    lab.knarr_fed(["load"], &archive).ok().shows("probe:latest");
}

fn an_oci_archive_is_loaded(lab: &Lab) {
    let archive = lab.kit.join("images/probe-oci.tar").display().to_string();
    lab.knarr(["load", "-i", &archive]).ok().shows("probe:latest");
    lab.knarr(["run", "--rm", "probe", "probe", "exit", "3"]).exits(3);
}

fn archives_of_xz_and_bzip2_are_read(lab: &Lab) {
    let archive = lab.kit.join("images/probe.tar");
    for (program, package) in [("/usr/bin/xz", "xz-utils"), ("/usr/bin/bzip2", "bzip2")] {
        lab.needs(program, package);
        let packed = std::process::Command::new(program).arg("-1c").arg(&archive).output().expect("it runs").stdout;
        std::fs::write(lab.path("packed"), &packed).expect("written");
        lab.knarr(["load", "-i", "packed"]).ok().shows("probe:latest");
        lab.knarr(["run", "--rm", "probe", "probe", "exit", "3"]).exits(3);
        lab.knarr(["rmi", "probe"]).ok();
        lab.knarr_fed(["load"], &packed).ok().shows("probe:latest");
        lab.knarr(["import", "packed", "imported"]).ok();
        lab.knarr(["rmi", "probe", "imported"]).ok();
    }
}

fn an_oci_layout_is_pulled_from(lab: &Lab) {
    let source = format!("oci:{}:v1", lab.kit.join("images/probe-layout").display());
    let done = lab.knarr(["pull", &source]).ok();
    let id = lab.knarr(["images", "-q", "--no-trunc"]).ok().text().to_string();
    assert!(id.starts_with("sha256:"), "{done}");
    lab.knarr(["run", "--rm", &id, "probe", "exit", "3"]).exits(3);
}

fn loading_twice_changes_nothing(lab: &Lab) {
    lab.load("probe");
    lab.load("probe");
    assert_eq!(lab.knarr(["images", "-q"]).ok().stdout.lines().count(), 1);
}

fn images_has_dockers_columns(lab: &Lab) {
    lab.load("probe");
    let images = lab.knarr(["images"]).ok();
    let heading: Vec<&str> = images
        .stdout
        .lines()
        .next()
        .expect("a heading")
        .split("  ")
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(heading, ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    lab.knarr(["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().prints("probe:latest\n");
}

fn images_q_prints_ids(lab: &Lab) {
    lab.load("probe");
    let short = lab.knarr(["images", "-q"]).ok().text().to_string();
    let long = lab.knarr(["images", "-q", "--no-trunc"]).ok().text().to_string();
    assert_eq!(
        (short.len(), long),
        (12, lab.knarr(["image", "inspect", "-f", "{{.Id}}", "probe"]).ok().text().to_string())
    );
}

fn an_image_runs_by_id_prefix_and_by_name_with_tag(lab: &Lab) {
    lab.load("probe");
    let id = lab.knarr(["images", "-q"]).ok().text().to_string();
    for name in [id.as_str(), "probe:latest", "docker.io/library/probe", "docker.io/library/probe:latest"] {
        lab.knarr(["run", "--rm", name, "probe", "exit", "3"]).exits(3);
    }
}

fn tag_gives_another_name(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["tag", "probe", "fleet/other:v1"]).ok().prints("");
    lab.knarr(["run", "--rm", "fleet/other:v1", "probe", "exit", "3"]).exits(3);
    assert_eq!(lab.knarr(["images", "-q"]).ok().stdout.lines().count(), 2, "one line for each name");
    lab.knarr(["tag", "nothing-here", "x"]).fails().says("nothing-here");
}

fn rmi_removes_the_name_and_then_the_image(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["tag", "probe", "other"]).ok();
    lab.knarr(["rmi", "probe"]).ok().shows("Untagged: probe:latest");
    lab.knarr(["run", "--rm", "other", "probe", "true"]).ok();
    lab.knarr(["rmi", "other"]).ok().shows("Untagged: other:latest").shows("Deleted: sha256:");
    lab.knarr(["images", "-q"]).ok().prints("");
}

fn rmi_refuses_what_is_in_use(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok();
    lab.knarr(["rmi", "probe"]).exits(1).says("conflict");
    lab.knarr(["rm", "-f", "boat"]).ok();
    lab.knarr(["rmi", "probe"]).ok();
}

fn rmi_of_nothing_is_an_error(lab: &Lab) {
    lab.knarr(["rmi", "nothing-here"]).exits(1).says("nothing-here");
}

fn inspect_shows_the_config(lab: &Lab) {
    lab.load("configured");
    let image: Value = lab.knarr(["image", "inspect", "configured"]).ok().json()[0].take();
    assert_eq!(image["RepoTags"], serde_json::json!(["configured:latest"]));
    assert_eq!(image["Config"]["User"], "alice");
    assert_eq!((&image["Architecture"], &image["Os"]), (&knarr_testkit::image::architecture().into(), &"linux".into()));
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    lab.knarr(["image", "inspect", "nothing-here"]).exits(1);
}

fn system_df_counts(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "write", "/x", "data"]).ok();
    lab.knarr(["system", "df"]).ok().shows("Images").shows("Containers");
    lab.knarr(["rm", "boat"]).ok();
}

fn a_name_that_is_no_name_is_refused(lab: &Lab) {
    for name in ["UPPER", "a//b", "a:b:c:", "../x"] {
        lab.knarr(["run", "--rm", name]).exits(125).says("reference");
    }
}

fn the_blobs_are_gone_after_the_last_name(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["rmi", "probe"]).ok();
    let blobs = std::fs::read_dir(lab.path("state/blobs/sha256")).map_or(0, |entries| entries.count());
    let layers = std::fs::read_dir(lab.path("state/layers")).map_or(0, |entries| entries.count());
    assert_eq!((blobs, layers), (0, 0), "blobs and layers that belong to no image are left");
}
