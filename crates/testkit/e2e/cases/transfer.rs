//! Images and files in and out: `save`, `import`, `export`, `commit`, `diff`, `cp`, `history`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use knarr_testkit::Lab;
use serde_json::Value;

cases!["transfer":
    what_is_saved_loads_with_every_digest,
    a_name_without_tag_saves_all_its_tags,
    save_refuses_what_is_not_here_and_leaves_no_file,
    a_saved_archive_is_the_same_each_time,
    an_export_is_imported_again,
    import_takes_changes_and_standard_input,
    commit_makes_an_image_that_has_the_change,
    commit_without_a_change_adds_no_layer,
    commit_applies_dockerfile_words,
    diff_lists_what_changed,
    history_has_the_newest_step_first,
    cp_goes_in_and_out_of_a_container_at_rest,
    cp_goes_in_and_out_of_a_running_container,
    cp_follows_dockers_rules_for_targets,
    cp_does_not_leave_the_container_through_a_link,
    cp_streams_tars,
    cp_reaches_volumes_of_a_container_at_rest,
    image_tree_and_diff_show_layers,
];

fn digest_of(lab: &Lab, image: &str) -> String {
    lab.knarr(["image", "inspect", "-f", "{{.Id}}", image]).ok().text().to_owned()
}

fn blobs(lab: &Lab) -> Vec<String> {
    let dir = lab.path("state/blobs/sha256");
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("blobs")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn what_is_saved_loads_with_every_digest(lab: &Lab) {
    lab.load("layers");
    let (id, before) = (digest_of(lab, "layers"), blobs(lab));
    lab.knarr(["save", "-o", "saved.tar", "layers"]).ok().prints("").silently();
    lab.knarr(["rmi", "layers"]).ok();
    lab.knarr(["load", "-q", "-i", "saved.tar"]).ok().prints("Loaded image: layers:latest\n");
    assert_eq!((digest_of(lab, "layers"), blobs(lab)), (id, before));
    lab.knarr(["run", "--rm", "layers", "probe", "exit", "3"]).exits(3);
}

fn a_name_without_tag_saves_all_its_tags(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["tag", "probe", "probe:v2"]).ok();
    lab.knarr(["tag", "probe", "other:v1"]).ok();
    let list = |lab: &Lab| {
        let archive = fs::File::open(lab.path("saved.tar")).expect("the archive");
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("entry");
            if entry.path().expect("path").ends_with("manifest.json") {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut entry, &mut text).expect("text");
                return serde_json::from_str::<Value>(&text).expect("JSON");
            }
        }
        panic!("no manifest.json");
    };
    lab.knarr(["save", "-o", "saved.tar", "probe"]).ok();
    assert_eq!(list(lab)[0]["RepoTags"], serde_json::json!(["probe:latest", "probe:v2"]));
    lab.knarr(["save", "-o", "saved.tar", "probe:v2", "other:v1"]).ok();
    assert_eq!(list(lab)[0]["RepoTags"], serde_json::json!(["other:v1", "probe:v2"]));
    lab.knarr(["save", "-o", "saved.tar", &digest_of(lab, "probe")]).ok();
    assert_eq!(list(lab)[0]["RepoTags"], serde_json::json!([]));
}

fn save_refuses_what_is_not_here_and_leaves_no_file(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["save", "-o", "saved.tar", "probe", "nothing-here"]).fails().says("nothing-here");
    lab.knarr(["save", "-o", "saved.tar", "--platform", "linux/s390x", "probe"]).fails().says("linux/s390x");
    lab.knarr(["save", "-o", "no/such/dir/saved.tar", "probe"]).fails();
    assert!(!lab.path("saved.tar").exists());
}

fn a_saved_archive_is_the_same_each_time(lab: &Lab) {
    lab.load("probe");
    for name in ["one.tar", "two.tar"] {
        lab.knarr(["save", "-o", name, "probe"]).ok();
    }
    assert_eq!(fs::read(lab.path("one.tar")).expect("one"), fs::read(lab.path("two.tar")).expect("two"));
}

