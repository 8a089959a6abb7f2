//! The group of a transient unit: systemd makes it, with the limits it knows by name; what it does not know is written into its files.
//!
//! ```text
//! linux.cgroupsPath   system.slice:knarr:web
//! unit                knarr-web.scope in system.slice
//! directory           /sys/fs/cgroup/system.slice/knarr-web.scope[/subgroup]
//! ```
//!
//! Spec: org.freedesktop.systemd1(5), systemd.resource-control(5); the names are those runc uses.
//! Law: [`UnitName`] and [`properties`] are pure.

use std::path::{Path, PathBuf};

use knarr_spec::runtime::LinuxResources;
use knarr_systemd::{Bus, Manager, Property, Value, expand_slice};
use serde::{Deserialize, Serialize};

use crate::{
    Cgroup, CreateOptions, Error, Layout, create, devices,
    files::try_write,
    layout::Version,
    path::CgroupPath,
    plan::{swap_alone, weight_of_shares},
};

/// The unit a group belongs to, to be found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Whose systemd.
    pub bus: Bus,
    /// `knarr-web.scope`.
    pub name: String,
    /// The group below its own that the container is in; empty: its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subgroup: String,
}

/// Which unit, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitName {
    /// `system.slice`.
    pub slice: String,
    /// `knarr-web.scope`, or a slice.
    pub unit: String,
}

/// The prefix of units whose document names none.
const PREFIX_DEFAULT: &str = "knarr";

impl UnitName {
    /// `slice:prefix:name`, where slice and prefix may be missing; or nothing at all, for the container `id`.
    pub fn parse(path: &Path, id: &str, user: bool) -> Result<UnitName, Error> {
        let wrong = |why| Error::Path { path: path.into(), why };
        let text = path.to_str().ok_or_else(|| wrong("is not text"))?;
        let (slice, prefix, name) = match text.split(':').collect::<Vec<_>>()[..] {
            [""] => ("", PREFIX_DEFAULT, id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => return Err(wrong("must be of form \"slice:prefix:name\" for systemd cgroups")),
        };
        let default = if user { "user.slice" } else { "system.slice" };
        let slice = if slice.is_empty() { default } else { slice };
        expand_slice(slice).map_err(|_| wrong("does not begin with the name of a slice"))?;
        if name.is_empty() || [prefix, name].iter().any(|part| part.contains(['/', '\0'])) {
            return Err(wrong("names no unit"));
        }
        let unit = match (name.ends_with(".slice"), prefix) {
            (true, _) => name.to_owned(),
            (false, "") => format!("{name}.scope"),
            (false, prefix) => format!("{prefix}-{name}.scope"),
        };
        Ok(UnitName { slice: slice.to_owned(), unit })
    }

    /// Where the system's systemd has it, from the root of a hierarchy.
    pub fn path(&self) -> PathBuf {
        let of = if self.unit.ends_with(".slice") { &self.unit } else { &self.slice };
        let slice = expand_slice(of).unwrap_or_else(|_| "/".into());
        if self.unit.ends_with(".slice") { slice } else { slice.join(&self.unit) }
    }
}

/// What a unit is made with.
#[derive(Clone, Debug)]
pub struct UnitOptions<'o> {
    /// Whose systemd.
    pub bus: &'o Bus,
    /// Which unit.
    pub name: &'o UnitName,
    /// For people.
    pub description: &'o str,
    /// A group below the unit's own.
    pub subgroup: &'o str,
    /// The first process: a scope is never empty.
    pub pid: u32,
    /// Properties the document gives itself.
    pub properties: &'o [Property],
    /// As for a group of ours.
    pub create: CreateOptions,
}

impl Cgroup {
    /// Has systemd make the unit around a process, and writes into its groups what systemd has no name for. After an error the unit is
    /// gone; the process is the caller's.
    pub fn start_unit(layout: &Layout, resources: &LinuxResources, options: &UnitOptions<'_>) -> Result<Cgroup, Error> {
        let mut manager = Manager::connect(options.bus)?;
        let all = unit_properties(layout, resources, options, manager.version()?)?;
        manager.start(&options.name.unit, &all)?;
        let made = Cgroup::of_unit(layout, resources, options, &mut manager);
        if made.is_err() {
            let _ = manager.stop(&options.name.unit);
        }
        made
    }

