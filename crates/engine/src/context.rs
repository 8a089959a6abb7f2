//! Where things are and what the caller's world looks like: all that a library must not find out for itself.
//!
//! Law: values only. The faces read the environment, the home directory and the current directory, and pass them down here.

use std::cell::RefCell;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use knarr_store::{Store, StoreOptions};

use crate::{Error, Result};

/// The two directories everything of the engine lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// What survives a reboot: the database, blobs, layers, volumes, records.
    pub state: PathBuf,
    /// What does not: sockets, locks, states of running containers.
    pub run: PathBuf,
}

impl Paths {
    /// `containers/<id>` under the state: the bundle, the log, the end.
    pub fn container(&self, id: &str) -> PathBuf {
        self.state.join("containers").join(id)
    }

    /// `containers/<id>` under the run directory: lock, state, socket.
    pub fn container_run(&self, id: &str) -> PathBuf {
        self.run.join("containers").join(id)
    }
}

/// Who called, as the kernel and the user database know them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id outside any user namespace of ours.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Login name, for `/etc/subuid`; the number where there is none.
    pub name: String,
}

impl Caller {
    /// The numbers of this process; the name is the face's to find.
    pub fn current() -> Caller {
        let (uid, gid) = (knarr_sys::credentials::effective_user(), knarr_sys::credentials::effective_group());
        Caller { uid, gid, name: String::new() }
    }

    /// Whether this process is in a user namespace other than the machine's first.
    pub fn nested() -> bool {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        !map.is_empty() && !knarr_sys::user_namespaces::is_initial(&map)
    }
}

/// In which user namespace this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// The machine's first, as root.
    Initial,
    /// One of an ordinary user's making, as its root.
    Own,
    /// The machine's first, as an ordinary user: enough to read records.
    Outside,
}

/// Everything a verb needs beside its own arguments.
pub struct Context {
    /// Where things are.
    pub paths: Paths,
    /// In which user namespace we are.
    pub namespace: Namespace,
    /// The highest group id that exists here.
    pub gid_max: u32,
    /// The store, opened once.
    pub store: Store,
    /// Notes for the user, printed by the face.
    pub notes: RefCell<Vec<String>>,
}

impl Context {
    /// Opens the store, making its directories where they are missing.
    pub fn open(paths: Paths, namespace: Namespace, gid_max: u32) -> Result<Context> {
        let store = Store::open(&paths.state, &StoreOptions { rootless: namespace != Namespace::Initial })?;
        Ok(Context { paths, namespace, gid_max, store, notes: RefCell::default() })
    }

    /// Whether containers live in a user namespace.
    pub fn rootless(&self) -> bool {
        self.namespace != Namespace::Initial
    }

    /// Leaves a note for the user.
    pub fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }
}

/// The default directories: `/var/lib/knarr` and `/run/knarr` for root, XDG's for others. `None` without a home directory.
pub fn default_paths(
    uid: u32,
    home: Option<&Path>,
    xdg_data: Option<&Path>,
    xdg_runtime: Option<&Path>,
) -> Option<Paths> {
    if uid == 0 {
        return Some(Paths { state: "/var/lib/knarr".into(), run: "/run/knarr".into() });
    }
    let absolute = |path: Option<&Path>| path.filter(|path| path.is_absolute()).map(Path::to_path_buf);
    let data = absolute(xdg_data).or_else(|| absolute(home).map(|home| home.join(".local/share")))?;
    let run = match absolute(xdg_runtime) {
        Some(runtime) => runtime.join("knarr"),
        None => PathBuf::from(format!("/tmp/knarr-{uid}")),
    };
    Some(Paths { state: data.join("knarr"), run })
}

/// Makes the run directory, or checks that the one that is there is ours alone: in `/tmp` anybody could have made it.
pub fn secure_run_dir(run: &Path, uid: u32) -> Result<()> {
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(run) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("create", run)(error)),
    }
    let found = std::fs::symlink_metadata(run).map_err(Error::io("stat", run))?;
    let refuse = |why: String| Err(Error::RunDir { path: run.to_owned(), why });
    match found.mode() & 0o7777 {
        _ if !found.is_dir() => refuse("is not a directory".to_owned()),
        _ if found.uid() != uid => refuse(format!("belongs to uid {}", found.uid())),
        mode if mode & 0o022 != 0 => refuse(format!("has mode {mode:o}, others may write")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uid: u32, home: Option<&str>, runtime: Option<&str>, expect: Option<(&str, &str)>) {
        let paths = default_paths(uid, home.map(Path::new), None, runtime.map(Path::new));
        assert_eq!(paths, expect.map(|(state, run)| Paths { state: state.into(), run: run.into() }));
    }

    #[test]
    fn root_has_the_systems_directories() {
        check(0, Some("/root"), Some("/run/user/0"), Some(("/var/lib/knarr", "/run/knarr")));
    }

    #[test]
    fn an_ordinary_user_has_their_own() {
        check(
            1000,
            Some("/home/u"),
            Some("/run/user/1000"),
            Some(("/home/u/.local/share/knarr", "/run/user/1000/knarr")),
        );
        check(1000, Some("/home/u"), None, Some(("/home/u/.local/share/knarr", "/tmp/knarr-1000")));
    }

    #[test]
    fn without_a_home_there_is_no_place() {
        check(1000, None, None, None);
        check(1000, Some("home"), None, None);
    }

    #[test]
    fn a_run_directory_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let uid = std::fs::metadata(dir.path()).unwrap().uid();
        let run = dir.path().join("run");
        secure_run_dir(&run, uid).unwrap();
        assert!(secure_run_dir(&run, uid + 1).is_err());
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(secure_run_dir(&run, uid).is_err());
    }
}