fn an_export_is_imported_again(lab: &Lab) {
    lab.load("layers");
    lab.knarr(["create", "--name", "boat", "layers", "probe", "true"]).ok();
    lab.knarr(["export", "-o", "boat.tar", "boat"]).ok().prints("");
    let id = lab.knarr(["import", "-c", "CMD [\"/bin/probe\"]", "-m", "all of it", "boat.tar", "again:v1"]).ok();
    assert!(id.text().starts_with("sha256:"), "{id}");
    lab.knarr(["run", "--rm", "again:v1", "probe", "exit", "3"]).exits(3);
    lab.knarr(["create", "--name", "other", "again:v1", "probe", "true"]).ok();
    lab.knarr(["export", "-o", "other.tar", "other"]).ok();
    let (one, other) = (fs::read(lab.path("boat.tar")).expect("one"), fs::read(lab.path("other.tar")).expect("two"));
    assert!(one == other, "the tree is another after export and import");
}

fn import_takes_changes_and_standard_input(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["create", "--name", "boat", "probe", "probe", "true"]).ok();
    lab.knarr(["export", "-o", "boat.tar", "boat"]).ok();
    let tar = fs::read(lab.path("boat.tar")).expect("the tar");
    lab.knarr_fed(["import", "-c", "ENV A=1", "-c", "CMD [\"/bin/probe\"]", "-", "fed"], &tar).ok().shows("sha256:");
    let image: Value = lab.knarr(["image", "inspect", "fed"]).ok().json()[0].take();
    assert_eq!((&image["Config"]["Env"][0], &image["Config"]["Cmd"][0]), (&"A=1".into(), &"/bin/probe".into()));
    lab.knarr(["import", "-c", "RUN x", "boat.tar"]).fails().says("is not a valid change command");
    lab.knarr(["import", "/no/such/file"]).fails().says("/no/such/file");
    lab.knarr_fed(["import", "-"], b"this is no tar at all").fails();
}

fn commit_makes_an_image_that_has_the_change(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "write", "/etc/sail", "canvas"]).ok();
    lab.knarr(["commit", "-a", "A. Sailor", "-m", "hoist", "boat", "fleet:v1"]).ok().shows("sha256:");
    lab.knarr(["run", "--rm", "fleet:v1", "probe", "cat", "/etc/sail"]).ok().shows("canvas");
    let image: Value = lab.knarr(["image", "inspect", "fleet:v1"]).ok().json()[0].take();
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    lab.knarr(["history", "--format", "{{.Comment}}", "fleet:v1"]).ok().shows("hoist");
    // A second one on top, and both survive the way through an archive.
    lab.knarr(["run", "--name", "ship", "fleet:v1", "probe", "write", "/etc/mast", "oak"]).ok();
    lab.knarr(["commit", "ship", "fleet:v2"]).ok();
    lab.knarr(["save", "-o", "fleet.tar", "fleet"]).ok();
    lab.knarr(["rm", "boat", "ship"]).ok();
    lab.knarr(["rmi", "fleet:v1", "fleet:v2"]).ok();
    lab.knarr(["load", "-q", "-i", "fleet.tar"]).ok();
    lab.knarr(["run", "--rm", "fleet:v2", "probe", "cat", "/etc/sail"]).ok().shows("canvas");
}

fn commit_without_a_change_adds_no_layer(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["create", "--name", "boat", "probe", "probe", "true"]).ok();
    lab.knarr(["commit", "boat", "same"]).ok();
    let image: Value = lab.knarr(["image", "inspect", "same"]).ok().json()[0].take();
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
    lab.knarr(["run", "--rm", "same", "probe", "exit", "3"]).exits(3);
}

fn commit_applies_dockerfile_words(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "-e", "B=2", "probe", "probe", "sleep"]).ok();
    let words =
        ["commit", "-c", "ENTRYPOINT [\"/bin/probe\"]", "-c", "CMD [\"exit\",\"7\"]", "-c", "LABEL a=b", "boat", "x"];
    lab.knarr(words).ok();
    lab.knarr(["rm", "-f", "boat"]).ok();
    lab.knarr(["run", "--rm", "x"]).exits(7);
    lab.knarr(["image", "inspect", "-f", "{{.Config.Labels.a}} {{.Config.Env}}", "x"]).ok().shows("b ").shows("B=2");
    lab.knarr(["commit", "nothing-here"]).fails().says("No such container: nothing-here");
}

fn diff_lists_what_changed(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "write", "/etc/sail", "canvas"]).ok();
    let text = lab.knarr(["diff", "boat"]).ok().stdout;
    assert!(text.contains("C /etc\nA /etc/sail\n"), "{text}");
    lab.knarr(["diff", "nothing-here"]).exits(1).says("No such container: nothing-here");
}

