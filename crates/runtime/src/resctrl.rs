//! Resource groups of processors' caches and memory bandwidth (Intel RDT, AMD QoS), through the kernel's resctrl file system.
//!
//! ```text
//! <root>/                       where resctrl is mounted
//! ├── info/{L3,MB,L3_MON}/      what the processor can do; info/last_cmd_status says why a write failed
//! ├── schemata, tasks           of the default group
//! ├── mon_groups/<id>/          a monitoring group of it
//! └── <closID>/                 another group, with the same files
//! ```
//!
//! Spec: config-linux.md "IntelRdt"; the kernel's filesystems/resctrl.rst.
//! Law: what was there before a container stays after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use knarr_spec::runtime::LinuxIntelRdt;
use serde::{Deserialize, Serialize};

/// What is to be done for a container, or was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdt {
    /// Where resctrl is mounted.
    pub root: PathBuf,
    /// The group's directory.
    pub group: PathBuf,
    /// It belongs to others: it must be there already, or stays when the container goes.
    pub shared: bool,
    /// The lines of `schemata`; empty: as the group has them.
    pub schemata: Vec<String>,
    /// A monitoring group of the container's own.
    pub monitoring: Option<PathBuf>,
}

/// Why a group cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RdtError {
    /// A file or directory.
    #[error("{what} {}{}", path.display(), status(said))]
    File {
        /// `make`, `write`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// `info/last_cmd_status`.
        said: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A group without schemata is somebody else's, and must be there.
    #[error("the resctrl group {} is missing (it must be there when no schemata are given)", .0.display())]
    Missing(PathBuf),
}

fn status(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}

/// What this machine's processors can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Parts of the third level cache.
    pub l3: bool,
    /// Memory bandwidth.
    pub bandwidth: bool,
    /// Monitoring.
    pub monitoring: bool,
}

/// Where resctrl is mounted: the first of the mount table.
pub fn find(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, fs) = line.split_once(" - ")?;
        (fs.split(' ').next() == Some("resctrl")).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

impl Abilities {
    /// Looks into `info`.
    pub fn of(root: &Path) -> Abilities {
        let has = |name: &str| root.join("info").join(name).is_dir();
        Abilities { l3: has("L3"), bandwidth: has("MB"), monitoring: has("L3_MON") }
    }
}

/// A place in the document and what is wrong with its value.
pub type Wrong = (&'static str, String, &'static str);

/// From the document to what is to be done. The group is `closID`, or the container's own; `/` is the default group. Schemata come last, so
/// that they win over the two older fields.
pub fn plan(rdt: &LinuxIntelRdt, id: &str, root: &Path) -> Result<Rdt, Vec<Wrong>> {
    let mut wrong = Vec::new();
    let given = rdt.clos_id().as_deref().filter(|clos| !clos.is_empty());
    let group = match given {
        Some("/") => root.to_owned(),
        Some(clos) if clos == "." || clos == ".." || clos.contains(['/', '\n', '\0']) => {
            wrong.push(("closID", clos.to_owned(), "is neither the name of a group nor /"));
            root.to_owned()
        }
        Some(clos) => root.join(clos),
        None => root.join(id),
    };
    let mut schemata = Vec::new();
    let older = [("l3CacheSchema", rdt.l3_cache_schema()), ("memBwSchema", rdt.mem_bw_schema())];
    for (name, lines) in older.into_iter().filter_map(|(name, lines)| Some((name, lines.as_ref()?))) {
        schemata.extend(lines.lines().map(str::to_owned).filter(|line| !line.is_empty()));
        if name == "l3CacheSchema" && lines.lines().any(|line| line.trim_start().starts_with("MB:")) {
            wrong.push((name, lines.clone(), "must not speak of memory bandwidth"));
        }
    }
    for line in rdt.schemata().iter().flatten() {
        if line.contains('\n') {
            wrong.push(("schemata", line.clone(), "must be one line"));
        }
        schemata.push(line.clone());
    }
    let monitors = rdt.enable_monitoring().unwrap_or(false);
    let monitoring = monitors.then(|| group.join("mon_groups").join(id));
    let shared = given.is_some();
    if wrong.is_empty() { Ok(Rdt { root: root.to_owned(), group, shared, schemata, monitoring }) } else { Err(wrong) }
}