    fn of_unit(
        layout: &Layout,
        resources: &LinuxResources,
        options: &UnitOptions<'_>,
        manager: &mut Manager,
    ) -> Result<Cgroup, Error> {
        let group = PathBuf::from(manager.control_group(&options.name.unit)?);
        let path = CgroupPath::parse(&group.join(options.subgroup))?;
        if !options.subgroup.is_empty() {
            step_down(layout, &group, options)?;
        }
        let mut cgroup = create::create(layout, &path, resources, &CreateOptions { occupied: true, ..options.create })?;
        cgroup.unit = Some(Unit {
            bus: options.bus.clone(),
            name: options.name.unit.clone(),
            subgroup: options.subgroup.to_owned(),
        });
        cgroup.attach(options.pid)?;
        Ok(cgroup)
    }
}

/// In version 2 a group with processes in it hands no controllers on: the process goes down first.
fn step_down(layout: &Layout, group: &Path, options: &UnitOptions<'_>) -> Result<(), Error> {
    let path = CgroupPath::parse(group)?;
    for hierarchy in layout.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::V2) {
        let directory = path.in_hierarchy(hierarchy).join(options.subgroup);
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|source| Error::Make { path: directory.clone(), source })?,
        }
        let (file, value) = (directory.join("cgroup.procs"), options.pid.to_string());
        try_write(&file, &value).map_err(|source| Error::Write { path: file, value, source })?;
    }
    Ok(())
}

fn unit_properties(
    layout: &Layout,
    resources: &LinuxResources,
    options: &UnitOptions<'_>,
    version: u32,
) -> Result<Vec<Property>, Error> {
    let slice = options.name.slice.as_str();
    let mut all = vec![Property::new("Description", Value::text(options.description))];
    if options.name.unit.ends_with(".slice") {
        all.push(Property::new("Wants", Value::Array("s".into(), vec![Value::text(slice)])));
    } else {
        all.push(Property::new("Slice", Value::text(slice)));
        all.push(Property::new("Delegate", Value::Bool(true)));
        all.push(Property::new("PIDs", Value::Array("u".into(), vec![Value::U32(options.pid)])));
    }
    // The kernel does not like to count what began before it was told to.
    for name in ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"] {
        all.push(Property::new(name, Value::Bool(true)));
    }
    all.push(Property::new("DefaultDependencies", Value::Bool(false)));
    all.extend(properties(resources, &Systemd::of(layout, version))?);
    if let Some(group) = resources.unified().as_ref().and_then(|files| files.get("memory.oom.group")) {
        let policy = if group.trim() == "1" { "kill" } else { "continue" };
        all.extend((version >= OOM_POLICY_SINCE).then(|| Property::new("OOMPolicy", Value::text(policy))));
    }
    for property in options.properties {
        all.retain(|other| other.name != property.name);
        all.push(property.clone());
    }
    Ok(all)
}

/// What a limit is called depends on the hierarchies and on how old systemd is.
#[derive(Clone, Debug, Default)]
pub struct Systemd {
    /// Controllers are in version 2.
    pub version2: bool,
    /// Of systemd.
    pub version: u32,
    /// `/proc/devices`.
    pub devices: String,
}

impl Systemd {
    fn of(layout: &Layout, version: u32) -> Systemd {
        let v1 = |h: &crate::Hierarchy| h.version == Version::V1 && h.controllers.iter().any(|name| name == "memory");
        let devices = std::fs::read_to_string("/proc/devices").unwrap_or_default();
        Systemd { version2: !layout.hierarchies.iter().any(v1), version, devices }
    }
}

const OOM_POLICY_SINCE: u32 = 253;
const CPU_IDLE_SINCE: u32 = 252;
const ALLOWED_CPUS_SINCE: u32 = 244;
const QUOTA_PERIOD_SINCE: u32 = 242;
/// `cpu.cfs_period_us` where none is given.
const PERIOD_DEFAULT_US: u64 = 100_000;
/// systemd keeps quotas in percent: what is finer is rounded up, so that the group below gets what it asks for.
const PERCENT_US: u64 = 10_000;
const INFINITY: u64 = u64::MAX;

