//! A second process in a running container.

use knarr_testkit::{Done, Lab};

cases!["exec":
    it_runs_beside_process_one,
    its_exit_code_is_ours,
    a_missing_program_is_127,
    a_file_without_execute_permission_is_126,
    standard_input_with_i,
    a_terminal_with_t,
    environment_directory_and_user,
    it_has_the_containers_restrictions,
    it_is_in_the_containers_cgroup,
    detached_it_goes_on_alone,
    in_a_stopped_container_is_an_error,
    in_no_container_is_an_error,
    privileged_has_more,
    it_dies_with_the_container,
];

fn container(lab: &Lab, options: &[&str]) {
    lab.load("probe");
    let args = ["run", "-d", "--name", "boat"].iter().chain(options).chain(&["probe", "probe", "sleep"]).copied();
    lab.knarr(args).ok();
}

fn exec(lab: &Lab, words: &[&str]) -> Done {
    lab.knarr(["exec"].iter().chain(words).copied())
}

fn end(lab: &Lab) {
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn it_runs_beside_process_one(lab: &Lab) {
    container(lab, &[]);
    let report = exec(lab, &["boat", "probe", "--json"]).ok().report();
    assert!(report.process.pid > 1);
    assert_eq!(report.process.visible, 2);
    assert_eq!(report.hostname, lab.inspect("boat")["Config"]["Hostname"].as_str().map(str::to_string));
    assert_eq!(report.fds.into_keys().collect::<Vec<_>>(), [0, 1, 2]);
    end(lab);
}

fn its_exit_code_is_ours(lab: &Lab) {
    container(lab, &[]);
    exec(lab, &["boat", "probe", "exit", "9"]).exits(9);
    exec(lab, &["boat", "probe", "true"]).ok().silently().prints("");
    end(lab);
}

fn a_missing_program_is_127(lab: &Lab) {
    container(lab, &[]);
    exec(lab, &["boat", "no-such-program"]).exits(127).says("no-such-program");
    end(lab);
}

fn a_file_without_execute_permission_is_126(lab: &Lab) {
    container(lab, &[]);
    exec(lab, &["boat", "/etc/passwd"]).exits(126);
    end(lab);
}

fn standard_input_with_i(lab: &Lab) {
    container(lab, &[]);
    lab.knarr_fed(["exec", "-i", "boat", "probe", "cat"], b"typed").ok().prints("typed");
    lab.knarr_fed(["exec", "boat", "probe", "cat"], b"typed").ok().prints("");
    end(lab);
}

fn a_terminal_with_t(lab: &Lab) {
    container(lab, &[]);
    let report = exec(lab, &["-t", "boat", "probe", "--json"]).ok().report();
    assert_eq!(report.process.terminal, [true; 3]);
    end(lab);
}

fn environment_directory_and_user(lab: &Lab) {
    container(lab, &["-e", "FROM_RUN=1"]);
    let report =
        exec(lab, &["-e", "FROM_EXEC=2", "-w", "/tmp", "-u", "alice", "boat", "probe", "--json"]).ok().report();
    assert_eq!((report.env["FROM_RUN"].as_str(), report.env["FROM_EXEC"].as_str()), ("1", "2"));
    assert_eq!(report.env["HOME"], "/home/alice");
    assert_eq!(report.process.cwd.as_deref(), Some("/tmp"));
    assert_eq!((report.user.uid, report.user.gid), (1000, 1000));
    end(lab);
}

fn it_has_the_containers_restrictions(lab: &Lab) {
    container(lab, &["--cap-drop", "all", "--security-opt", "no-new-privileges", "--ulimit", "nofile=77"]);
    let report = exec(lab, &["boat", "probe", "--json"]).ok().report();
    assert!(report.capabilities.effective.is_empty() && report.capabilities.bounding.is_empty());
    assert!(report.security.no_new_privs);
    assert_eq!(report.security.seccomp, knarr_probe::SeccompMode::Filter);
    assert_eq!(report.rlimits["RLIMIT_NOFILE"].soft, Some(77));
    end(lab);
}

fn it_is_in_the_containers_cgroup(lab: &Lab) {
    lab.needs_root();
    container(lab, &["-m", "64m"]);
    assert_eq!(exec(lab, &["boat", "probe", "--json"]).ok().report().cgroup.memory_bytes_max, Some(64 << 20));
    end(lab);
}

fn detached_it_goes_on_alone(lab: &Lab) {
    container(lab, &[]);
    exec(lab, &["-d", "boat", "probe", "write", "/tmp/mark", "x"]).ok().prints("");
    knarr_testkit::wait::until("it has written", || {
        (exec(lab, &["boat", "probe", "cat", "/tmp/mark"]).stdout == "x").then_some(())
    });
    end(lab);
}

fn in_a_stopped_container_is_an_error(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    exec(lab, &["boat", "probe", "true"]).exits(1).says("is not running");
    end(lab);
}

fn in_no_container_is_an_error(lab: &Lab) {
    exec(lab, &["nobody", "true"]).exits(1).says("nobody");
}

fn privileged_has_more(lab: &Lab) {
    container(lab, &[]);
    let report = exec(lab, &["--privileged", "boat", "probe", "--json"]).ok().report();
    assert!(
        report.capabilities.effective.iter().any(|name| name == "CAP_SYS_ADMIN"),
        "{:?}",
        report.capabilities.effective
    );
    end(lab);
}

fn it_dies_with_the_container(lab: &Lab) {
    container(lab, &[]);
    let mut exec = lab.start(["exec", "boat", "probe", "sleep"]);
    knarr_testkit::wait::until("it runs", || {
        let seen = lab.knarr(["exec", "boat", "probe", "--json"]).ok().report().process.visible;
        (seen == 3).then_some(())
    });
    lab.knarr(["kill", "boat"]).ok();
    assert_eq!(exec.wait_patiently().code(), Some(137));
    end(lab);
}
