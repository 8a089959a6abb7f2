use super::*;

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

const V1: &[&str] = &["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"];
const V2: &[&str] = &["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];

fn told(json: &str, homes: &Homes) -> Result<Vec<String>, String> {
    let resources = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let tell = |write: &Write| {
        let also = match &write.absent {
            Absent::Refuse => String::new(),
            Absent::Skip => " if there".into(),
            Absent::Instead(other) => format!(" else {}={}", other.file, other.value),
        };
        let guard = write.not_below.map(|file| format!(" unless below {file}")).unwrap_or_default();
        format!("{}={}{also}{guard}", write.file, write.value)
    };
    plan(&resources, homes).map(|writes| writes.iter().map(tell).collect()).map_err(|error| error.to_string())
}

fn check(homes: &Homes, json: &str, expect: &[&str]) {
    assert_eq!(told(json, homes).unwrap(), expect, "{json}");
}

fn v1(json: &str, expect: &[&str]) {
    check(&Homes { v1: names(V1), ..Homes::default() }, json, expect);
}

fn v2(json: &str, expect: &[&str]) {
    check(&Homes { v2: names(V2), ..Homes::default() }, json, expect);
}

fn v2_error(json: &str, expect: &str) {
    assert_eq!(told(json, &Homes { v2: names(V2), ..Homes::default() }).unwrap_err(), expect, "{json}");
}

#[test]
fn nothing_asked_is_nothing_written() {
    v1("{}", &[]);
    v2(r#"{"memory":{},"cpu":{},"blockIO":{},"network":{},"rdma":{},"unified":{}}"#, &[]);
    check(&Homes::default(), r#"{"memory":{"limit":0},"cpu":{"shares":0,"quota":0,"cpus":""}}"#, &[]);
}

#[test]
fn a_memory_limit() {
    v1(r#"{"memory":{"limit":1024}}"#, &["memory.limit_in_bytes=1024"]);
    v2(r#"{"memory":{"limit":1024}}"#, &["memory.max=1024"]);
}

#[test]
fn unlimited_memory_lifts_the_limit_of_swap_too() {
    v1(r#"{"memory":{"limit":-1}}"#, &["memory.memsw.limit_in_bytes=-1 if there", "memory.limit_in_bytes=-1"]);
    v2(r#"{"memory":{"limit":-1}}"#, &["memory.swap.max=max if there", "memory.max=max"]);
}

#[test]
fn swap_is_memory_and_swap_in_version_1_and_alone_in_version_2() {
    let json = r#"{"memory":{"limit":1000,"swap":3000}}"#;
    v1(json, &["memory.memsw.limit_in_bytes=3000", "memory.limit_in_bytes=1000"]);
    v2(json, &["memory.swap.max=2000", "memory.max=1000"]);
    v2(r#"{"memory":{"limit":1000,"swap":1000}}"#, &["memory.swap.max=0 if there", "memory.max=1000"]);
    v2(r#"{"memory":{"limit":1000,"swap":-1}}"#, &["memory.swap.max=max if there", "memory.max=1000"]);
    v2(r#"{"memory":{"limit":-1,"swap":500}}"#, &["memory.swap.max=500", "memory.max=max"]);
}

#[test]
fn swap_without_memory_cannot_be_converted() {
    v2_error(
        r#"{"memory":{"swap":3000}}"#,
        "linux.resources.memory.swap: 3000: is memory and swap together, and needs a memory limit beside it",
    );
    v2_error(
        r#"{"memory":{"limit":10,"swap":3}}"#,
        "linux.resources.memory.swap: 3: is memory and swap together, and cannot be below the memory limit",
    );
    v2_error(r#"{"memory":{"limit":10,"swap":-2}}"#, "linux.resources.memory.swap: -2: is negative");
    v2_error(r#"{"memory":{"limit":-7}}"#, "linux.resources.memory.limit: -7: is negative");
}

#[test]
fn a_limit_below_usage_can_be_refused() {
    v2(r#"{"memory":{"limit":7,"checkBeforeUpdate":true}}"#, &["memory.max=7 unless below memory.current"]);
    v2(r#"{"memory":{"limit":-1,"checkBeforeUpdate":true}}"#, &["memory.swap.max=max if there", "memory.max=max"]);
}

#[test]
fn the_rest_of_memory() {
    let json = r#"{"memory":{"reservation":512,"kernel":1,"kernelTCP":9,"swappiness":60,"disableOOMKiller":true,"useHierarchy":true}}"#;
    v1(
        json,
        &[
            "memory.soft_limit_in_bytes=512",
            "memory.kmem.tcp.limit_in_bytes=9 if there",
            "memory.swappiness=60",
            "memory.oom_control=1",
            "memory.use_hierarchy=1 if there",
        ],
    );
    v2(r#"{"memory":{"reservation":512,"kernel":1,"kernelTCP":9,"disableOOMKiller":false}}"#, &["memory.low=512"]);
}

#[test]
fn what_version_2_cannot_do_is_said() {
    v2_error(r#"{"memory":{"swappiness":60}}"#, "linux.resources.memory.swappiness does not exist in cgroup version 2");
    v2_error(
        r#"{"memory":{"disableOOMKiller":true}}"#,
        "linux.resources.memory.disableOOMKiller does not exist in cgroup version 2",
    );
    v2_error(
        r#"{"cpu":{"realtimeRuntime":5}}"#,
        "linux.resources.cpu.realtimeRuntime does not exist in cgroup version 2",
    );
    v2_error(
        r#"{"blockIO":{"leafWeight":5}}"#,
        "linux.resources.blockIO.leafWeight does not exist in cgroup version 2",
    );
}

#[test]
fn swappiness_has_a_range_and_minus_one_is_unset() {
    v1(r#"{"memory":{"swappiness":18446744073709551615}}"#, &[]);
    v2_error(r#"{"memory":{"swappiness":101}}"#, "linux.resources.memory.swappiness: 101: is above 100");
}

#[test]
fn shares_become_weight_on_the_curve_of_2025() {
    for (shares, weight) in [(1, 1), (2, 1), (1024, 100), (102_400, 4429), (262_144, 10_000), (1 << 40, 10_000)] {
        assert_eq!(weight_of_shares(shares), weight, "{shares}");
    }
    v1(r#"{"cpu":{"shares":512}}"#, &["cpu.shares=512"]);
    v2(r#"{"cpu":{"shares":512}}"#, &["cpu.weight=59"]);
}

#[test]
fn quota_period_and_burst() {
    let json = r#"{"cpu":{"quota":50000,"period":100000,"burst":1000}}"#;
    v1(json, &["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000", "cpu.cfs_burst_us=1000 if there"]);
    v2(json, &["cpu.max=50000 100000", "cpu.max.burst=1000"]);
    v2(r#"{"cpu":{"quota":50000}}"#, &["cpu.max=50000"]);
    v2(r#"{"cpu":{"period":1000}}"#, &["cpu.max=max 1000"]);
    v2(r#"{"cpu":{"quota":-1,"period":1000}}"#, &["cpu.max=max 1000"]);
}

#[test]
fn idle_and_real_time() {
    v1(
        r#"{"cpu":{"idle":1,"realtimeRuntime":5,"realtimePeriod":10}}"#,
        &["cpu.idle=1", "cpu.rt_period_us=10", "cpu.rt_runtime_us=5"],
    );
    v2(r#"{"cpu":{"idle":0,"realtimeRuntime":0}}"#, &["cpu.idle=0"]);
}

#[test]
fn cpus_and_mems() {
    v1(r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#, &["cpuset.cpus=0-1", "cpuset.mems=0"]);
    v2(r#"{"cpu":{"cpus":"0-1","mems":""}}"#, &["cpuset.cpus=0-1"]);
}

#[test]
fn zero_processes_is_a_limit() {
    v2(r#"{"pids":{"limit":0}}"#, &["pids.max=1"]);
    v1(r#"{"pids":{"limit":100}}"#, &["pids.max=100"]);
    v1(r#"{"pids":{"limit":-1}}"#, &["pids.max=max"]);
}

#[test]
fn block_weights() {
    let json = r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":300}]}}"#;
    v1(
        json,
        &[
            "blkio.bfq.weight=500 else blkio.weight=500",
            "blkio.bfq.weight_device=8:0 300 else blkio.weight_device=8:0 300",
        ],
    );
    v2(json, &["io.bfq.weight=500 else io.weight=default 4950", "io.bfq.weight=8:0 300 else io.weight=8:0 2930"]);
    v1(r#"{"blockIO":{"leafWeight":20}}"#, &["blkio.leaf_weight=20"]);
    v2(r#"{"blockIO":{"weight":10}}"#, &["io.bfq.weight=10 else io.weight=default 1"]);
    v2(r#"{"blockIO":{"weight":1000}}"#, &["io.bfq.weight=1000 else io.weight=default 10000"]);
}

#[test]
fn block_throttles() {
    let json = r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":600}],"throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":0}]}}"#;
    v1(json, &["blkio.throttle.read_bps_device=8:1 600", "blkio.throttle.write_iops_device=8:1 0"]);
    v2(json, &["io.max=8:1 rbps=600", "io.max=8:1 wiops=max"]);
}

#[test]
fn huge_pages_and_their_reservations() {
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4096}]}"#;
    v1(json, &["hugetlb.2MB.rsvd.limit_in_bytes=4096 if there", "hugetlb.2MB.limit_in_bytes=4096"]);
    v2(json, &["hugetlb.2MB.rsvd.max=4096 if there", "hugetlb.2MB.max=4096"]);
    v2_error(
        r#"{"hugepageLimits":[{"pageSize":"../x","limit":1}]}"#,
        "linux.resources.hugepageLimits.pageSize: ../x: is not a name",
    );
}

#[test]
fn network_marks_are_version_1_only() {
    let json = r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]}}"#;
    v1(json, &["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 500"]);
    v2_error(json, "linux.resources.network.classID needs the cgroup controller net_cls, which is not available here");
}

#[test]
fn rdma_is_the_same_in_both() {
    let json = r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"a":{"hcaObjects":1},"b":{}}}"#;
    let expect = &["rdma.max=a hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"];
    v1(json, expect);
    v2(json, expect);
}

#[test]
fn unified_files_are_written_as_they_are_line_by_line() {
    let json = r#"{"unified":{"memory.high":"1000","io.max":"8:0 rbps=1\n8:1 rbps=2\n","future.knob":"on"}}"#;
    v2(json, &["future.knob=on", "io.max=8:0 rbps=1", "io.max=8:1 rbps=2", "memory.high=1000"]);
    for file in ["../memory.max", "memory", ".max", "memory."] {
        v2_error(
            &format!(r#"{{"unified":{{"{file}":"1"}}}}"#),
            &format!("linux.resources.unified: the specified key has not the form CONTROLLER.VALUE `{file}`"),
        );
    }
}

#[test]
fn a_limit_without_its_controller_is_refused_and_left_out_where_told() {
    let json = r#"{"memory":{"limit":5},"pids":{"limit":3}}"#;
    let homes = Homes { v2: names(&["pids"]), ..Homes::default() };
    assert_eq!(
        told(json, &homes).unwrap_err(),
        "linux.resources.memory needs the cgroup controller memory, which is not available here"
    );
    check(&Homes { left_out: names(&["memory"]), ..homes }, json, &["pids.max=3"]);
}

#[test]
fn a_hybrid_machine_uses_each_controller_where_it_is() {
    let homes = Homes { v1: names(&["memory"]), v2: names(&["hugetlb"]), left_out: vec![] };
    check(
        &homes,
        r#"{"memory":{"limit":5},"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#,
        &["memory.limit_in_bytes=5", "hugetlb.2MB.rsvd.max=0 if there", "hugetlb.2MB.max=0"],
    );
}

#[test]
fn a_unified_file_of_a_controller_that_is_in_version_1_is_refused_by_name() {
    let homes = Homes { v1: names(&["memory"]), v2: names(&["hugetlb"]), left_out: vec![] };
    assert_eq!(
        told(r#"{"unified":{"memory.min":"1"}}"#, &homes).unwrap_err(),
        "invalid configuration: linux.resources.unified: memory.min: the controller memory is in cgroup version 1 here"
    );
    check(&homes, r#"{"unified":{"hugetlb.2MB.max":"0"}}"#, &["hugetlb.2MB.max=0"]);
}