/// Limits as properties: those systemd has.
pub fn properties(resources: &LinuxResources, systemd: &Systemd) -> Result<Vec<Property>, Error> {
    let mut all = Vec::new();
    let mut add = |name: &str, value: Value| all.push(Property::new(name, value));
    if let Some(list) = resources.devices() {
        let rules = devices::rules(list)?;
        let allowed = devices::allow_list(&rules, &systemd.devices);
        add("DevicePolicy", Value::text(if allowed.is_some() { "strict" } else { "auto" }));
        let pair = |(device, access): (String, String)| Value::Struct(vec![Value::Str(device), Value::Str(access)]);
        add("DeviceAllow", Value::Array("(ss)".into(), allowed.unwrap_or_default().into_iter().map(pair).collect()));
    }
    let limit = |value: i64| if value < 0 { INFINITY } else { value.unsigned_abs() };
    if let Some(memory) = resources.memory() {
        let set = |value: Option<i64>| value.filter(|value| *value != 0).map(limit);
        let (max, low) = if systemd.version2 { ("MemoryMax", "MemoryLow") } else { ("MemoryLimit", "") };
        set(memory.limit()).into_iter().for_each(|bytes| add(max, Value::U64(bytes)));
        if systemd.version2 {
            set(memory.reservation()).into_iter().for_each(|bytes| add(low, Value::U64(bytes)));
            let swap = swap_alone(memory.limit().unwrap_or(0), memory.swap().unwrap_or(0))?;
            swap.into_iter().for_each(|bytes| add("MemorySwapMax", Value::U64(limit(bytes))));
        }
    }
    if let Some(cpu) = resources.cpu() {
        let idle = systemd.version2 && cpu.idle() == Some(1) && systemd.version >= CPU_IDLE_SINCE;
        match cpu.shares().filter(|shares| *shares != 0) {
            // A weight of 0 is how systemd calls idle.
            _ if idle => add("CPUWeight", Value::U64(0)),
            Some(shares) if systemd.version2 => add("CPUWeight", Value::U64(weight_of_shares(shares))),
            Some(shares) => add("CPUShares", Value::U64(shares)),
            None => {}
        }
        quota(cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0), systemd, &mut add);
        let sets = [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())];
        for (name, list) in sets.into_iter().filter_map(|(name, list)| Some((name, list.as_deref()?))) {
            if !list.is_empty() && systemd.version >= ALLOWED_CPUS_SINCE {
                add(name, bits(list)?);
            }
        }
    }
    if let Some(pids) = resources.pids() {
        // The first process counts too, and systemd takes no 0.
        add("TasksMax", Value::U64(limit(pids.limit()).max(1)));
    }
    if let Some(weight) = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight != 0)
        && !systemd.version2
    {
        add("BlockIOWeight", Value::U64(weight.into()));
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        one_file(file, value.trim(), systemd, &mut add)?;
    }
    Ok(all)
}

fn quota(quota: i64, period: u64, systemd: &Systemd, add: &mut impl FnMut(&str, Value)) {
    if period != 0 && systemd.version >= QUOTA_PERIOD_SINCE {
        add("CPUQuotaPeriodUSec", Value::U64(period));
    }
    if quota == 0 && period == 0 {
        return;
    }
    let period = if period == 0 { PERIOD_DEFAULT_US } else { period };
    let each_second = match u64::try_from(quota) {
        Ok(quota) if quota > 0 => (quota.saturating_mul(1_000_000) / period).next_multiple_of(PERCENT_US),
        _ => INFINITY,
    };
    add("CPUQuotaPerSecUSec", Value::U64(each_second));
}

/// The files of version 2 that have a property; the others are only written.
fn one_file(file: &str, value: &str, systemd: &Systemd, add: &mut impl FnMut(&str, Value)) -> Result<(), Error> {
    let wrong = |why| Error::Invalid { what: "linux.resources.unified", value: format!("{file}={value}"), why };
    let number = || match value {
        "max" => Ok(INFINITY),
        digits => digits.parse::<u64>().map_err(|_| wrong("is no number")),
    };
    match file {
        "cpu.idle" if value == "1" && systemd.version >= CPU_IDLE_SINCE => add("CPUWeight", Value::U64(0)),
        "cpu.weight" => add("CPUWeight", Value::U64(number()?)),
        "cpu.max" => {
            let mut words = value.split_whitespace();
            let first = match words.next() {
                Some("max") => 0,
                Some(digits) => digits.parse().map_err(|_| wrong("is no quota"))?,
                None => return Err(wrong("is no quota")),
            };
            let period = words
                .next()
                .map_or(Ok(PERIOD_DEFAULT_US), |digits| digits.parse().map_err(|_| wrong("is no quota")))?;
            quota(first, period, systemd, add);
        }
        "cpuset.cpus" if systemd.version >= ALLOWED_CPUS_SINCE => add("AllowedCPUs", bits(value)?),
        "cpuset.mems" if systemd.version >= ALLOWED_CPUS_SINCE => add("AllowedMemoryNodes", bits(value)?),
        "memory.high" => add("MemoryHigh", Value::U64(number()?)),
        "memory.low" => add("MemoryLow", Value::U64(number()?)),
        "memory.min" => add("MemoryMin", Value::U64(number()?)),
        "memory.max" => add("MemoryMax", Value::U64(number()?)),
        "memory.swap.max" => add("MemorySwapMax", Value::U64(number()?)),
        "pids.max" => add("TasksMax", Value::U64(number()?.max(1))),
        _ => {}
    }
    Ok(())
}

