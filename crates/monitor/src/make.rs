//! How the supervised process comes to be: by our runtime in this process, by a foreign one, or by joining a container.
//!
//! Law: returns a process that is our child (or, as the subreaper's, will be), and a gate where it waits for its start.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use knarr_cgroup::{Cgroup, Directory};
use knarr_runtime::{CreateOptions, Created, ExecTarget, Host, NewNetwork, RootSource, Stdio};
use knarr_spec::runtime::{LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, Spec};
use serde::Deserialize;

pub(crate) use crate::foreign::Foreign;
use crate::{Error, ExecConfig, Status, read_state};

/// How to make it.
#[derive(Debug)]
pub(crate) enum Maker {
    /// A container, by our runtime.
    Own(CreateOptions),
    /// A container, by another runtime.
    Foreign(Foreign, RootSource),
    /// A process in a container.
    Join(Box<ExecConfig>),
}

/// A process that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// The terminal's master.
    pub(crate) console: Option<OwnedFd>,
    pub(crate) cgroup: Option<Cgroup>,
    /// `None`: it runs already.
    pub(crate) gate: Option<Gate>,
    /// Where the kernel counts its deaths for lack of memory.
    pub(crate) memory: Option<Directory>,
    /// Who has to delete it.
    pub(crate) foreign: Option<Foreign>,
}

/// Where a container waits for its start.
#[derive(Debug)]
pub(crate) enum Gate {
    Own(Box<Created>),
    Foreign(Foreign),
}

impl Gate {
    pub(crate) fn open(self) -> Result<(), Error> {
        match self {
            Gate::Own(created) => Ok(created.start().map(drop)?),
            Gate::Foreign(foreign) => foreign.start(),
        }
    }

    /// Kills what waits behind it and takes back what was made for it.
    pub(crate) fn abandon(self) {
        match self {
            Gate::Own(created) => created.abandon(),
            Gate::Foreign(foreign) => foreign.delete(),
        }
    }
}

impl Maker {
    pub(crate) fn make(&self, stdio: Stdio, terminal: bool) -> Result<Made, Error> {
        match self {
            Maker::Own(options) => create(options, stdio),
            Maker::Foreign(foreign, root) => foreign.create(root, stdio, terminal),
            Maker::Join(config) => join(config, stdio, terminal),
        }
    }
}

fn create(options: &CreateOptions, stdio: Stdio) -> Result<Made, Error> {
    let spec: Spec = load(&options.bundle.join("config.json"))?;
    let network = NewNetwork::begin(&spec);
    let options = CreateOptions { pdeathsig: true, ..options.clone() };
    let plan = knarr_runtime::plan(&spec, &Host::probe(), &options).map_err(knarr_runtime::Error::from)?;
    let mut created = knarr_runtime::create(plan, stdio, network)?;
    let pidfd = created.pidfd().try_clone_to_owned().map_err(Error::call("duplicate a pidfd"))?;
    Ok(Made {
        pid: created.pid(),
        pidfd,
        console: created.take_console(),
        cgroup: created.cgroup().cloned(),
        memory: created.cgroup().and_then(|cgroup| cgroup.directory("memory")).cloned(),
        gate: Some(Gate::Own(Box::new(created))),
        foreign: None,
    })
}

/// What an exec needs of a container's document.
#[derive(Debug, Default, Deserialize)]
struct SpecPart {
    #[serde(default, rename = "ociVersion")]
    oci_version: String,
    #[serde(default)]
    annotations: HashMap<String, String>,
    #[serde(default)]
    linux: LinuxPart,
}

#[derive(Debug, Default, Deserialize)]
struct LinuxPart {
    seccomp: Option<LinuxSeccomp>,
    #[serde(default)]
    personality: Option<LinuxPersonality>,
    #[serde(default, rename = "memoryPolicy")]
    memory_policy: Option<LinuxMemoryPolicy>,
}

fn join(config: &ExecConfig, stdio: Stdio, terminal: bool) -> Result<Made, Error> {
    let state = read_state(&config.container_run_dir, &config.bundle)?;
    if state.status != Status::Running {
        return Err(Error::NotRunning { id: config.container.clone() });
    }
    if let Some(program) = &config.runtime {
        return Foreign::of_session(program, config).exec(&config.process, stdio, terminal);
    }
    let part: SpecPart = load(&config.bundle.join("config.json"))?;
    let target = ExecTarget {
        pid: state.pid,
        cgroup: state.cgroup,
        seccomp: part.linux.seccomp,
        annotations: part.annotations.clone(),
        personality: part.linux.personality,
        memory_policy: part.linux.memory_policy,
        state: Some(knarr_runtime::State {
            oci_version: part.oci_version,
            id: config.container.clone(),
            status: knarr_runtime::Status::Running,
            pid: Some(state.pid),
            bundle: config.bundle.clone(),
            annotations: part.annotations,
        }),
        pdeathsig: true,
        ..ExecTarget::default()
    };
    let running = knarr_runtime::exec(&target, &config.process, stdio)?;
    Ok(Made {
        pid: running.pid,
        pidfd: running.pidfd,
        console: running.console,
        cgroup: None,
        memory: None,
        gate: None,
        foreign: None,
    })
}

fn load<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Config { path: path.to_owned(), source })
}

/// The pid in a file that a runtime wrote.
pub(crate) fn read_pid(path: &PathBuf) -> Result<u32, Error> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let invalid = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{text:?} is no process id"));
    text.trim().parse().map_err(invalid).map_err(Error::io("read", path))
}

/// An empty file's contents, or none.
pub(crate) fn read_or_empty(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut bytes));
    bytes
}
