//! Who is in a cgroup, and signals to all of them.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use knarr_sys::{Errno, pidfd};

use crate::{
    Cgroup, Directory, Error,
    files::{read_if_there, try_write},
    freeze,
};

const SIGKILL: i32 = 9;
/// A fork can slip away between two readings of the list; what forks faster than this many are read is stopped by the freezer.
const KILL_ROUNDS_MAX: usize = 16;

/// The processes in it and below, sorted. Every directory holds the same, so the best one is asked.
pub(crate) fn processes(cgroup: &Cgroup) -> Result<Vec<u32>, Error> {
    let Some(directory) = whole(cgroup) else { return Ok(Vec::new()) };
    let mut pids = Vec::new();
    for directory in tree(&directory.path) {
        pids.extend(in_directory(&directory)?);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// The directory to look into: version 2, or the freezer, or any.
pub(crate) fn whole(cgroup: &Cgroup) -> Option<&Directory> {
    cgroup.v2().or_else(|| cgroup.directory("freezer")).or(cgroup.directories.first())
}

/// The processes of one directory; none when it is gone. A list of threads answers where one of processes is refused.
pub(crate) fn in_directory(directory: &Path) -> Result<Vec<u32>, Error> {
    const EOPNOTSUPP: i32 = 95;
    let list = match read_if_there(&directory.join("cgroup.procs")) {
        Err(Error::Read { source, .. }) if source.raw_os_error() == Some(EOPNOTSUPP) => {
            read_if_there(&directory.join("cgroup.threads"))?
        }
        other => other?,
    };
    // 0: a process of another pid namespace.
    Ok(list.unwrap_or_default().lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect())
}

/// How long to wait for what nothing tells of: one that has ended is still on its way out of the list, or out of the cgroup.
pub(crate) const UNEXPLAINED: Duration = Duration::from_millis(1);

/// Until a process of a list has ended, at most so long; not at all for one that has, or that cannot be waited for.
pub(crate) fn until_ended(pid: u32, limit: Duration) {
    let had_ended = |handle: &OwnedFd| pidfd::ended_within(handle, Some(Duration::ZERO)).unwrap_or(true);
    match pidfd::open(pid) {
        Ok(handle) if !had_ended(&handle) => drop(pidfd::ended_within(&handle, Some(limit))),
        _ => std::thread::sleep(UNEXPLAINED),
    }
}

/// The directory and all below it, each before its children. Not through links: the kernel makes none there.
pub(crate) fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut all = vec![directory.to_owned()];
    let mut next = 0;
    while next < all.len() {
        let entries = fs::read_dir(&all[next]).into_iter().flatten().flatten();
        let children =
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
        all.extend(children.collect::<Vec<_>>());
        next += 1;
    }
    all
}

/// SIGKILL to all: `cgroup.kill` (version 2, Linux 5.14) leaves nobody out. Without it the list is read until it is empty, frozen
/// so that nobody forks meanwhile.
pub(crate) fn kill(cgroup: &Cgroup) -> Result<(), Error> {
    if let Some(directory) = cgroup.v2()
        && try_write(&directory.path.join("cgroup.kill"), "1").is_ok()
    {
        return Ok(());
    }
    let frozen = freeze::freeze(cgroup).is_ok();
    for _ in 0..KILL_ROUNDS_MAX {
        signal(cgroup, SIGKILL)?;
        if frozen || processes(cgroup)?.is_empty() {
            break;
        }
    }
    if frozen { freeze::thaw(cgroup) } else { Ok(()) }
}

/// A signal to each process of the list. One that ended meanwhile has got what it needed.
pub(crate) fn signal(cgroup: &Cgroup, signal: i32) -> Result<(), Error> {
    for pid in processes(cgroup)? {
        let sent = match pidfd::open(pid) {
            Err(error) if pidfd::is_missing(&error) => pidfd::kill(pid, signal),
            handle => handle.and_then(|pidfd| pidfd::send_signal(&pidfd, signal)),
        };
        if let Err(error) = sent
            && error.errno != Errno::SRCH
        {
            return Err(Error::Signal { pid, signal, source: error });
        }
    }
    Ok(())
}
