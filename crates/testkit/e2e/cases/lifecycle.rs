//! From `run -d` to `rm`: stop, kill, start, restart, wait, and names.

use knarr_testkit::{Lab, process, wait};

cases!["lifecycle":
    a_detached_run_prints_the_full_id,
    a_detached_container_outlives_its_command_line,
    stop_asks_and_then_kills,
    stop_sends_the_images_signal,
    stop_signal_can_be_chosen,
    a_trap_is_heard_and_its_code_kept,
    kill_sends_the_named_signal,
    kill_of_something_not_running_is_an_error,
    start_runs_the_same_thing_again,
    start_with_a_shows_the_output,
    restart_gives_a_new_process,
    wait_prints_the_exit_code,
    wait_for_several_prints_each,
    rm_refuses_what_runs_unless_forced,
    rm_of_nothing_is_an_error,
    a_name_is_taken_once,
    an_id_prefix_is_enough,
    rm_cleans_up_by_itself,
    rm_cleans_up_when_detached_too,
    foreground_run_passes_signals_on,
    orphans_are_reaped_with_init,
    everything_ends_with_process_one,
    ten_at_once,
];

fn state(lab: &Lab, name: &str) -> String {
    lab.knarr(["inspect", "-f", "{{.State.Status}}", name]).ok().text().to_string()
}

fn a_detached_run_prints_the_full_id(lab: &Lab) {
    lab.load("probe");
    let id = lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok().silently().stdout;
    assert!(id.len() == 65 && id.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}");
    assert_eq!(lab.inspect("boat")["Id"], id.trim_end());
    assert_eq!(state(lab, "boat"), "running");
    lab.knarr(["rm", "-f", "boat"]).ok().prints("boat\n");
}

fn a_detached_container_outlives_its_command_line(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok();
    let pid = lab.inspect("boat")["State"]["Pid"].as_u64().expect("a pid") as u32;
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    lab.knarr(["rm", "-f", "boat"]).ok();
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists(), "it is still there after rm -f");
}

fn stop_asks_and_then_kills(lab: &Lab) {
    lab.load("probe");
    // The probe has no handler, and the kernel spares process 1 a TERM it does not handle.
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok();
    lab.knarr(["stop", "-t", "1", "boat"]).ok().prints("boat\n");
    assert_eq!(lab.inspect("boat")["State"]["ExitCode"], 137);
    lab.knarr(["stop", "boat"]).ok().prints("boat\n");
    lab.knarr(["rm", "boat"]).ok();
}

fn stop_sends_the_images_signal(lab: &Lab) {
    lab.load("configured");
    // The image says SIGKILL, so that no waiting is needed: an hour of patience would be noticed.
    lab.knarr(["run", "-d", "--name", "boat", "configured", "sleep"]).ok();
    lab.knarr(["stop", "-t", "3600", "boat"]).ok();
    assert_eq!(lab.inspect("boat")["State"]["ExitCode"], 137);
    lab.knarr(["rm", "boat"]).ok();
}

fn stop_signal_can_be_chosen(lab: &Lab) {
    lab.load("shell");
    let script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    lab.knarr(["run", "-d", "--name", "boat", "--stop-signal", "SIGUSR1", "shell", "sh", "-c", script]).ok();
    until_logged(lab, "ready");
    lab.knarr(["stop", "boat"]).ok();
    assert_eq!(lab.inspect("boat")["State"]["ExitCode"], 9);
    lab.knarr(["rm", "boat"]).ok();
}

fn until_logged(lab: &Lab, text: &str) {
    wait::until("the container says it is ready", || lab.knarr(["logs", "boat"]).stdout.contains(text).then_some(()));
}

fn a_trap_is_heard_and_its_code_kept(lab: &Lab) {
    lab.load("shell");
    let script = "trap 'echo heard; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    lab.knarr(["run", "-d", "--name", "boat", "shell", "sh", "-c", script]).ok();
    until_logged(lab, "ready");
    lab.knarr(["stop", "boat"]).ok();
    lab.knarr(["logs", "boat"]).ok().prints("ready\nheard\n");
    lab.knarr(["wait", "boat"]).ok().prints("3\n");
    lab.knarr(["rm", "boat"]).ok();
}

fn kill_sends_the_named_signal(lab: &Lab) {
    lab.load("shell");
    let script = "trap 'exit 4' HUP; echo ready; while :; do sleep 0.05; done";
    for signal in ["HUP", "SIGHUP", "1"] {
        lab.knarr(["run", "-d", "--name", "boat", "shell", "sh", "-c", script]).ok();
        until_logged(lab, "ready");
        lab.knarr(["kill", "-s", signal, "boat"]).ok().prints("boat\n");
        lab.knarr(["wait", "boat"]).ok().prints("4\n");
        lab.knarr(["rm", "boat"]).ok();
    }
    lab.knarr(["run", "-d", "--name", "boat", "shell", "sh", "-c", script]).ok();
    lab.knarr(["kill", "boat"]).ok();
    lab.knarr(["wait", "boat"]).ok().prints("137\n");
    lab.knarr(["rm", "boat"]).ok();
}

fn kill_of_something_not_running_is_an_error(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    lab.knarr(["kill", "boat"]).exits(1).says("is not running");
    lab.knarr(["kill", "nobody"]).exits(1).says("nobody");
    lab.knarr(["rm", "boat"]).ok();
}

fn start_runs_the_same_thing_again(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "echo", "again"]).ok().prints("again\n");
    lab.knarr(["start", "boat"]).ok().prints("boat\n");
    lab.knarr(["wait", "boat"]).ok().prints("0\n");
    lab.knarr(["logs", "boat"]).ok().prints("again\nagain\n");
    lab.knarr(["rm", "boat"]).ok();
}

