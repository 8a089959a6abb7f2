use super::*;
use crate::Directory;

/// Stats of a directory with these files.
fn stats_of(version: Version, controllers: &[&str], files: &[(&str, &str)]) -> Stats {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
    let directories = vec![Directory { version, controllers, path: directory.path().into() }];
    stats(&Cgroup { directories, ..Cgroup::default() }).unwrap()
}

#[test]
fn an_empty_cgroup_counts_nothing() {
    assert_eq!(
        stats_of(Version::V1, &["cpu", "cpuacct", "memory", "pids", "blkio", "hugetlb", "rdma"], &[]),
        Stats::default()
    );
}

#[test]
fn version_1_memory() {
    let files = [
        ("memory.usage_in_bytes", "4096\n"),
        ("memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory.failcnt", "2\n"),
        ("memory.stat", "cache 100\nrss 200\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
    ];
    let memory = stats_of(Version::V1, &["memory"], &files).memory;
    assert_eq!(
        (memory.memory.usage_bytes, memory.memory.failures, memory.cache_bytes, memory.oom_kills),
        (4096, 2, 100, 3)
    );
    assert_eq!(memory.raw["rss"], 200);
}

#[test]
fn version_2_memory_tells_swap_with_memory() {
    let files = [
        ("memory.current", "10\n"),
        ("memory.max", "100\n"),
        ("memory.swap.current", "5\n"),
        ("memory.swap.max", "max\n"),
        ("memory.events", "low 0\nmax 4\noom 1\noom_kill 1\n"),
        ("memory.stat", "anon 1\nfile 2\n"),
    ];
    let memory = stats_of(Version::V2, &["memory"], &files).memory;
    assert_eq!((memory.swap.usage_bytes, memory.swap.limit_bytes), (15, u64::MAX));
    assert_eq!((memory.memory.failures, memory.oom_kills, memory.cache_bytes), (4, 1, 2));
}

#[test]
fn processor_time_in_both_versions() {
    let files = [
        ("cpuacct.usage", "3000\n"),
        ("cpuacct.stat", "user 2\nsystem 1\n"),
        ("cpuacct.usage_all", "cpu user system\n0 1000 500\n1 1500 0\n"),
        ("cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 77\n"),
    ];
    let cpu = stats_of(Version::V1, &["cpu", "cpuacct"], &files).cpu;
    assert_eq!((cpu.usage_ns, cpu.user_ns, cpu.system_ns), (3000, 20_000_000, 10_000_000));
    assert_eq!(cpu.by_processor, [(1500, 500, 1000), (1500, 0, 1500)]);
    assert_eq!(cpu.throttling, Throttling { periods: 5, throttled: 1, throttled_ns: 77 });

    let files =
        [("cpu.stat", "usage_usec 3\nuser_usec 2\nsystem_usec 1\nnr_periods 5\nnr_throttled 1\nthrottled_usec 7\n")];
    let cpu = stats_of(Version::V2, &[], &files).cpu;
    assert_eq!((cpu.usage_ns, cpu.user_ns, cpu.system_ns, cpu.throttling.throttled_ns), (3000, 2000, 1000, 7000));
}

#[test]
fn tasks_with_and_without_a_limit() {
    let pids = |max| stats_of(Version::V2, &["pids"], &[("pids.current", "3\n"), ("pids.max", max)]).pids;
    assert_eq!(pids("max\n"), Pids { current: 3, limit: None });
    assert_eq!(pids("10\n"), Pids { current: 3, limit: Some(10) });
}

#[test]
fn block_devices_in_both_versions() {
    let files = [("blkio.throttle.io_service_bytes_recursive", "8:0 Read 10\n8:0 Write 0\nTotal 10\n")];
    let bytes = stats_of(Version::V1, &["blkio"], &files).block.bytes;
    assert_eq!(bytes[0], BlockEntry { major: 8, minor: 0, operation: "Read".into(), value: 10 });
    assert_eq!(bytes.len(), 2);
    let files = [("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\nbad\n8:1 \n")];
    let block = stats_of(Version::V2, &["io"], &files).block;
    assert_eq!((block.bytes.len(), block.operations.len()), (3, 3));
    assert_eq!(block.operations[1], BlockEntry { major: 8, minor: 0, operation: "Write".into(), value: 2 });
}

#[test]
fn huge_pages_by_size() {
    let files = [
        ("hugetlb.2MB.max", "max\n"),
        ("hugetlb.2MB.rsvd.max", "max\n"),
        ("hugetlb.2MB.current", "4\n"),
        ("hugetlb.2MB.events", "max 1\n"),
    ];
    let huge = stats_of(Version::V2, &["hugetlb"], &files).huge;
    assert_eq!(
        huge.into_iter().collect::<Vec<_>>(),
        [("2MB".to_owned(), Huge { usage_bytes: 4, max_bytes: 0, failures: 1 })]
    );
}

#[test]
fn rdma_now_and_at_most() {
    let files =
        [("rdma.current", "mlx hca_handle=1 hca_object=20\n"), ("rdma.max", "mlx hca_handle=2 hca_object=max\n")];
    let rdma = stats_of(Version::V2, &["rdma"], &files).rdma;
    assert_eq!(rdma["mlx"], Rdma { handles: (1, 2), objects: (20, u64::MAX) });
}

#[test]
fn pressure() {
    let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
    let pressure = stats_of(Version::V2, &[], &[("cpu.pressure", text)]).cpu.pressure.unwrap();
    assert_eq!((pressure.some.avg10, pressure.some.total_us, pressure.full.total_us), (1.5, 42, 1));
}