/// `0-3,7` as bytes, the lowest processor in the first one.
fn bits(list: &str) -> Result<Value, Error> {
    let wrong = || Error::Invalid { what: "linux.resources.cpu.cpus", value: list.into(), why: "is no list as 0-3,7" };
    let mut bytes: Vec<u8> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().map_err(|_| wrong())?, last.parse::<usize>().map_err(|_| wrong())?);
        if first > last || last >= NUMBER_MAX {
            return Err(wrong());
        }
        bytes.resize(bytes.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|bit| bytes[bit / 8] |= 1 << (bit % 8));
    }
    Ok(Value::Array("y".into(), bytes.into_iter().map(Value::Byte).collect()))
}

/// Beyond what any kernel is configured for.
const NUMBER_MAX: usize = 1 << 16;

impl Unit {
    /// New limits for the unit itself.
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        let mut manager = Manager::connect(&self.bus)?;
        let layout = Layout::discover()?;
        let version = manager.version()?;
        Ok(manager.set(&self.name, &properties(resources, &Systemd::of(&layout, version))?)?)
    }

    /// Moves a process in, where the kernel would not let us do it ourselves.
    pub fn attach(&self, pid: u32) -> Result<(), Error> {
        Ok(Manager::connect(&self.bus)?.attach(&self.name, &format!("/{}", self.subgroup), pid)?)
    }

    pub(crate) fn stop(&self) -> Result<(), Error> {
        Ok(Manager::connect(&self.bus)?.stop(&self.name)?)
    }
}

