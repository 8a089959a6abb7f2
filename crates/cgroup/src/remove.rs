//! Removing a cgroup's directories.
//!
//! A directory goes when no process is in it. A killed process leaves a moment after its parent hears of it, so EBUSY is normal:
//! version 2 tells in `cgroup.events` when the last has left, in version 1 the processes themselves are waited for.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Cgroup, Directory, Error,
    files::gone,
    freeze::{event, until},
    layout::Version,
    processes::{UNEXPLAINED, in_directory, tree, until_ended},
};

/// How long one cgroup's processes have to leave.
const LEAVE_MAX: Duration = Duration::from_secs(5);

pub(crate) fn remove(cgroup: &Cgroup) -> Result<(), Error> {
    let deadline = Instant::now() + LEAVE_MAX;
    let mut first = Ok(());
    for directory in &cgroup.directories {
        let removed = remove_tree(directory, deadline);
        first = first.and(removed);
    }
    first
}

/// The usual case first: nothing below, nobody in it.
fn remove_tree(directory: &Directory, deadline: Instant) -> Result<(), Error> {
    if fs::remove_dir(&directory.path).is_ok() {
        return Ok(());
    }
    tree(&directory.path).iter().rev().try_for_each(|path| remove_one(path, directory.version, deadline))
}

fn remove_one(path: &Path, version: Version, deadline: Instant) -> Result<(), Error> {
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if gone(&error) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                wait(path, version, deadline)?;
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(Error::Busy { path: path.into(), pids: in_directory(path)? });
            }
            Err(source) => return Err(Error::Remove { path: path.into(), source }),
        }
    }
}

/// Waits until somebody left.
fn wait(path: &Path, version: Version, deadline: Instant) -> Result<(), Error> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let explained = match version {
        Version::V2 => {
            let populated = |events: &str| event(events, "populated") == Some("1");
            let was = fs::read_to_string(path.join("cgroup.events")).is_ok_and(|events| populated(&events));
            was && until(&path.join("cgroup.events"), left(), |events| !populated(events))?
        }
        Version::V1 => match in_directory(path)?.first() {
            Some(pid) => {
                until_ended(*pid, left());
                true
            }
            None => false,
        },
    };
    if !explained {
        std::thread::sleep(UNEXPLAINED);
    }
    Ok(())
}