fn history_has_the_newest_step_first(lab: &Lab) {
    lab.load("configured");
    let text = lab.knarr(["history", "configured"]).ok().stdout;
    let heading: Vec<&str> =
        text.lines().next().expect("a heading").split("  ").filter(|word| !word.trim().is_empty()).collect();
    assert_eq!(
        heading.iter().map(|word| word.trim()).collect::<Vec<_>>(),
        ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]
    );
    assert!(text.lines().nth(2).is_some_and(|line| line.starts_with("<missing>")), "{text}");
    lab.knarr(["history", "-q", "--no-trunc", "configured"]).ok().shows("sha256:").shows("<missing>");
}

fn cp_goes_in_and_out_of_a_container_at_rest(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["create", "--name", "boat", "probe", "probe", "cat", "/etc/cargo/wool"]).ok();
    fs::create_dir_all(lab.path("cargo/deep")).expect("a directory");
    fs::write(lab.path("cargo/wool"), "warm").expect("a file");
    fs::set_permissions(lab.path("cargo/wool"), fs::Permissions::from_mode(0o640)).expect("chmod");
    symlink("wool", lab.path("cargo/link")).expect("a link");
    lab.knarr(["cp", "cargo", "boat:/etc"]).ok().prints("").says("Successfully copied").says("to boat:/etc");
    lab.knarr(["start", "-a", "boat"]).ok().shows("warm");
    lab.knarr(["cp", "-q", "boat:/etc/cargo", "back"]).ok().silently();
    assert_eq!(fs::read_to_string(lab.path("back/wool")).expect("the file"), "warm");
    assert_eq!(fs::metadata(lab.path("back/wool")).expect("stat").mode() & 0o7777, 0o640);
    assert_eq!(fs::read_link(lab.path("back/link")).expect("the link").to_str(), Some("wool"));
    assert!(lab.path("back/deep").is_dir());
    lab.knarr(["cp", "boat:/etc/passwd", "."]).ok();
    assert!(fs::read_to_string(lab.path("passwd")).expect("passwd").contains("alice"));
    lab.knarr(["cp", "boat:/nothing", "."]).exits(1).says("boat:/nothing");
    lab.knarr(["cp", "nothing", "boat:/"]).exits(1).says("no such file or directory");
    lab.knarr(["cp", "nobody:/x", "."]).exits(1).says("No such container: nobody");
}

fn cp_goes_in_and_out_of_a_running_container(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "--tmpfs", "/mem", "probe", "probe", "sleep"]).ok();
    fs::write(lab.path("wool"), "warm").expect("a file");
    for dir in ["/tmp", "/mem"] {
        lab.knarr(["cp", "wool", &format!("boat:{dir}/")]).ok();
        lab.knarr(["exec", "boat", "probe", "cat", &format!("{dir}/wool")]).ok().shows("warm");
        lab.knarr(["cp", &format!("boat:{dir}/wool"), &format!("back{}", &dir[1..])]).ok();
        assert_eq!(fs::read_to_string(lab.path(&format!("back{}", &dir[1..]))).expect("the file"), "warm");
    }
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn cp_follows_dockers_rules_for_targets(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["create", "--name", "boat", "probe", "probe", "true"]).ok();
    fs::create_dir_all(lab.path("dir")).expect("a directory");
    fs::write(lab.path("dir/file"), "one").expect("a file");
    fs::write(lab.path("file"), "two").expect("a file");
    let cp = |words: [&str; 2]| lab.knarr(["cp", "-q", words[0], words[1]]);
    cp(["file", "boat:/new"]).ok();
    cp(["file", "boat:/missing/"]).fails().says("no such directory");
    cp(["file", "boat:/missing/x"]).fails().says("no such directory");
    cp(["file", "boat:/new/"]).fails().says("not a directory");
    cp(["dir", "boat:/new"]).fails().says("cannot copy directory");
    cp(["dir", "boat:/tree"]).ok();
    cp(["dir", "boat:/tree"]).ok();
    cp(["dir/.", "boat:/tree"]).ok();
    cp(["file", "boat:/tree/dir"]).ok();
    cp(["boat:/tree", "out"]).ok();
    assert_eq!(fs::read_to_string(lab.path("out/file")).expect("contents"), "one");
    assert_eq!(fs::read_to_string(lab.path("out/dir/file")).expect("the file beside"), "two");
    fs::create_dir(lab.path("file.d")).expect("a directory");
    fs::rename(lab.path("file.d"), lab.path("clash")).expect("rename");
    fs::create_dir_all(lab.path("clash/new")).expect("a directory");
    cp(["boat:/new", "clash"]).fails().says("cannot overwrite directory with non-directory");
    cp(["boat:/a", "boat:/b"]).fails().says("copying between containers is not supported");
    cp(["a", "b"]).fails();
}

