//! A container as it is kept between two commands.
//!
//! ```text
//! <root>/<id>/           0711, made first: its name is the lock against a second container of that id
//! ├── state.json         Record, replaced by rename
//! ├── config.json        the document the container was made from, byte for byte until `update` changes it
//! ├── start.sock         the init waits here until `start`; gone afterwards
//! └── notify/            the directory of NOTIFY_SOCKET, when the caller has one
//! ```

use std::{
    collections::HashMap,
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
};

use knarr_cgroup::Cgroup;
use knarr_spec::runtime::Spec;
use knarr_sys::fs::{CWD, Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use super::{
    commands::Context,
    document::{self, Read},
    failure::{At, Failure},
};
use crate::{CreateOptions, resctrl::Rdt};

/// The version of `state.json`.
const RECORD_VERSION: u32 = 1;
/// Others may pass to `notify/`, not look.
const DIRECTORY_MODE: u32 = 0o711;
/// The directory of all containers.
const ROOT_MODE: u32 = 0o700;

/// `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// `ociVersion` of the document.
    pub oci_version: String,
    /// The init.
    pub pid: u32,
    /// When it began, in ticks since boot: another process that got its number later began later.
    pub pid_start_ticks: u64,
    /// Where the root file system is.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// The control group, if it has one.
    pub cgroup: Option<Cgroup>,
    /// Its group of caches and memory bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<Rdt>,
    /// Processes die with the init, because it has a process namespace of its own.
    pub own_processes: bool,
    /// For other programs.
    pub annotations: HashMap<String, String>,
    /// How it was made; has the id and the bundle.
    pub options: CreateOptions,
    /// The document has poststop hooks: only then it is read again at the end. Records without it may have some.
    #[serde(default = "maybe")]
    pub poststop: bool,
}

fn maybe() -> bool {
    true
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's directory and what stands in it.
#[derive(Debug)]
pub(crate) struct Container {
    pub directory: PathBuf,
    pub record: Record,
}

impl Container {
    /// The container the command is about.
    pub(crate) fn of(context: &Context<'_>) -> Result<Container, Failure> {
        Container::load(&context.globals.root, context.id()?)
    }

    pub(crate) fn load(root: &Path, id: &str) -> Result<Container, Failure> {
        check_id(id)?;
        let directory = root.join(id);
        let path = directory.join("state.json");
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::Missing(id.into())),
            other => {
                let bytes = other.at("read", &path)?;
                let wrong = |source| Failure::Json { what: format!("read {}", path.display()), source };
                Ok(Container { record: serde_json::from_slice(&bytes).map_err(wrong)?, directory })
            }
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.record.options.id
    }

    /// Writes `state.json`: whoever reads it meanwhile sees the old one or the new one.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        self.prepare()?;
        self.publish()
    }

    /// Writes what will be `state.json` beside it.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        let new = self.directory.join(".state.json");
        let text = serde_json::to_vec(&self.record).expect("a record has string keys only");
        fs::write(&new, text).at("write", &new)
    }

    /// Puts it in its place: whoever reads it meanwhile sees all of it or nothing.
    pub(crate) fn publish(&self) -> Result<(), Failure> {
        let (path, new) = (self.directory.join("state.json"), self.directory.join(".state.json"));
        fs::rename(&new, &path).at("write", &path)
    }

    /// The document it was made from.
    pub(crate) fn spec(&self) -> Result<Spec, Failure> {
        read_spec(&self.directory.join("config.json")).map(|(read, _)| read.document)
    }

    /// The socket its init waits at.
    pub(crate) fn gate(&self) -> PathBuf {
        self.directory.join("start.sock")
    }

    /// Whether the init lives: no zombie, and not another process with its number.
    pub(crate) fn alive(&self) -> bool {
        ticks_if_alive(self.record.pid) == Some(self.record.pid_start_ticks)
    }

    pub(crate) fn status(&self) -> Status {
        let paused = || self.record.cgroup.as_ref().is_some_and(|cgroup| cgroup.frozen().unwrap_or(false));
        match () {
            () if !self.alive() => Status::Stopped,
            () if paused() => Status::Paused,
            () if self.gate().exists() => Status::Created,
            () => Status::Running,
        }
    }

    /// The state as hooks and `state` tell it.
    pub(crate) fn state(&self, status: crate::Status) -> crate::State {
        crate::State {
            oci_version: self.record.oci_version.clone(),
            id: self.id().into(),
            status,
            pid: (status != crate::Status::Stopped).then_some(self.record.pid),
            bundle: self.record.options.bundle.clone(),
            annotations: self.record.annotations.clone(),
        }
    }
}

/// A record of a container that was just made.
pub(crate) fn record(spec: &Spec, options: &CreateOptions, rootfs: PathBuf, created: String) -> Record {
    let kinds = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let own = |namespace: &knarr_spec::runtime::LinuxNamespace| {
        namespace.typ() == knarr_spec::runtime::LinuxNamespaceType::Pid && namespace.path().is_none()
    };
    Record {
        version: RECORD_VERSION,
        oci_version: spec.version().clone(),
        pid: 0,
        pid_start_ticks: 0,
        rootfs,
        created,
        cgroup: None,
        rdt: None,
        own_processes: kinds.is_some_and(|kinds| kinds.iter().any(own)),
        annotations: spec.annotations().clone().unwrap_or_default(),
        options: options.clone(),
        poststop: spec
            .hooks()
            .as_ref()
            .and_then(|hooks| hooks.poststop().as_ref())
            .is_some_and(|hooks| !hooks.is_empty()),
    }
}

/// runc's rule: letters, digits and `_+-.`, and neither `.` nor `..`.
pub(crate) fn check_id(id: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    match id {
        "" => Err(Failure::EmptyId),
        "." | ".." => Err(Failure::InvalidId(id.into())),
        _ if id.len() > 255 || !id.chars().all(allowed) => Err(Failure::InvalidId(id.into())),
        _ => Ok(()),
    }
}

/// The document and its bytes.
pub(crate) fn read_spec(path: &Path) -> Result<(Read<Spec>, Vec<u8>), Failure> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failure::NoConfig(path.into())),
        other => other.at("read", path)?,
    };
    Ok((document::read(&bytes, path, "/process")?, bytes))
}

/// Makes the directory of a new container; the one who can make it owns the id.
pub(crate) fn make_directory(root: &Path, id: &str) -> Result<PathBuf, Failure> {
    check_id(id)?;
    let directory = root.join(id);
    let make = || fs::DirBuilder::new().mode(DIRECTORY_MODE).create(&directory);
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::Exists(id.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().mode(ROOT_MODE).recursive(true).create(root).at("make", root)?;
            make().at("make", &directory).map(|()| directory)
        }
        other => other.at("make", &directory).map(|()| directory),
    }
}

/// A socket's address holds 107 bytes, the directories of engines are longer: a path through an open directory is short.
pub(crate) struct ShortPath {
    _directory: OwnedFd,
    pub path: PathBuf,
}

pub(crate) fn short(path: &Path) -> Result<ShortPath, Failure> {
    let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let opened = openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let directory = opened.map_err(io::Error::from).at("open", parent)?;
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok(ShortPath { _directory: directory, path })
}

/// Field 22 of `/proc/<pid>/stat`, unless the process is a zombie or gone.
pub(crate) fn ticks_if_alive(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, so the last one counts.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") { None } else { fields.nth(18)?.parse().ok() }
}
