//! What the image's config and the command line say together: entrypoint, command, environment, directory, labels.
//!
//! Spec: image-spec config.md and conversion.md.

use std::fs;

use knarr_testkit::Lab;

cases!["config":
    entrypoint_and_cmd_of_the_image_run,
    arguments_replace_cmd_and_keep_the_entrypoint,
    an_entrypoint_of_ones_own_drops_the_images_cmd,
    an_empty_entrypoint_resets_it,
    the_images_environment_arrives,
    e_adds_and_overrides,
    e_without_a_value_takes_the_callers,
    an_env_file_has_comments_and_values,
    a_path_is_there_even_if_nobody_set_one,
    home_is_the_users,
    the_images_directory_is_the_working_directory,
    w_makes_a_missing_directory,
    a_volume_of_the_image_starts_with_its_content,
    labels_of_image_and_command_line_are_joined,
    a_name_with_strange_characters_is_refused,
];

fn entrypoint_and_cmd_of_the_image_run(lab: &Lab) {
    lab.load("configured");
    lab.knarr(["run", "--rm", "configured"]).ok().prints("from the image\n");
}

fn arguments_replace_cmd_and_keep_the_entrypoint(lab: &Lab) {
    lab.load("configured");
    lab.knarr(["run", "--rm", "configured", "echo", "from", "me"]).ok().prints("from me\n");
}

fn an_entrypoint_of_ones_own_drops_the_images_cmd(lab: &Lab) {
    lab.load("configured");
    let done = lab.knarr(["run", "--rm", "--entrypoint", "/bin/probe", "configured"]).ok();
    assert!(!done.stdout.contains("from the image"), "{done}");
    lab.knarr(["run", "--rm", "--entrypoint", "/bin/probe", "configured", "exit", "5"]).exits(5);
}

fn an_empty_entrypoint_resets_it(lab: &Lab) {
    lab.load("configured");
    lab.knarr(["run", "--rm", "--entrypoint", "", "configured", "/bin/probe", "exit", "6"]).exits(6);
}

fn the_images_environment_arrives(lab: &Lab) {
    lab.load("configured");
    let report = lab.knarr(["run", "--rm", "configured", "--json"]).ok().report();
    assert_eq!(report.env["CARGO"], "wool");
    assert_eq!(report.env["EMPTY"], "");
    assert_eq!(report.env.get("HOSTNAME"), report.hostname.as_ref());
    assert!(!report.env.contains_key("KNARR_E2E"), "the caller's environment came along");
}

fn e_adds_and_overrides(lab: &Lab) {
    lab.load("probe");
    let report = lab.probe(&["-e", "CARGO=salt=fish", "--env", "NEW="]);
    assert_eq!((report.env["CARGO"].as_str(), report.env["NEW"].as_str()), ("salt=fish", ""));
}

fn e_without_a_value_takes_the_callers(lab: &Lab) {
    lab.load("probe");
    let report = lab.probe(&["-e", "KNARR_E2E", "-e", "NOT_SET_ANYWHERE"]);
    assert_eq!(report.env["KNARR_E2E"], lab.directory.display().to_string());
    assert!(!report.env.contains_key("NOT_SET_ANYWHERE"));
}

fn an_env_file_has_comments_and_values(lab: &Lab) {
    lab.load("probe");
    let file = lab.path("env");
    fs::write(&file, "# a comment\n\nFIRST=1\nSECOND=a b = c\nKNARR_E2E\n").expect("written");
    let report = lab.probe(&["--env-file", &file.display().to_string(), "-e", "FIRST=2"]);
    assert_eq!((report.env["FIRST"].as_str(), report.env["SECOND"].as_str()), ("2", "a b = c"));
    assert!(report.env.contains_key("KNARR_E2E"));
}

fn a_path_is_there_even_if_nobody_set_one(lab: &Lab) {
    lab.load("layers");
    let report = lab.knarr(["run", "--rm", "-e", "PATH", "layers", "/bin/probe", "--json"]).ok().report();
    assert!(report.env.get("PATH").is_some_and(|path| path.contains("/bin")), "{:?}", report.env);
}

fn home_is_the_users(lab: &Lab) {
    lab.load("probe");
    assert_eq!(lab.probe(&[]).env["HOME"], "/root");
    assert_eq!(lab.probe(&["-u", "alice"]).env["HOME"], "/home/alice");
    assert_eq!(lab.probe(&["-u", "4321"]).env["HOME"], "/");
}

fn the_images_directory_is_the_working_directory(lab: &Lab) {
    lab.load("configured");
    let report = lab.knarr(["run", "--rm", "configured", "--json"]).ok().report();
    assert_eq!(report.process.cwd.as_deref(), Some("/home/alice"));
}

fn w_makes_a_missing_directory(lab: &Lab) {
    lab.load("probe");
    assert_eq!(lab.probe(&["-w", "/not/there/yet"]).process.cwd.as_deref(), Some("/not/there/yet"));
    lab.knarr(["run", "--rm", "-w", "relative", "probe", "probe", "true"]).exits(125);
}

fn a_volume_of_the_image_starts_with_its_content(lab: &Lab) {
    lab.load("configured");
    lab.knarr(["run", "--rm", "configured", "cat", "/data/seed"]).ok().prints("seed\n");
    lab.knarr(["run", "--rm", "configured", "stat", "/data"]).ok().shows("directory 0750 1000:1000");
    let report = lab.knarr(["run", "--rm", "configured", "--json"]).ok().report();
    assert!(report.mounts.iter().any(|mount| mount.target == "/data"), "the volume is no mount");
}

fn labels_of_image_and_command_line_are_joined(lab: &Lab) {
    lab.load("configured");
    lab.knarr(["run", "--name", "boat", "-l", "ship=mine", "--label", "flag", "configured"]).ok();
    let labels = lab.inspect("boat")["Config"]["Labels"].clone();
    assert_eq!(labels, serde_json::json!({"port": "bergen", "ship": "mine", "flag": ""}));
    lab.knarr(["rm", "boat"]).ok();
}

fn a_name_with_strange_characters_is_refused(lab: &Lab) {
    lab.load("probe");
    for name in ["../up", "a b", "-x", "ünïcode"] {
        lab.knarr(["run", "--rm", &format!("--name={name}"), "probe", "probe", "true"]).exits(125);
    }
}