fn cp_does_not_leave_the_container_through_a_link(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["create", "--name", "boat", "probe", "probe", "true"]).ok();
    let secret = lab.path("secret");
    fs::write(&secret, "ours").expect("a file");
    fs::create_dir(lab.path("trap")).expect("a directory");
    for (name, target) in [("file", secret.clone()), ("dir", lab.directory.clone()), ("up", "../../../../../..".into())]
    {
        symlink(target, lab.path("trap").join(name)).expect("a link");
    }
    lab.knarr(["cp", "-q", "trap", "boat:/trap"]).ok();
    lab.knarr(["cp", "-qL", "boat:/trap/file", "stolen"]).fails();
    lab.knarr(["cp", "-q", "boat:/trap/dir/secret", "stolen"]).fails();
    fs::write(lab.path("wool"), "warm").expect("a file");
    lab.knarr(["cp", "-q", "wool", "boat:/trap/dir/wool2"]).fails();
    lab.knarr(["cp", "-q", "wool", "boat:/trap/up/etc/wool2"]).ok();
    lab.knarr(["cp", "-q", "boat:/etc/wool2", "inside"]).ok();
    assert!(!lab.path("wool2").exists() && !lab.path("stolen").exists());
    assert_eq!(fs::read_to_string(secret).expect("the secret"), "ours");
}

fn cp_streams_tars(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["create", "--name", "boat", "probe", "probe", "true"]).ok();
    let mut command = lab.command();
    let done = command.args(["cp", "boat:/etc", "-"]).output().expect("cp");
    let names = |tar: &[u8]| -> Vec<String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("entries");
        entries.map(|entry| entry.expect("entry").path().expect("path").display().to_string()).collect()
    };
    assert_eq!(names(&done.stdout), ["etc/", "etc/group", "etc/passwd"]);
    lab.knarr_fed(["cp", "-", "boat:/tmp"], &done.stdout).ok();
    lab.knarr(["cp", "-q", "boat:/tmp/etc/group", "group"]).ok();
    lab.knarr_fed(["cp", "-", "boat:/etc/passwd"], &done.stdout).fails().says("must be a directory");
}

fn cp_reaches_volumes_of_a_container_at_rest(lab: &Lab) {
    lab.load("probe");
    lab.knarr([
        "create",
        "--name",
        "boat",
        "-v",
        "hold:/data/hold",
        "-v",
        "shut:/shut:ro",
        "probe",
        "probe",
        "cat",
        "/data/hold/wool",
    ])
    .ok();
    fs::write(lab.path("wool"), "warm").expect("a file");
    lab.knarr(["cp", "-q", "wool", "boat:/data/hold/"]).ok();
    lab.knarr(["start", "-a", "boat"]).ok().shows("warm");
    assert!(lab.path("state/volumes/hold/_data/wool").exists() || !lab.is_root());
    lab.knarr(["cp", "-q", "boat:/data/hold/wool", "back"]).ok();
    assert_eq!(fs::read_to_string(lab.path("back")).expect("the file"), "warm");
    lab.knarr(["cp", "-q", "wool", "boat:/shut/"]).fails().says("read-only");
}

fn image_tree_and_diff_show_layers(lab: &Lab) {
    lab.load("configured");
    lab.knarr(["image", "tree", "configured"])
        .ok()
        .shows("Image Layers")
        .shows("└── ID: ")
        .shows("Top Layer of: [docker.io/library/configured:latest]");
    let format = "{{range .Layers}}{{range .TopLayerOf}}{{.}} {{end}}{{end}}";
    let top = lab.knarr(["image", "tree", "--format", format, "configured"]).ok().stdout.clone();
    assert!(top.ends_with("docker.io/library/configured:latest \n"), "{top}");
    lab.knarr(["image", "tree", "--format", "json", "configured"]).ok().shows("\"RequiredBy\":[]");
    lab.knarr(["image", "diff", "configured"]).ok().shows("A /data\nA /data/seed\n");
    lab.load("probe");
    lab.knarr(["image", "diff", "configured", "probe"]).ok().shows("A /data/seed\n");
    lab.knarr(["image", "diff", "probe", "configured"]).ok().shows("D /data\n");
    lab.knarr(["image", "mount", "configured"]).ok().shows("mount -t overlay");
}
