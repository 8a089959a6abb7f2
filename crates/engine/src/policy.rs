//! From an image's config, a user's wish and the facts of the host to the runtime document.
//!
//! Spec: runtime-spec 1.3 config.md, config-linux.md; the defaults are docker's, or safer where nothing breaks by it.
//! Law: pure. Reads no file; what must be looked up (users, volumes, devices, the host's resolver) comes in as values.
//! Not here: choosing the image, making directories, running anything.

mod files;
pub(crate) mod linux;
mod mounts;
mod process;
mod resources;

use std::collections::HashMap;
use std::path::PathBuf;

use knarr_spec::image::ContainerConfig;
use knarr_spec::runtime::{RootBuilder, Spec, SpecBuilder};

use crate::userdb::ResolvedUser;
use crate::wanted::{MountKind, ParseError, Wanted};

pub use files::{hostname_file, hosts_file, resolv_conf};
pub use mounts::{INIT_PATH, image_volumes};
pub use process::{DEFAULT_PATH, ExecChanges, command, exec_process};

/// What of the host matters to the document.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct HostFacts {
    /// We run in a user namespace of our own making.
    pub rootless: bool,
    /// Highest group id mapped there; 5 and more lets devpts belong to `tty`.
    pub gid_max: u32,
    /// The host's own name.
    pub hostname: String,
    /// Processors, for the masks of their thermal counters.
    pub cpus: u32,
    /// Name of the default AppArmor profile, where the kernel has AppArmor and the profile is loaded.
    pub apparmor: Option<String>,
    /// Device nodes of the host, for `--privileged`.
    pub devices: Vec<HostDevice>,
    /// No control group can be made for the container: it stays in ours, without limits.
    pub no_cgroup: bool,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HostDevice {
    /// Path inside the container.
    pub path: PathBuf,
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Some of `rwm`.
    pub access: String,
}

/// A mount with its source made and known.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResolvedMount {
    /// The name of the volume, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Host path; empty for memory.
    pub source: PathBuf,
    /// Path inside.
    pub target: String,
    /// No writing.
    pub read_only: bool,
    /// As asked.
    pub kind: MountKind,
}

/// All that goes into a document.
#[derive(Debug, Clone)]
pub struct Basis<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The directory that holds `hosts`, `hostname` and `resolv.conf`.
    pub dir: PathBuf,
    /// What the user wants.
    pub wanted: &'a Wanted,
    /// What the image says.
    pub image: &'a ContainerConfig,
    /// The host.
    pub host: &'a HostFacts,
    /// Who the process runs as.
    pub user: &'a ResolvedUser,
    /// Binds, volumes and tmpfs, sources made.
    pub mounts: &'a [ResolvedMount],
    /// `--device`, looked up.
    pub devices: &'a [HostDevice],
    /// A binary to bind as process 1, where `--init` asks for it.
    pub init_binary: Option<PathBuf>,
}

/// The release of the specification a document names. A runtime may refuse a newer one than its own, as crun 1.8 does with
/// 1.1, and MUST ignore properties it does not know (config.md, "Extensibility").
const ANY_RUNTIME_KNOWS: &str = "1.0.2";

/// The release that brought `domainname` and `seccomp.listenerPath`.
const HAS_DOMAIN_NAME_AND_LISTENER: &str = "1.1.0";

/// Why there can be no document.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Neither image nor user name a program.
    #[error("no command specified")]
    NoCommand,
    /// A value that only shows itself wrong here.
    #[error(transparent)]
    Value(#[from] ParseError),
    /// The seccomp profile is no JSON document of docker's form.
    #[error("seccomp profile")]
    Seccomp(#[source] serde_json::Error),
    /// Two options that exclude each other.
    #[error("conflicting options: {0} and {1}")]
    Conflict(&'static str, &'static str),
    /// Below what the kernel can run a process in.
    #[error("minimum memory limit allowed is 6MB, {0} bytes asked")]
    MemoryTooSmall(i64),
}

/// The name a container sees as its own: the wanted one, the host's where it shares the host's, else the short id.
pub fn hostname(basis: &Basis) -> String {
    let namespaces = &basis.wanted.namespaces;
    let shared = namespaces.uts_host || namespaces.network == crate::wanted::Network::Host;
    match &basis.wanted.hostname {
        Some(name) => name.clone(),
        None if shared && !basis.host.hostname.is_empty() => basis.host.hostname.clone(),
        None => basis.id.chars().take(12).collect(),
    }
}

/// The runtime document.
pub fn spec(basis: &Basis) -> Result<Spec, PolicyError> {
    check_conflicts(basis.wanted)?;
    let root = RootBuilder::default().path("rootfs").readonly(basis.wanted.read_only).build();
    let mut spec = SpecBuilder::default()
        .version(ANY_RUNTIME_KNOWS)
        .root(root.expect("every field has a default"))
        .process(process::process(basis)?)
        .mounts(mounts::mounts(basis))
        .linux(linux::linux(basis)?)
        .build()
        .expect("every field has a default");
    let own_name = !basis.wanted.namespaces.uts_host;
    spec.set_hostname(own_name.then(|| hostname(basis)));
    spec.set_domainname(basis.wanted.domainname.clone());
    let annotations: HashMap<_, _> = basis.wanted.annotations.clone().into_iter().collect();
    spec.set_annotations(Some(annotations).filter(|map| !map.is_empty()));
    if needs_newer(&spec) {
        spec.set_version(HAS_DOMAIN_NAME_AND_LISTENER.to_owned());
    }
    Ok(spec)
}

/// Whether the document asks for what an older runtime would leave out without a word. Not an `errnoRet`: what ignores it
/// answers EPERM, which is as strict.
fn needs_newer(spec: &Spec) -> bool {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    spec.domainname().is_some() || seccomp.is_some_and(|seccomp| seccomp.listener_path().is_some())
}

fn check_conflicts(wanted: &Wanted) -> Result<(), PolicyError> {
    let resources = &wanted.resources;
    if resources.nano_cpus.is_some() && (resources.cpu_quota_us.is_some() || resources.cpu_period_us.is_some()) {
        return Err(PolicyError::Conflict("--cpus", "--cpu-period or --cpu-quota"));
    }
    if wanted.namespaces.uts_host && (wanted.hostname.is_some() || wanted.domainname.is_some()) {
        return Err(PolicyError::Conflict("--hostname", "--uts=host"));
    }
    Ok(())
}
