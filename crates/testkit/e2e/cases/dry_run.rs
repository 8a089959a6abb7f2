//! `--dry-run`: each representation on the way from a command line to system calls can be read, and nothing is done.

use knarr_testkit::Lab;

cases!["dry_run":
    spec_is_the_runtime_document,
    plan_lists_steps,
    options_show_what_was_understood,
    nothing_is_made,
    an_unknown_representation_is_refused,
];

fn spec_is_the_runtime_document(lab: &Lab) {
    lab.load("probe");
    let spec = lab.knarr(["run", "--dry-run=spec", "-m", "64m", "--read-only", "probe", "probe", "true"]).ok().json();
    assert_eq!(spec["process"]["args"], serde_json::json!(["probe", "true"]));
    assert_eq!(spec["root"]["readonly"], true);
    // Where the cgroup is not ours the limit is left out, and said so.
    let limit = &spec["linux"]["resources"]["memory"]["limit"];
    assert!(*limit == 64 << 20 || !lab.is_root() && limit.is_null(), "{limit}");
    assert!(spec["linux"]["seccomp"]["defaultAction"].is_string());
}

fn plan_lists_steps(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--dry-run=plan", "probe", "probe", "true"]).ok().shows("mount").shows("proc");
}

fn options_show_what_was_understood(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--dry-run=options", "--hostname", "drakkar", "probe", "probe", "true"]).ok().shows("drakkar");
}

fn nothing_is_made(lab: &Lab) {
    lab.load("probe");
    for what in ["options", "spec", "plan"] {
        lab.knarr(["run", &format!("--dry-run={what}"), "--name", "boat", "probe", "probe", "true"]).ok();
    }
    lab.knarr(["ps", "-aq"]).ok().prints("");
    assert_eq!(std::fs::read_dir(lab.path("state/containers")).map_or(0, |entries| entries.count()), 0);
}

fn an_unknown_representation_is_refused(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--dry-run=dream", "probe", "probe", "true"]).exits(125);
}
