//! Memory, processors and process counts: as written into the cgroup, and as they bite.

use knarr_testkit::Lab;

cases!["limits":
    memory_is_limited,
    a_program_beyond_its_memory_is_killed_and_it_is_said,
    processors_are_limited,
    process_counts_are_limited,
    nonsense_is_refused,
    without_limits_nothing_is_limited,
    no_cgroup_is_left_behind,
    rootless_without_a_delegated_cgroup_says_so,
];

/// Whether limits can be had: as root always, else where our own cgroup was given to us.
fn need_limits(lab: &Lab) {
    if !limits_are_ours(lab) {
        lab.skip("the cgroup is not delegated to this user");
    }
}

fn limits_are_ours(lab: &Lab) -> bool {
    let v2 = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = v2.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_string();
    let writable =
        || std::fs::OpenOptions::new().write(true).open(format!("/sys/fs/cgroup{path}/cgroup.procs")).is_ok();
    lab.is_root() || path != "/" && writable()
}

fn memory_is_limited(lab: &Lab) {
    need_limits(lab);
    lab.load("probe");
    assert_eq!(lab.probe(&["-m", "64m"]).cgroup.memory_bytes_max, Some(64 << 20));
    assert_eq!(lab.probe(&["--memory", "134217728"]).cgroup.memory_bytes_max, Some(128 << 20));
    lab.knarr(["run", "--rm", "-m", "64m", "probe", "probe", "mem", "10000000"]).ok();
}

fn a_program_beyond_its_memory_is_killed_and_it_is_said(lab: &Lab) {
    need_limits(lab);
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "-m", "32m", "probe", "probe", "mem", "200000000"]).exits(137);
    let state = lab.inspect("boat")["State"].clone();
    assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&true.into(), &137.into()));
    lab.knarr(["rm", "boat"]).ok();
}

fn processors_are_limited(lab: &Lab) {
    need_limits(lab);
    lab.load("probe");
    assert_eq!(lab.probe(&["--cpus", "0.5"]).cgroup.cpus_max, Some(0.5));
    let done = lab.knarr(["run", "--rm", "--cpus", "0.2", "probe", "probe", "spin", "1"]).ok();
    let ms: u64 = done.text().parse().expect("milliseconds");
    assert!(ms <= 450, "got {ms} ms of processor in one second with a limit of 200");
}

fn process_counts_are_limited(lab: &Lab) {
    need_limits(lab);
    lab.load("probe");
    assert_eq!(lab.probe(&["--pids-limit", "20"]).cgroup.pids_max, Some(20));
    let done = lab.knarr(["run", "--rm", "--pids-limit", "20", "probe", "probe", "processes", "50"]).ok();
    let count: u64 = done.text().parse().expect("a count");
    assert!((1..20).contains(&count), "started {count}");
}

fn nonsense_is_refused(lab: &Lab) {
    lab.load("probe");
    for option in ["--memory=lots", "--memory=-1m", "--cpus=0.0001x", "--pids-limit=many"] {
        lab.knarr(["run", "--rm", option, "probe", "probe", "true"]).exits(125);
    }
}

fn without_limits_nothing_is_limited(lab: &Lab) {
    lab.load("probe");
    let cgroup = lab.probe(&[]).cgroup;
    assert_eq!((cgroup.memory_bytes_max, cgroup.cpus_max), (None, None));
}

fn no_cgroup_is_left_behind(lab: &Lab) {
    lab.load("probe");
    let id = lab.knarr(["run", "-d", "probe", "probe", "sleep"]).ok().text().to_string();
    let pid = lab.inspect(&id)["State"]["Pid"].as_u64().expect("a pid");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let own: Vec<&str> = groups
        .lines()
        .filter_map(|line| line.rsplit_once(':'))
        .map(|(_, path)| path)
        .filter(|path| path.contains(&id[..12]))
        .collect();
    lab.knarr(["rm", "-f", &id]).ok();
    for path in own {
        let mounts = knarr_probe::collect().mounts;
        let left = mounts
            .iter()
            .filter(|mount| mount.fstype.starts_with("cgroup"))
            .map(|mount| format!("{}{path}", mount.target));
        let left: Vec<String> = left.filter(|path| std::path::Path::new(path).exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn rootless_without_a_delegated_cgroup_says_so(lab: &Lab) {
    if limits_are_ours(lab) {
        lab.skip("limits can be had here");
    }
    lab.load("probe");
    let done = lab.knarr(["run", "--rm", "-m", "64m", "probe", "probe", "true"]);
    assert!(done.stderr.contains("cgroup") || done.stderr.contains("memory"), "nothing was said\n{done}");
    assert!(done.code == Some(0) || done.code == Some(125), "{done}");
}
