//! `ps`, `inspect` and `--format`: what people read and scripts depend on.

use knarr_testkit::Lab;

cases!["listings":
    ps_shows_only_what_runs,
    ps_a_shows_all_with_their_exit_codes,
    ps_has_dockers_columns,
    ps_q_prints_short_ids,
    ps_formats_with_templates,
    ps_formats_a_table,
    ps_formats_json_lines,
    ps_filters,
    inspect_has_the_fields_scripts_read,
    inspect_formats_with_templates,
    inspect_of_nothing_is_an_error_and_an_empty_list,
    a_bad_template_is_an_error,
];

fn ps_shows_only_what_runs(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "ended", "probe", "probe", "true"]).ok();
    lab.knarr(["run", "-d", "--name", "running", "probe", "probe", "sleep"]).ok();
    let ps = lab.knarr(["ps"]).ok();
    assert!(ps.stdout.contains("running") && !ps.stdout.contains("ended"), "{ps}");
    lab.knarr(["rm", "-f", "running", "ended"]).ok();
}

fn ps_a_shows_all_with_their_exit_codes(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "ended", "probe", "probe", "exit", "3"]).exits(3);
    lab.knarr(["ps", "-a"]).ok().shows("Exited (3)").shows("ended");
    lab.knarr(["rm", "ended"]).ok();
}

fn ps_has_dockers_columns(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok();
    let ps = lab.knarr(["ps"]).ok();
    let heading: Vec<&str> = ps
        .stdout
        .lines()
        .next()
        .expect("a heading")
        .split("  ")
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(heading, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    assert!(ps.stdout.contains("\"probe sleep\"") && ps.stdout.contains("Up "), "{ps}");
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn ps_q_prints_short_ids(lab: &Lab) {
    lab.load("probe");
    let id = lab.knarr(["run", "-d", "probe", "probe", "sleep"]).ok().text().to_string();
    lab.knarr(["ps", "-q"]).ok().prints(&format!("{}\n", &id[..12]));
    lab.knarr(["ps", "-q", "--no-trunc"]).ok().prints(&format!("{id}\n"));
    lab.knarr(["rm", "-f", &id]).ok();
}

fn ps_formats_with_templates(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "-l", "port=bergen", "probe", "probe", "true"]).ok();
    lab.knarr(["ps", "-a", "--format", "{{.Names}} {{.Image}} {{.State}}"]).ok().prints("boat probe exited\n");
    lab.knarr(["ps", "-a", "--format", "{{.Label \"port\"}}"]).ok().prints("bergen\n");
    lab.knarr(["rm", "boat"]).ok();
}

fn ps_formats_a_table(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    lab.knarr(["ps", "-a", "--format", "table {{.Names}}\t{{.Image}}"])
        .ok()
        .shows("NAMES")
        .shows("IMAGE")
        .shows("boat ");
    lab.knarr(["rm", "boat"]).ok();
}

fn ps_formats_json_lines(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    for format in ["{{json .}}", "json"] {
        let line = lab.knarr(["ps", "-a", "--format", format]).ok().json();
        assert_eq!((&line["Names"], &line["State"]), (&"boat".into(), &"exited".into()));
    }
    lab.knarr(["rm", "boat"]).ok();
}

fn ps_filters(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "one", "-l", "port=bergen", "probe", "probe", "exit", "3"]).exits(3);
    lab.knarr(["run", "--name", "two", "probe", "probe", "true"]).ok();
    for filter in ["name=one", "label=port", "label=port=bergen", "exited=3"] {
        lab.knarr(["ps", "-a", "--filter", filter, "--format", "{{.Names}}"]).ok().prints("one\n");
    }
    lab.knarr(["ps", "-a", "-f", "status=running", "-q"]).ok().prints("");
    lab.knarr(["rm", "one", "two"]).ok();
}

fn inspect_has_the_fields_scripts_read(lab: &Lab) {
    lab.load("configured");
    lab.knarr(["run", "--name", "boat", "--hostname", "drakkar", "-e", "A=b", "configured", "exit", "4"]);
    let seen = lab.inspect("boat");
    assert_eq!(seen["Name"], "/boat");
    assert_eq!(seen["State"]["Status"], "exited");
    assert_eq!(seen["State"]["Running"], false);
    assert_eq!(seen["State"]["ExitCode"], 4);
    assert_eq!(seen["Config"]["User"], "alice");
    assert_eq!(seen["Config"]["WorkingDir"], "/home/alice");
    assert_eq!(seen["Config"]["Cmd"], serde_json::json!(["exit", "4"]));
    assert_eq!(seen["Config"]["Entrypoint"], serde_json::json!(["/bin/probe"]));
    assert_eq!(seen["Config"]["Image"], "configured");
    assert!(
        seen["Config"]["Env"]
            .as_array()
            .is_some_and(|env| env.contains(&"A=b".into()) && env.contains(&"CARGO=wool".into()))
    );
    assert_eq!(seen["Config"]["Hostname"], "drakkar");
    assert_eq!(seen["HostConfig"]["Memory"], 0);
    assert!(seen["Image"].as_str().is_some_and(|id| id.starts_with("sha256:")));
    assert!(seen["Created"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert!(seen["State"]["StartedAt"].as_str() <= seen["State"]["FinishedAt"].as_str());
    lab.knarr(["rm", "boat"]).ok();
}

fn inspect_formats_with_templates(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "-l", "port=bergen", "probe", "probe", "exit", "4"]).exits(4);
    for (template, expected) in [
        ("{{.State.ExitCode}}", "4\n"),
        ("{{json .State.Running}}", "false\n"),
        ("{{index .Config.Labels \"port\"}}", "bergen\n"),
        ("{{range .Config.Cmd}}<{{.}}>{{end}}", "<probe><exit><4>\n"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "down\n"),
        ("{{len .Config.Cmd}}", "3\n"),
        ("{{.Name | printf \"%s!\"}}", "/boat!\n"),
    ] {
        lab.knarr(["inspect", "--format", template, "boat"]).ok().prints(expected);
    }
    lab.knarr(["rm", "boat"]).ok();
}

fn inspect_of_nothing_is_an_error_and_an_empty_list(lab: &Lab) {
    lab.knarr(["inspect", "nobody"]).exits(1).prints("[]\n").says("nobody");
}

fn a_bad_template_is_an_error(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    lab.knarr(["inspect", "-f", "{{.State.", "boat"]).fails();
    lab.knarr(["inspect", "-f", "{{.NoSuchField.AtAll}}", "boat"]).fails();
    lab.knarr(["rm", "boat"]).ok();
}