impl Rdt {
    /// Makes the group and puts a process into it, with all it will fork.
    pub fn join(&self, pid: u32) -> Result<(), RdtError> {
        if self.shared && self.schemata.is_empty() && !self.group.is_dir() {
            return Err(RdtError::Missing(self.group.clone()));
        }
        self.make(&self.group)?;
        self.apply()?;
        self.write(&self.group.join("tasks"), &pid.to_string())?;
        if let Some(monitoring) = &self.monitoring {
            self.make(monitoring)?;
            self.write(&monitoring.join("tasks"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Puts one more process into the groups, which are there.
    pub fn enter(&self, pid: u32) -> Result<(), RdtError> {
        let groups = [Some(&self.group), self.monitoring.as_ref()].into_iter().flatten();
        groups.into_iter().try_for_each(|group| self.write(&group.join("tasks"), &pid.to_string()))
    }

    /// Writes the schemata, all at once.
    pub fn apply(&self) -> Result<(), RdtError> {
        if self.schemata.is_empty() {
            return Ok(());
        }
        let text: String = self.schemata.iter().map(|line| format!("{line}\n")).collect();
        self.write(&self.group.join("schemata"), &text)
    }

    /// Takes away what is the container's own; what is gone already is well.
    pub fn leave(&self) -> Result<(), RdtError> {
        let remove = |path: &Path| match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => self.told("remove", path, other),
        };
        let monitoring = self.monitoring.as_deref().map_or(Ok(()), remove);
        if self.shared { monitoring } else { monitoring.and(remove(&self.group)) }
    }

    fn make(&self, path: &Path) -> Result<(), RdtError> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => self.told("make", path, other),
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), RdtError> {
        let written = fs::OpenOptions::new().write(true).open(path);
        self.told("write", path, written.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes())))
    }

