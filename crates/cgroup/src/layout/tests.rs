use super::*;

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const HYBRID_MEMBER: &str = "9:name=systemd:/\n4:memory:/shell/7\n2:cpu,cpuacct:/\n0::/u\n";

/// `version controllers mount-point own`, one per hierarchy.
fn check(mountinfo: &str, membership: &str, expect: &[&str]) {
    let layout = Layout::parse(mountinfo.as_bytes(), membership.as_bytes());
    let told: Vec<String> = layout
        .hierarchies
        .iter()
        .map(|h| format!("{:?} [{}] {:?} {:?}", h.version, h.controllers.join(","), h.mount_point, h.own))
        .collect();
    assert_eq!(told, expect);
}

#[test]
fn a_hybrid_machine_has_both() {
    check(
        HYBRID,
        HYBRID_MEMBER,
        &[
            r#"V1 [cpu,cpuacct] "/sys/fs/cgroup/cpu,cpuacct" """#,
            r#"V1 [memory] "/sys/fs/cgroup/memory" "shell/7""#,
            r#"V1 [name=systemd] "/sys/fs/cgroup/systemd" """#,
            r#"V2 [] "/sys/fs/cgroup/unified" "u""#,
        ],
    );
    assert_eq!(Layout::parse(HYBRID.as_bytes(), HYBRID_MEMBER.as_bytes()).kind(), Kind::Hybrid);
}

#[test]
fn a_new_machine_has_one() {
    let mountinfo = "25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    check(mountinfo, "0::/user.slice/s.scope\n", &[r#"V2 [] "/sys/fs/cgroup" "user.slice/s.scope""#]);
    assert_eq!(Layout::parse(mountinfo.as_bytes(), b"0::/\n").kind(), Kind::V2);
}

#[test]
fn inside_a_container_paths_are_relative_to_what_is_mounted() {
    check(
        "9 8 0:3 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n",
        "3:pids:/docker/abc/child\n",
        &[r#"V1 [pids] "/sys/fs/cgroup/pids" "child""#],
    );
}

#[test]
fn a_membership_outside_of_what_is_mounted_counts_as_the_top() {
    check("9 8 0:3 / /c rw - cgroup2 c rw\n", "0::/../../x\n", &[r#"V2 [] "/c" """#]);
    check("9 8 0:3 /a /c rw - cgroup2 c rw\n", "0::/b\n", &[r#"V2 [] "/c" """#]);
}

#[test]
fn a_mount_under_another_is_not_there() {
    let over = format!("{HYBRID}99 31 0:50 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    check(&over, HYBRID_MEMBER, &[r#"V2 [] "/sys/fs/cgroup" "u""#]);
    let stacked = format!("{HYBRID}99 35 0:50 / /sys/fs/cgroup/memory rw - tmpfs x rw\n");
    assert!(
        !Layout::parse(stacked.as_bytes(), HYBRID_MEMBER.as_bytes())
            .hierarchies
            .iter()
            .any(|h| h.controllers == ["memory"])
    );
}

#[test]
fn of_two_mounts_of_one_hierarchy_the_first_counts() {
    let twice = format!("{HYBRID}98 23 0:32 / /mnt/memory rw - cgroup cgroup rw,memory\n");
    let layout = Layout::parse(twice.as_bytes(), HYBRID_MEMBER.as_bytes());
    let memory: Vec<_> = layout.hierarchies.iter().filter(|h| h.controllers == ["memory"]).collect();
    assert_eq!(memory.len(), 1);
    assert_eq!(memory[0].mount_point, Path::new("/sys/fs/cgroup/memory"));
}

#[test]
fn escapes_are_undone() {
    check("9 8 0:3 / /a\\040b\\134c rw - cgroup2 c rw\n", "0::/\n", &[r#"V2 [] "/a b\\c" """#]);
    check("9 8 0:3 / /a\\04 rw - cgroup2 c rw\n", "0::/\n", &[r#"V2 [] "/a\\04" """#]);
    check("9 8 0:3 / /a\\999 rw - cgroup2 c rw\n", "0::/\n", &[r#"V2 [] "/a\\999" """#]);
}

#[test]
fn optional_fields_may_be_many_or_none() {
    check("9 8 0:3 / /c rw shared:1 master:2 unbindable - cgroup2 c rw\n", "0::/\n", &[r#"V2 [] "/c" """#]);
}

#[test]
fn nonsense_is_left_out() {
    check("", "", &[]);
    check("\n\n- - -\n1 2 3\nx 8 0:3 / /c rw - cgroup2 c rw\n9 8 0:3 / /c rw cgroup2 c rw\n", "0::/\n:::\n4\n", &[]);
    check("9 8 0:3 / /c rw - cgroup2 c rw\n", "7::/not-zero\n", &[]);
    check("9 8 0:3 / /c rw - cgroup c rw,memory\n", "4:cpu:/\n", &[]);
    let loops = "9 8 0:3 / /c/d rw - cgroup2 c rw\n8 9 0:3 / /c rw - tmpfs c rw\n7 7 0:3 / /x rw - tmpfs c rw\n";
    check(loops, "0::/\n", &[r#"V2 [] "/c/d" """#]);
}

#[test]
fn a_release_agent_cannot_pose_as_a_controller() {
    check("9 8 0:3 / /c rw - cgroup c rw,release_agent=/x,cpu\n", "4:memory:/\n5:cpu:/\n", &[r#"V1 [cpu] "/c" """#]);
}

#[test]
fn this_machine_can_be_read() {
    let layout = Layout::discover().unwrap();
    for hierarchy in &layout.hierarchies {
        assert!(hierarchy.mount_point.join("cgroup.procs").exists(), "{hierarchy:?}");
    }
}