/// A property of an `org.systemd.property.NAME` annotation. Times in seconds are systemd's in microseconds, by another name.
pub fn given_property(name: &str, text: &str) -> Option<Property> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let value = knarr_systemd::parse_value(text)?;
    let Some(stem) = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) else {
        return Some(Property::new(name, value));
    };
    let seconds = match value {
        Value::Byte(n) => f64::from(n),
        Value::I16(n) => f64::from(n),
        Value::U16(n) => f64::from(n),
        Value::I32(n) => f64::from(n),
        Value::U32(n) => f64::from(n),
        Value::I64(n) => n as f64,
        Value::U64(n) => n as f64,
        Value::Double(n) => n,
        _ => return None,
    };
    (seconds >= 0.0).then(|| Property::new(format!("{stem}USec"), Value::U64((seconds * 1e6) as u64)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn told(resources: Json, systemd: &Systemd) -> Vec<String> {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let all = properties(&resources, systemd).unwrap();
        all.iter().map(|p| format!("{}={:?}", p.name, p.value)).collect()
    }

    fn check(resources: Json, expect: &[&str]) {
        assert_eq!(told(resources, &Systemd { version2: true, version: 252, devices: String::new() }), expect);
    }

    #[test]
    fn a_unit_is_named_by_three_parts() {
        for (path, expect) in [
            ("system.slice:knarr:web", ("system.slice", "knarr-web.scope", "/system.slice/knarr-web.scope")),
            (":knarr:web", ("system.slice", "knarr-web.scope", "/system.slice/knarr-web.scope")),
            ("a-b.slice::web", ("a-b.slice", "web.scope", "/a.slice/a-b.slice/web.scope")),
            ("a.slice::a-c.slice", ("a.slice", "a-c.slice", "/a.slice/a-c.slice")),
            ("", ("system.slice", "knarr-id.scope", "/system.slice/knarr-id.scope")),
        ] {
            let name = UnitName::parse(Path::new(path), "id", false).unwrap();
            assert_eq!((name.slice.as_str(), name.unit.as_str(), name.path().to_str().unwrap()), expect);
        }
        assert_eq!(UnitName::parse(Path::new(""), "id", true).unwrap().slice, "user.slice");
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["/a/b", "a:b", "a.slice:b:c:d", "a:b:c", "a.slice:b:", "a.slice:b/c:d"] {
            assert!(UnitName::parse(Path::new(path), "id", false).is_err(), "{path}");
        }
    }

    #[test]
    fn memory() {
        check(
            json!({ "memory": { "limit": 1000, "swap": 1500, "reservation": 500 } }),
            &["MemoryMax=U64(1000)", "MemoryLow=U64(500)", "MemorySwapMax=U64(500)"],
        );
        check(
            json!({ "memory": { "limit": -1 } }),
            &["MemoryMax=U64(18446744073709551615)", "MemorySwapMax=U64(18446744073709551615)"],
        );
        let old = Systemd { version2: false, version: 247, devices: String::new() };
        assert_eq!(told(json!({ "memory": { "limit": 1000, "swap": 1500 } }), &old), ["MemoryLimit=U64(1000)"]);
    }

    #[test]
    fn a_quota_is_rounded_up_to_a_percent() {
        check(
            json!({ "cpu": { "quota": 12345, "period": 100000 } }),
            &["CPUQuotaPeriodUSec=U64(100000)", "CPUQuotaPerSecUSec=U64(130000)"],
        );
        check(json!({ "cpu": { "quota": 50000 } }), &["CPUQuotaPerSecUSec=U64(500000)"]);
        check(json!({ "cpu": { "quota": -1 } }), &["CPUQuotaPerSecUSec=U64(18446744073709551615)"]);
    }

    #[test]
    fn weight_idle_sets_and_tasks() {
        check(json!({ "cpu": { "shares": 1024 } }), &["CPUWeight=U64(100)"]);
        check(json!({ "cpu": { "shares": 1024, "idle": 1 } }), &["CPUWeight=U64(0)"]);
        check(json!({ "cpu": { "cpus": "0-1,9" } }), &["AllowedCPUs=Array(\"y\", [Byte(3), Byte(2)])"]);
        check(json!({ "pids": { "limit": 0 } }), &["TasksMax=U64(1)"]);
        check(json!({ "pids": { "limit": -1 } }), &["TasksMax=U64(18446744073709551615)"]);
    }

    #[test]
    fn files_of_version_2() {
        check(
            json!({ "unified": { "memory.high": "max", "memory.min": "10", "cpu.max": "max 5000", "hugetlb.2MB.max": "1", "pids.max": "7" } }),
            &[
                "CPUQuotaPeriodUSec=U64(5000)",
                "CPUQuotaPerSecUSec=U64(18446744073709551615)",
                "MemoryHigh=U64(18446744073709551615)",
                "MemoryMin=U64(10)",
                "TasksMax=U64(7)",
            ],
        );
    }

    #[test]
    fn devices_are_a_list_of_what_is_allowed() {
        let devices = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";
        let systemd = Systemd { version2: true, version: 252, devices: devices.into() };
        let rules = json!({ "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
            { "allow": true, "type": "b", "major": 8, "access": "r" },
        ] });
        let all = told(rules, &systemd);
        assert_eq!(all[0], "DevicePolicy=Str(\"strict\")");
        for part in [
            "/dev/char/10:229\"), Str(\"rw\")",
            "block-sd\"), Str(\"r\")",
            "char-pts\"), Str(\"mrw\")",
            "char-*\"), Str(\"m\")",
        ] {
            assert!(all[1].contains(part), "{part}: {}", all[1]);
        }
        let everything = json!({ "devices": [{ "allow": true, "access": "rwm" }] });
        assert_eq!(told(everything, &systemd), ["DevicePolicy=Str(\"auto\")", "DeviceAllow=Array(\"(ss)\", [])"]);
    }

    #[test]
    fn annotations_are_properties() {
        assert_eq!(
            given_property("CollectMode", "'inactive'"),
            Some(Property::new("CollectMode", Value::text("inactive")))
        );
        assert_eq!(
            given_property("TimeoutStopSec", "uint64 30"),
            Some(Property::new("TimeoutStopUSec", Value::U64(30_000_000)))
        );
        assert_eq!(
            given_property("TimeoutStopUSec", "uint64 30"),
            Some(Property::new("TimeoutStopUSec", Value::U64(30)))
        );
        for (name, text) in [("Ab", "1"), ("A-b", "1"), ("TimeoutStopSec", "'x'"), ("CollectMode", "inactive")] {
            assert_eq!(given_property(name, text), None);
        }
    }
}
