//! Being root without being root: the user namespace an ordinary user's containers live in.
//!
//! Spec: user_namespaces(7), subuid(5), newuidmap(1).
//! Law: entered before the store is opened and before any file of a layer or container is touched; the process has one thread.
//! Our own id becomes 0, the ranges of `/etc/subuid` and `/etc/subgid` follow from 1 on; without them 0 is the only id there is.

use std::path::{Path, PathBuf};
use std::process::Command;

use knarr_sys::user_namespaces::{EnterError, enter};

use crate::context::Caller;

/// Ids inside, ids outside, how many: one line of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Why there is no namespace.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The kernel does not let an ordinary user make one.
    #[error("cannot make a user namespace: {0}")]
    Denied(#[source] knarr_sys::Error),
    /// The maps could not be written.
    #[error("cannot map user ids: {0}")]
    Map(String),
    /// The namespace of a container's monitor cannot be joined.
    #[error("cannot join the user namespace of process {pid}")]
    Join {
        /// The monitor.
        pid: u32,
        /// Why not.
        source: knarr_sys::Error,
    },
}

impl RootlessError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            RootlessError::Denied(_) => Some(
                "allow it: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1 and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            RootlessError::Map(_) => {
                Some("install the package uidmap (newuidmap, newgidmap) and check /etc/subuid and /etc/subgid")
            }
            RootlessError::Join { .. } => None,
        }
    }
}

/// What of the host the maps are made from.
#[derive(Debug, Clone, Default)]
pub struct MapSource {
    /// Contents of `/etc/subuid`.
    pub subuid: String,
    /// Contents of `/etc/subgid`.
    pub subgid: String,
    /// Directories where newuidmap and newgidmap are looked for.
    pub path: Vec<PathBuf>,
}

/// What was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The user ids.
    pub uids: Vec<Range>,
    /// The group ids.
    pub gids: Vec<Range>,
    /// Something the user should know: with one id only, most images do not work.
    pub note: Option<String>,
}

/// The map of one kind of ids: our own as 0, then the ranges `file` gives to `name` or to the number `id`.
pub fn map(file: &str, name: &str, user: u32, own: u32) -> Vec<Range> {
    let mut map = vec![Range { inside: 0, outside: own, count: 1 }];
    let mut next = 1u32;
    for line in file.lines() {
        let [owner, start, count] = line.trim().split(':').collect::<Vec<_>>()[..] else { continue };
        if owner != name && owner.parse() != Ok(user) {
            continue;
        }
        let (Ok(outside), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
        let Some(end) = next.checked_add(count) else { continue };
        if count > 0 {
            map.push(Range { inside: next, outside, count });
            next = end;
        }
    }
    map
}

/// Moves this process into a user namespace of its own.
pub fn enter_namespace(caller: &Caller, source: &MapSource) -> Result<Entered, RootlessError> {
    let uids = map(&source.subuid, &caller.name, caller.uid, caller.uid);
    let gids = map(&source.subgid, &caller.name, caller.uid, caller.gid);
    let helpers = find(&source.path, "newuidmap").zip(find(&source.path, "newgidmap"));
    let entered = match helpers {
        Some((newuidmap, newgidmap)) if uids.len() > 1 && gids.len() > 1 => {
            enter(|pid| run_mapper(&newgidmap, pid, &gids).and_then(|()| run_mapper(&newuidmap, pid, &uids)))
                .map(|()| None)
        }
        found => {
            let missing = if found.is_none() {
                "newuidmap is not installed"
            } else {
                "/etc/subuid or /etc/subgid has no range for you"
            };
            let note =
                format!("{missing}: only uid 0 exists in your containers; images with other users will not work");
            enter(|pid| write_single(pid, caller)).map(|()| Some(note))
        }
    };
    let note = entered.map_err(|error| match error {
        EnterError::Call(error) => RootlessError::Denied(error),
        EnterError::Map(text) => RootlessError::Map(text),
    })?;
    let single = note.is_some();
    if !single {
        // Groups of the caller are not mapped; files of theirs would look like nobody's and still be writable.
        let _ = knarr_sys::credentials::set_groups(&[]);
    }
    let cut = |map: Vec<Range>| if single { map[..1].to_vec() } else { map };
    Ok(Entered { uids: cut(uids), gids: cut(gids), note })
}

/// Joins the namespaces of the monitor `pid`.
pub fn join_namespace(pid: u32) -> Result<(), RootlessError> {
    knarr_sys::user_namespaces::join(pid).map_err(|source| RootlessError::Join { pid, source })
}

fn find(path: &[PathBuf], name: &str) -> Option<PathBuf> {
    path.iter().map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn run_mapper(program: &Path, pid: u32, map: &[Range]) -> Result<(), String> {
    let numbers = map.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    let arguments = std::iter::once(pid).chain(numbers).map(|number| number.to_string());
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim()))
}

/// One id each needs no helper, but gives up setgroups(2).
fn write_single(pid: u32, caller: &Caller) -> Result<(), String> {
    let files = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {} 1", caller.uid)),
        ("gid_map", format!("0 {} 1", caller.gid)),
    ];
    for (file, text) in files {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, text).map_err(|error| format!("write {path}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, expect: &[(u32, u32, u32)]) {
        let map: Vec<_> = map(file, "u1", 1001, 1001).iter().map(|r| (r.inside, r.outside, r.count)).collect();
        assert_eq!(map, expect);
    }

    #[test]
    fn ranges_follow_our_own_id_in_order() {
        let file = "root:1:1\nu1:100000:65536\nu1:300000:10\n";
        check(file, &[(0, 1001, 1), (1, 100000, 65536), (65537, 300000, 10)]);
    }

    #[test]
    fn a_user_may_be_named_by_number() {
        check("1001:5000:7", &[(0, 1001, 1), (1, 5000, 7)]);
    }

    #[test]
    fn nonsense_is_skipped() {
        check("u1\nu1:x:1\nu1:1\n# u1:1:1\nu1:9:0\nu1:1:4294967295\n", &[(0, 1001, 1)]);
    }
}
