//! Cgroups on this machine, whatever its layout: as root; skipped, saying so, where none can be made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use knarr_cgroup::{Cgroup, Controllers, CreateOptions, Error, Layout, Version};
use knarr_spec::runtime::LinuxResources;

/// Which test makes which cgroup: unique among tests, threads and runs at once.
fn name() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/knarr-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// The layout, when cgroups can be made at its top.
fn layout() -> Option<Layout> {
    let layout = Layout::discover().unwrap();
    let writable = layout.writable(Path::new("/knarr-test")).unwrap();
    if !writable.any || !writable.denied.is_empty() {
        eprintln!("skipped: this user cannot make cgroups of {:?} (or of anything)", writable.denied);
        return None;
    }
    Some(layout)
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// A cgroup that is removed, and a process that is killed, whatever becomes of the test.
struct Fixture {
    cgroup: Cgroup,
    sleeper: Option<Child>,
}

impl Fixture {
    fn new(layout: &Layout, json: &str, controllers: Controllers) -> Fixture {
        let options = CreateOptions { controllers, ..CreateOptions::default() };
        let cgroup = Cgroup::create(layout, &name(), &resources(json), &options).unwrap();
        Fixture { cgroup, sleeper: None }
    }

    fn sleeper(&mut self) -> u32 {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        self.sleeper = Some(child);
        self.cgroup.attach(pid).unwrap();
        pid
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        let directory = self.cgroup.directory(controller)?;
        Some(fs::read_to_string(directory.path.join(file)).unwrap().trim().to_owned())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.cgroup.kill();
        if let Some(mut child) = self.sleeper.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.cgroup.clone().remove().unwrap();
    }
}

fn state(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().unwrap_or_default().chars().take(1).collect()
}

#[test]
fn a_process_is_attached_counted_and_gone() {
    let Some(layout) = layout() else { return };
    let mut fixture = Fixture::new(&layout, "{}", Controllers::All);
    let pid = fixture.sleeper();
    assert_eq!(fixture.cgroup.processes().unwrap(), [pid]);
    let stats = fixture.cgroup.stats().unwrap();
    if fixture.cgroup.directory("pids").is_some() {
        assert_eq!(stats.pids.current, 1);
    }
    fixture.cgroup.kill().unwrap();
    let status = fixture.sleeper.take().unwrap().wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(fixture.cgroup.processes().unwrap().is_empty());
}

#[test]
fn limits_arrive_in_the_kernel_and_can_be_changed_in_both_directions() {
    let Some(layout) = layout() else { return };
    let has = |name: &str| layout.hierarchies.iter().any(|h| h.controllers.iter().any(|known| known == name));
    if !has("memory") || !has("pids") || !has("cpu") {
        return eprintln!("skipped: memory, pids or cpu is missing here");
    }
    let fixture = Fixture::new(
        &layout,
        r#"{"memory":{"limit":67108864},"pids":{"limit":50},"cpu":{"shares":512,"quota":50000,"period":100000}}"#,
        Controllers::OnlyUsed,
    );
    let v1 = fixture.cgroup.directory("memory").unwrap().version == Version::V1;
    let (limit, quota) = if v1 { ("memory.limit_in_bytes", "cpu.cfs_quota_us") } else { ("memory.max", "cpu.max") };
    assert_eq!(fixture.read("memory", limit).unwrap(), "67108864");
    assert_eq!(fixture.read("pids", "pids.max").unwrap(), "50");
    assert!(fixture.read("cpu", quota).unwrap().starts_with("50000"));
    for (memory, swap) in [(134_217_728, 268_435_456), (1_073_741_824, 1_073_741_824), (33_554_432, 67_108_864)] {
        let json =
            format!(r#"{{"memory":{{"limit":{memory},"swap":{swap}}},"cpu":{{"quota":{swap},"period":50000}}}}"#);
        match fixture.cgroup.update(&resources(&json.replace(&format!(r#""quota":{swap}"#), r#""quota":20000"#))) {
            Err(Error::Write { path, .. }) if path.ends_with("memory.memsw.limit_in_bytes") => {
                return eprintln!("skipped: the kernel does not account swap");
            }
            other => other.unwrap(),
        }
        assert_eq!(fixture.read("memory", limit).unwrap(), memory.to_string());
    }
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let Some(layout) = layout() else { return };
    let path = name();
    let wrong = resources(r#"{"unified":{"cgroup.type":"nonsense"},"devices":[]}"#);
    Cgroup::create(&layout, &path, &wrong, &CreateOptions::default()).unwrap_err();
    assert!(!Cgroup::open(&layout, &path).unwrap().exists());
}

#[test]
fn a_cgroup_somebody_is_in_is_not_shared() {
    let Some(layout) = layout() else { return };
    let mut fixture = Fixture::new(&layout, "{}", Controllers::OnlyUsed);
    let pid = fixture.sleeper();
    let path = Path::new("/").join(fixture.cgroup.directories[0].path.file_name().unwrap());
    let error = Cgroup::create(&layout, &path, &resources("{}"), &CreateOptions::default()).unwrap_err();
    assert!(matches!(&error, Error::NotEmpty { pids, .. } if *pids == [pid]), "{error}");
    assert!(fixture.cgroup.exists());
}

/// runc's bats found this: whoever entered it stood still, and we waited for him for ever.
#[test]
fn a_cgroup_that_is_frozen_already_is_refused_at_once() {
    let Some(layout) = layout() else { return };
    let fixture = Fixture::new(&layout, "{}", Controllers::All);
    let path = Path::new("/").join(fixture.cgroup.directories[0].path.file_name().unwrap());
    for (directory, file, frozen, thawed) in fixture.cgroup.directories.iter().flat_map(|directory| {
        [(directory, "freezer.state", "FROZEN", "THAWED"), (directory, "cgroup.freeze", "1", "0")]
    }) {
        let file = directory.path.join(file);
        if !file.exists() {
            continue;
        }
        fs::write(&file, frozen).unwrap();
        let error = Cgroup::create(&layout, &path, &resources("{}"), &CreateOptions::default()).unwrap_err();
        fs::write(&file, thawed).unwrap();
        assert!(matches!(&error, Error::Frozen { path } if file.starts_with(path)), "{error}");
    }
}

#[test]
fn frozen_processes_stand_still_until_thawed() {
    let Some(layout) = layout() else { return };
    let mut fixture = Fixture::new(&layout, "{}", Controllers::OnlyUsed);
    fixture.sleeper();
    assert!(!fixture.cgroup.frozen().unwrap());
    fixture.cgroup.freeze().unwrap();
    assert!(fixture.cgroup.frozen().unwrap());
    fixture.cgroup.thaw().unwrap();
    assert!(!fixture.cgroup.frozen().unwrap());
}

#[test]
fn a_frozen_process_can_be_killed() {
    let Some(layout) = layout() else { return };
    let mut fixture = Fixture::new(&layout, "{}", Controllers::OnlyUsed);
    fixture.sleeper();
    fixture.cgroup.freeze().unwrap();
    fixture.cgroup.kill().unwrap();
    let status = fixture.sleeper.take().unwrap().wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[test]
fn removal_waits_for_the_killed_and_takes_what_the_container_made_below() {
    let Some(layout) = layout() else { return };
    let mut fixture = Fixture::new(&layout, "{}", Controllers::OnlyUsed);
    for directory in &fixture.cgroup.directories {
        fs::create_dir_all(directory.path.join("inner/most")).unwrap();
    }
    fixture.sleeper();
    let mut child = fixture.sleeper.take().unwrap();
    fixture.cgroup.kill().unwrap();
    // Not reaped yet: a dead process does not hold a cgroup.
    fixture.cgroup.clone().remove().unwrap();
    assert!(!fixture.cgroup.exists());
    child.wait().unwrap();
}

#[test]
fn a_clone_into_descriptor_is_the_version_2_directory() {
    let Some(layout) = layout() else { return };
    let fixture = Fixture::new(&layout, "{}", Controllers::OnlyUsed);
    let has = layout.hierarchies.iter().any(|h| h.version == Version::V2);
    assert_eq!(fixture.cgroup.clone_into().unwrap().is_some(), has);
}

#[test]
fn only_what_is_used_is_made() {
    let Some(layout) = layout() else { return };
    let all = Fixture::new(&layout, "{}", Controllers::All);
    let used = Fixture::new(&layout, "{}", Controllers::OnlyUsed);
    assert_eq!(all.cgroup.directories.len(), layout.hierarchies.len());
    assert_eq!(used.cgroup.directories.len(), 1);
}

#[test]
fn a_device_filter_of_version_2_denies_and_is_replaced() {
    let Some(layout) = layout() else { return };
    let v2 = layout.hierarchies.into_iter().filter(|h| h.version == Version::V2).collect();
    let layout = Layout { hierarchies: v2 };
    if layout.hierarchies.is_empty() {
        return eprintln!("skipped: no version 2 hierarchy");
    }
    let deny = r#"{"devices":[{"allow":false,"access":"rwm"}]}"#;
    let mut fixture = Fixture::new(&layout, deny, Controllers::OnlyUsed);
    let directory = fixture.cgroup.v2().unwrap().path.clone();
    let opens = |device: &str| {
        let script = format!("echo $$ > {}/cgroup.procs && : < {device}", directory.display());
        Command::new("sh").args(["-c", &script]).stderr(std::process::Stdio::null()).status().unwrap().success()
    };
    if !Path::new("/dev/kmsg").exists() || fs::File::open("/dev/kmsg").is_err() {
        return eprintln!("skipped: no /dev/kmsg to be denied");
    }
    assert!(opens("/dev/null"));
    assert!(!opens("/dev/kmsg"));
    let allow =
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    fixture.cgroup.update(&resources(allow)).unwrap();
    assert!(opens("/dev/kmsg"));
    fixture.cgroup.update(&resources(deny)).unwrap();
    assert!(!opens("/dev/kmsg"));
    fixture.cgroup.update(&resources(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#)).unwrap();
    assert!(opens("/dev/kmsg"));
    fixture.sleeper();
}

#[test]
fn a_stopped_process_is_seen_as_such_by_its_state() {
    let Some(layout) = layout() else { return };
    let mut fixture = Fixture::new(&layout, "{}", Controllers::OnlyUsed);
    let pid = fixture.sleeper();
    fixture.cgroup.signal(19).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while state(pid) != "T" {
        assert!(Instant::now() < deadline, "{}", state(pid));
        std::thread::yield_now();
    }
}
