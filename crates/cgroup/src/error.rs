//! What can go wrong with a cgroup.

use std::{io, path::PathBuf};

/// What, where, why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the cgroup or of `/proc` could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the cgroup could not be written.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// Why.
        source: io::Error,
    },
    /// A directory could not be made.
    #[error("make cgroup {}", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory could not be given to the container's root.
    #[error("give {} to user {uid}", path.display())]
    Delegate {
        /// The directory or file.
        path: PathBuf,
        /// The new owner.
        uid: u32,
        /// Why.
        source: io::Error,
    },
    /// A directory could not be removed.
    #[error("remove cgroup {}", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Processes did not leave in time.
    #[error("remove cgroup {}: still holds processes {pids:?}", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
        /// Those that are left.
        pids: Vec<u32>,
    },
    /// A container may not share its cgroup by accident.
    #[error("container's cgroup is not empty: {} holds processes {pids:?}", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Those in it.
        pids: Vec<u32>,
    },
    /// A process that enters a frozen cgroup stands still at once, and whoever waits for it waits for ever.
    #[error("container's cgroup unexpectedly frozen: {}", path.display())]
    Frozen {
        /// The directory.
        path: PathBuf,
    },
    /// `linux.cgroupsPath` cannot be used.
    #[error("cgroupsPath {}: {why}", path.display())]
    Path {
        /// As in the document.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A limit needs a controller that this machine, or this user, does not have.
    #[error("{what} needs the cgroup controller {controller}, which is not available here")]
    Missing {
        /// The part of `linux.resources`.
        what: &'static str,
        /// The controller's name.
        controller: &'static str,
    },
    /// A limit has no counterpart in this version of control groups.
    #[error("{what} does not exist in cgroup version {version}")]
    Unsupported {
        /// The field of `linux.resources`.
        what: &'static str,
        /// 1 or 2.
        version: u8,
    },
    /// A file of version 2 for a controller that is in version 1 here.
    #[error(
        "invalid configuration: linux.resources.unified: {file}: the controller {controller} is in cgroup version 1 here"
    )]
    UnifiedInVersion1 {
        /// The file.
        file: String,
        /// Its controller.
        controller: String,
    },
    /// What is no name of a file of version 2.
    #[error("linux.resources.unified: the specified key has not the form CONTROLLER.VALUE `{file}`")]
    UnifiedKey {
        /// As found.
        file: String,
    },
    /// A file of a controller that is not there.
    #[error("linux.resources.unified: {file}: the requested cgroup controller `{controller}` is not available")]
    UnifiedMissing {
        /// The file.
        file: String,
        /// Its controller.
        controller: String,
    },
    /// A value that makes no sense.
    #[error("{what}: {value}: {why}")]
    Invalid {
        /// The field of `linux.resources`.
        what: &'static str,
        /// As found.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `checkBeforeUpdate`: the limit would kill at once.
    #[error("rejecting memory limit {limit}: {usage} bytes are in use")]
    BelowUsage {
        /// The wanted limit.
        limit: i64,
        /// What is used now.
        usage: i64,
    },
    /// Processes did not stop in time.
    #[error("freeze {}: not every process stopped within {} s", path.display(), crate::freeze::FREEZE_MAX.as_secs())]
    Freeze {
        /// The directory.
        path: PathBuf,
    },
    /// There is nothing here to freeze with.
    #[error("freeze: the container has no cgroup that can be frozen")]
    NoFreezer,
    /// A process could not be sent a signal.
    #[error("signal {signal} to process {pid} of the cgroup")]
    Signal {
        /// The process.
        pid: u32,
        /// The signal.
        signal: i32,
        /// The call that failed.
        source: knarr_sys::Error,
    },
    /// systemd did not do what it was asked.
    #[error(transparent)]
    Systemd(#[from] knarr_systemd::Error),
    /// A device filter could not be loaded or attached.
    #[error("device filter of {}", path.display())]
    Devices {
        /// The directory.
        path: PathBuf,
        /// The call that failed.
        source: knarr_sys::Error,
    },
}

impl Error {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
        match self {
            Error::Missing { .. } => Some(
                "leave the limit out, or have the controller delegated (systemd: Delegate=yes in user@.service.d; kernel: cgroup_enable=)",
            ),
            Error::NotEmpty { .. } => {
                Some("a container of this name may still run, or was not deleted; delete it first")
            }
            Error::Make { source, .. } | Error::Write { source, .. } => match source.kind() {
                PermissionDenied | ReadOnlyFilesystem => Some(
                    "this user may not change that cgroup; run as root, or in a delegated cgroup (systemd-run --user --scope -p Delegate=yes)",
                ),
                NotFound => Some("the kernel does not have this file; leave the limit out"),
                ResourceBusy => {
                    Some("a cgroup (version 2) with processes in it cannot hand controllers to its children")
                }
                _ => None,
            },
            Error::Systemd(error) => error.hint(),
            Error::Frozen { .. } => Some("thaw or remove the cgroup first"),
            Error::Busy { .. } => Some("kill the processes, then delete again"),
            _ => None,
        }
    }
}