    /// With the kernel's own sentence beside the number.
    fn told(&self, what: &'static str, path: &Path, done: io::Result<()>) -> Result<(), RdtError> {
        done.map_err(|source| {
            let said = fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
            let said = said.trim().to_owned();
            RdtError::File {
                what,
                path: path.to_owned(),
                said: if said == "ok" { String::new() } else { said },
                source,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn planned(document: Value) -> Result<Rdt, Vec<Wrong>> {
        plan(&serde_json::from_value(document).unwrap(), "web", Path::new("/sys/fs/resctrl"))
    }

    /// As the kernel lays it out, as far as directories can.
    fn fixture() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in ["info/L3", "info/MB", "info/L3_MON", "mon_groups", "gold/mon_groups"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        for file in ["schemata", "tasks", "gold/schemata", "gold/tasks", "info/last_cmd_status"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        root
    }

    fn read(root: &tempfile::TempDir, file: &str) -> String {
        fs::read_to_string(root.path().join(file)).unwrap()
    }

    #[test]
    fn it_is_found_in_the_mount_table() {
        let table = "25 1 0:22 / /sys rw - sysfs sysfs rw\n40 25 0:35 / /sys/fs/resctrl rw,relatime shared:9 - resctrl resctrl rw\n";
        assert_eq!(find(table), Some("/sys/fs/resctrl".into()));
        assert_eq!(find("25 1 0:22 / /sys rw - sysfs resctrl rw\n"), None);
    }

    #[test]
    fn schemata_win_over_the_older_fields_by_coming_last() {
        let rdt =
            planned(json!({ "closID": "gold", "schemata": ["L3:0=f", "MB:0=20"], "l3CacheSchema": "L3:0=ff\nL2:0=1",
            "memBwSchema": "MB:0=50" }));
        assert_eq!(rdt.unwrap().schemata, ["L3:0=ff", "L2:0=1", "MB:0=50", "L3:0=f", "MB:0=20"]);
    }

    #[test]
    fn the_group_is_named_by_the_document_or_the_container() {
        let group =
            |document| planned(document).map(|rdt| (rdt.group.to_str().unwrap().to_owned(), rdt.shared)).unwrap();
        assert_eq!(group(json!({})), ("/sys/fs/resctrl/web".into(), false));
        assert_eq!(group(json!({ "closID": "gold" })), ("/sys/fs/resctrl/gold".into(), true));
        assert_eq!(group(json!({ "closID": "/" })), ("/sys/fs/resctrl".into(), true));
    }

    #[test]
    fn what_would_climb_or_bring_lines_of_its_own_is_refused() {
        for document in [
            json!({ "closID": ".." }),
            json!({ "closID": "a/b" }),
            json!({ "schemata": ["L3:0=f\nMB:0=1"] }),
            json!({ "l3CacheSchema": "L3:0=f\nMB:0=1" }),
        ] {
            assert!(planned(document.clone()).is_err(), "{document}");
        }
    }

    #[test]
    fn a_shared_group_is_joined_and_left_as_it_was() {
        let root = fixture();
        let document = json!({ "closID": "gold", "l3CacheSchema": "L3:0=f" });
        let rdt = plan(&serde_json::from_value(document).unwrap(), "web", root.path()).unwrap();
        rdt.join(77).unwrap();
        assert_eq!((read(&root, "gold/tasks"), read(&root, "gold/schemata")), ("77".into(), "L3:0=f\n".into()));
        rdt.leave().unwrap();
        assert!(root.path().join("gold").is_dir());
    }

    #[test]
    fn the_default_group_can_be_monitored() {
        let root = fixture();
        fs::create_dir(root.path().join("mon_groups/web")).unwrap();
        fs::write(root.path().join("mon_groups/web/tasks"), "").unwrap();
        let document = json!({ "closID": "/", "enableMonitoring": true });
        let rdt = plan(&serde_json::from_value(document).unwrap(), "web", root.path()).unwrap();
        rdt.join(77).unwrap();
        assert_eq!((read(&root, "tasks"), read(&root, "mon_groups/web/tasks")), ("77".into(), "77".into()));
    }

    #[test]
    fn one_more_process_enters_what_is_there() {
        let root = fixture();
        let rdt = Rdt { root: root.path().into(), group: root.path().join("gold"), ..Rdt::default() };
        rdt.enter(78).unwrap();
        assert_eq!((read(&root, "gold/tasks"), read(&root, "gold/schemata")), ("78".into(), String::new()));
    }

    #[test]
    fn a_group_that_must_be_there_and_is_not_is_told() {
        let root = fixture();
        let document = json!({ "closID": "silver" });
        let rdt = plan(&serde_json::from_value(document).unwrap(), "web", root.path()).unwrap();
        assert!(rdt.join(77).unwrap_err().to_string().contains("silver is missing"));
    }

    #[test]
    fn the_kernels_own_sentence_is_told() {
        let root = fixture();
        fs::write(root.path().join("info/last_cmd_status"), "mask f0f has non-consecutive 1-bits\n").unwrap();
        // The kernel would have made the files of a new group; a directory has none.
        let document = json!({ "schemata": ["L3:0=f0f"] });
        let rdt = plan(&serde_json::from_value(document).unwrap(), "web", root.path()).unwrap();
        let error = rdt.join(77).unwrap_err().to_string();
        assert!(error.contains("web/schemata (mask f0f has non-consecutive 1-bits)"), "{error}");
        rdt.leave().unwrap();
        assert!(!root.path().join("web").exists());
    }

    #[test]
    fn abilities_are_what_info_has() {
        let root = fixture();
        assert_eq!(Abilities::of(root.path()), Abilities { l3: true, bandwidth: true, monitoring: true });
        assert_eq!(Abilities::of(Path::new("/nonexistent")), Abilities::default());
    }
}
