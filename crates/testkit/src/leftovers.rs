//! What a test left behind: mounts and processes that mention its directory.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{process, wait};

/// A process that still knows the directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its id.
    pub pid: u32,
    /// Its arguments, for the report.
    pub args: String,
}

/// Mount points of ours that have `directory` in their line.
pub fn mounts(directory: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let needle = directory.display().to_string();
    let ours = table.lines().filter(|line| line.contains(&needle));
    ours.filter_map(|line| line.split(' ').nth(4)).map(str::to_string).collect()
}

/// Processes of which `directory` is a part: in their arguments, in their environment, or, for those in containers, in
/// their mount table. Zombies have none of these.
pub fn processes(directory: &Path) -> Vec<Leftover> {
    let needle = directory.as_os_str().as_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mentions =
        |pid: u32, file: &str| fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| contains(&bytes, needle));
    let knows =
        |pid: u32| mentions(pid, "cmdline") || mentions(pid, "environ") || contained(pid) && mentions(pid, "mountinfo");
    let own = std::process::id();
    pids.filter(|pid| *pid != own && knows(*pid)).map(|pid| Leftover { pid, args: args(pid) }).collect()
}

/// Whether a process has a mount table and process ids of its own. Only then does its mount table say something about
/// it: a mount leaked into ours is in the table of every process of the machine, and those are not to be killed for it.
fn contained(pid: u32) -> bool {
    let own = |kind: &str| {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        theirs.is_ok_and(|theirs| fs::read_link(format!("/proc/self/ns/{kind}")).is_ok_and(|ours| ours != theirs))
    };
    own("mnt") && own("pid")
}

fn args(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Waits for everything to go by itself; answers with what did not.
pub fn after_grace(directory: &Path) -> Vec<String> {
    let gone = || mounts(directory).is_empty() && processes(directory).is_empty();
    // The first command of a machine that just booted may take seconds to end where another machine works beside it.
    let end = std::time::Instant::now() + wait::patience() / 4;
    while !gone() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mounts = mounts(directory).into_iter().map(|mount| format!("a mount on {mount}"));
    mounts.chain(processes(directory).into_iter().map(|left| format!("process {} {}", left.pid, left.args))).collect()
}

/// Kills and unmounts what is left, then removes the tree.
pub fn sweep(directory: &Path) {
    for left in processes(directory) {
        process::signal(left.pid, "KILL");
    }
    for mount in mounts(directory).iter().rev() {
        let _ = Command::new("umount").args(["--lazy", mount]).stderr(Stdio::null()).status();
    }
    if fs::remove_dir_all(directory).is_err() {
        remove_as_subordinate_root(directory);
    }
}

/// Rootless containers leave files of subordinate ids; root of a user namespace with all of them may remove those.
fn remove_as_subordinate_root(directory: &Path) {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--map-users=auto", "--map-groups=auto", "rm", "-rf"]).arg(directory);
    let _ = command.stderr(Stdio::null()).status();
    let _ = fs::remove_dir_all(directory);
}