fn start_with_a_shows_the_output(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "exit", "3"]).exits(3);
    lab.knarr(["start", "-a", "boat"]).exits(3);
    lab.knarr(["rm", "boat"]).ok();
    lab.knarr(["run", "--name", "boat", "probe", "probe", "echo", "seen"]).ok();
    lab.knarr(["start", "--attach", "boat"]).ok().prints("seen\n");
    lab.knarr(["rm", "boat"]).ok();
}

fn restart_gives_a_new_process(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok();
    let before = lab.inspect("boat")["State"]["Pid"].clone();
    lab.knarr(["restart", "-t", "0", "boat"]).ok().prints("boat\n");
    let after = lab.inspect("boat")["State"]["Pid"].clone();
    assert_ne!(before, after);
    assert_eq!(state(lab, "boat"), "running");
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn wait_prints_the_exit_code(lab: &Lab) {
    lab.load("shell");
    lab.knarr(["run", "-d", "--name", "boat", "shell", "sh", "-c", "sleep 0.3; exit 7"]).ok();
    lab.knarr(["wait", "boat"]).ok().prints("7\n");
    lab.knarr(["wait", "boat"]).ok().prints("7\n");
    lab.knarr(["rm", "boat"]).ok();
    lab.knarr(["wait", "boat"]).exits(1).says("boat");
}

fn wait_for_several_prints_each(lab: &Lab) {
    lab.load("probe");
    for code in ["1", "2"] {
        lab.knarr(["run", "-d", "--name", &format!("c{code}"), "probe", "probe", "exit", code]).ok();
    }
    lab.knarr(["wait", "c1", "c2"]).ok().prints("1\n2\n");
    lab.knarr(["rm", "c1", "c2"]).ok().prints("c1\nc2\n");
}

fn rm_refuses_what_runs_unless_forced(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok();
    lab.knarr(["rm", "boat"]).exits(1).says("running");
    lab.knarr(["rm", "--force", "boat"]).ok().prints("boat\n");
    lab.knarr(["ps", "-aq"]).ok().prints("");
}

fn rm_of_nothing_is_an_error(lab: &Lab) {
    lab.knarr(["rm", "nobody"]).exits(1).says("nobody");
}

fn a_name_is_taken_once(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).exits(125).says("already in use");
    lab.knarr(["rm", "boat"]).ok();
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    lab.knarr(["rm", "boat"]).ok();
}

fn an_id_prefix_is_enough(lab: &Lab) {
    lab.load("probe");
    let id = lab.knarr(["run", "-d", "probe", "probe", "sleep"]).ok().text().to_string();
    lab.knarr(["kill", &id[..12]]).ok();
    lab.knarr(["wait", &id[..4]]).ok().prints("137\n");
    lab.knarr(["rm", &id[..6]]).ok();
}

fn rm_cleans_up_by_itself(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "--name", "boat", "probe", "probe", "exit", "3"]).exits(3);
    lab.knarr(["ps", "-aq"]).ok().prints("");
    lab.knarr(["inspect", "boat"]).exits(1);
    assert_eq!(entries(lab, "state/containers"), 0, "a container directory is left");
    assert_eq!(entries(lab, "state/snapshots"), 0, "a snapshot is left");
    assert_eq!(entries(lab, "run/containers"), 0, "a run directory is left");
}

fn entries(lab: &Lab, directory: &str) -> usize {
    std::fs::read_dir(lab.path(directory)).map_or(0, |entries| entries.count())
}

fn rm_cleans_up_when_detached_too(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--rm", "--name", "boat", "probe", "probe", "sleep"]).ok();
    lab.knarr(["kill", "boat"]).ok();
    wait::until("the container is removed", || lab.knarr(["ps", "-aq"]).ok().text().is_empty().then_some(()));
    wait::until("its directory is gone", || (entries(lab, "state/containers") == 0).then_some(()));
    assert_eq!(entries(lab, "state/snapshots"), 0);
}

fn foreground_run_passes_signals_on(lab: &Lab) {
    lab.load("shell");
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = lab.start(["run", "--name", "boat", "shell", "sh", "-c", script]);
    wait::until("it is ready", || lab.knarr(["logs", "boat"]).stdout.contains("ready").then_some(()));
    process::signal(run.id(), "TERM");
    assert_eq!(run.wait_patiently().code(), Some(5));
    lab.knarr(["rm", "boat"]).ok();
}

fn orphans_are_reaped_with_init(lab: &Lab) {
    lab.load("shell");
    let script = "probe fork-orphans 5 0.05; sleep 0.5; probe --json";
    let done = lab.knarr(["run", "--rm", "--init", "shell", "sh", "-c", script]).ok();
    let json = done.stdout.lines().last().expect("a report");
    let report: knarr_probe::Report = serde_json::from_str(json).expect("a report");
    assert!(report.process.pid > 1, "--init put nothing in front");
    assert!(report.process.visible <= 3, "{} processes: zombies stay", report.process.visible);
}

fn everything_ends_with_process_one(lab: &Lab) {
    lab.load("probe");
    // The orphans would sleep for an hour; that nothing is left is checked after every test.
    lab.knarr(["run", "--rm", "probe", "probe", "fork-orphans", "3", "3600"]).ok().prints("left 3\n");
}

fn ten_at_once(lab: &Lab) {
    lab.load("probe");
    let mut runs: Vec<_> =
        (0..10).map(|code| lab.start(["run", "--rm", "probe", "probe", "exit", &code.to_string()])).collect();
    let codes: Vec<_> = runs.iter_mut().map(|run| run.wait_patiently().code()).collect();
    assert_eq!(codes, (0..10).map(Some).collect::<Vec<_>>());
    lab.knarr(["ps", "-aq"]).ok().prints("");
}
