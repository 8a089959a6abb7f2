//! The flags, and what they are to criu.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::super::{
    argv::{Flag, switch, value},
    commands::Context,
    failure::{At, Failure},
};
use super::protobuf::Message;

/// `checkpoint`'s flags.
#[rustfmt::skip]
pub(crate) const CHECKPOINT: &[Flag] = &[
    value("image-path", None, "DIR", "where the checkpoint is kept"),
    value("work-path", None, "DIR", "where criu's logs are kept"),
    value("parent-path", None, "DIR", "an earlier checkpoint that this one completes"),
    switch("leave-running", None, "let the container run on"),
    switch("tcp-established", None, "with open TCP connections"),
    switch("tcp-skip-in-flight", None, "without TCP connections that are being made"),
    switch("tcp-close", None, "close TCP connections"),
    switch("link-remap", None, "with open files that have been removed"),
    switch("ext-unix-sk", None, "with Unix sockets that lead outside"),
    switch("shell-job", None, "with a terminal of the caller"),
    switch("lazy-pages", None, "fetch memory when it is needed"),
    value("status-fd", None, "FD", "tell this descriptor when pages can be had"),
    value("page-server", None, "ADDRESS:PORT", "send memory to this server of criu"),
    switch("file-locks", None, "with file locks"),
    switch("pre-dump", None, "memory alone, to be completed by a later checkpoint"),
    value("manage-cgroups-mode", None, "MODE", "what becomes of control groups: soft, full, strict or ignore"),
    value("empty-ns", None, "NAMESPACE", "leave this namespace empty: network"),
    switch("auto-dedup", None, "give memory that was read back to the file system"),
    switch("help", Some('h'), "print this help"),
];

/// `restore`'s.
#[rustfmt::skip]
pub(crate) const RESTORE: &[Flag] = &[
    value("console-socket", None, "SOCKET", "send the terminal's other end to this socket"),
    value("image-path", None, "DIR", "where the checkpoint is kept"),
    value("work-path", None, "DIR", "where criu's logs are kept"),
    switch("tcp-established", None, "with open TCP connections"),
    switch("tcp-close", None, "close TCP connections"),
    switch("ext-unix-sk", None, "with Unix sockets that lead outside"),
    switch("shell-job", None, "with a terminal of the caller"),
    switch("file-locks", None, "with file locks"),
    value("manage-cgroups-mode", None, "MODE", "what becomes of control groups: soft, full, strict or ignore"),
    value("bundle", Some('b'), "DIR", "the directory with config.json; without it the current one"),
    switch("detach", Some('d'), "do not wait for the program"),
    value("pid-file", None, "FILE", "write the process id to this file"),
    switch("no-subreaper", None, "do not adopt the container's orphans"),
    switch("no-pivot", None, "change the root without pivot_root, as from a ramdisk"),
    value("empty-ns", None, "NAMESPACE", "leave this namespace empty: network"),
    switch("auto-dedup", None, "give memory that was read back to the file system"),
    switch("lazy-pages", None, "fetch memory when it is needed"),
    value("lsm-profile", None, "TYPE:NAME", "another AppArmor profile or SELinux label"),
    value("lsm-mount-context", None, "CONTEXT", "another SELinux context for mounts"),
    switch("help", Some('h'), "print this help"),
];

/// `criu_opts`, by field number.
pub(crate) mod field {
    pub const IMAGES_DIR_FD: u64 = 1;
    pub const PID: u64 = 2;
    pub const LEAVE_RUNNING: u64 = 3;
    pub const EVASIVE_DEVICES: u64 = 6;
    pub const LOG_LEVEL: u64 = 9;
    pub const LOG_FILE: u64 = 10;
    pub const PAGE_SERVER: u64 = 11;
    pub const NOTIFY_SCRIPTS: u64 = 12;
    pub const ROOT: u64 = 13;
    pub const PARENT_IMG: u64 = 14;
    pub const TRACK_MEM: u64 = 15;
    pub const WORK_DIR_FD: u64 = 17;
    pub const EXT_MNT: u64 = 23;
    pub const MANAGE_CGROUPS: u64 = 24;
    pub const CG_ROOT: u64 = 25;
    pub const RST_SIBLING: u64 = 26;
    pub const INHERIT_FD: u64 = 27;
    pub const MANAGE_CGROUPS_MODE: u64 = 34;
    pub const EXTERNAL: u64 = 37;
    pub const EMPTY_NS: u64 = 38;
    pub const JOIN_NS: u64 = 39;
    pub const FREEZE_CGROUP: u64 = 44;
    pub const ORPHAN_PTS_MASTER: u64 = 50;
    pub const CONFIG_FILE: u64 = 51;
    pub const LSM_PROFILE: u64 = 53;
    pub const LSM_MOUNT_CONTEXT: u64 = 63;
}

/// Flags that are a field of the same meaning.
const SWITCHES: [(&str, u64); 8] = [
    ("ext-unix-sk", 4),
    ("tcp-established", 5),
    ("shell-job", 7),
    ("file-locks", 8),
    ("auto-dedup", 16),
    ("tcp-skip-in-flight", 46),
    ("lazy-pages", 48),
    ("tcp-close", 52),
];

/// What criu tells in its log: all of it but what each page was.
const LOG_LEVEL: u64 = 4;
const CLONE_NEWNET: u64 = 0x4000_0000;
const IMAGES_MODE: u32 = 0o700;

/// Where images and logs lie, opened for criu.
pub(crate) struct Places {
    pub images: PathBuf,
    /// Where criu's log is.
    pub work: PathBuf,
    pub images_fd: fs::File,
    pub work_fd: Option<fs::File>,
    /// Of an earlier pre-dump, relative to the images.
    pub parent: Option<String>,
}

impl Places {
    pub(crate) fn open(context: &Context<'_>) -> Result<Places, Failure> {
        let given = |flag: &str| context.given.value(flag).filter(|path| !path.is_empty());
        let images = context.path(given("image-path").unwrap_or("checkpoint"));
        make(&images)?;
        let parent = given("parent-path").map(str::to_owned);
        if let Some(parent) = &parent {
            check_parent(&images, parent)?;
        }
        let work = given("work-path").map(|path| context.path(path));
        work.as_deref().map_or(Ok(()), make)?;
        let open = |path: &Path| fs::File::open(path).at("open", path);
        let work_fd = work.as_deref().map(open).transpose()?;
        Ok(Places { images_fd: open(&images)?, work: work.unwrap_or_else(|| images.clone()), images, work_fd, parent })
    }
}

fn make(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(IMAGES_MODE).recursive(true).create(path).at("make", path)
}

fn check_parent(images: &Path, parent: &str) -> Result<(), Failure> {
    if parent.starts_with('/') {
        return Err(Failure::Checkpoint("--parent-path must be relative"));
    }
    let real = images.join(parent);
    let is_dir = fs::metadata(&real).and_then(|found| match found.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    is_dir.at("invalid --parent-path:", real)
}

/// What both have in common.
pub(crate) fn common(context: &Context<'_>, places: &Places, log: &str) -> Result<Message, Failure> {
    use std::os::fd::AsRawFd;
    let number = |file: &fs::File| file.as_raw_fd() as u64;
    let mut options = Message::default();
    options.number(field::IMAGES_DIR_FD, number(&places.images_fd));
    if let Some(work) = &places.work_fd {
        options.number(field::WORK_DIR_FD, number(work));
    }
    options.number(field::LOG_LEVEL, LOG_LEVEL).text(field::LOG_FILE, log);
    options.flag(field::NOTIFY_SCRIPTS, true).flag(field::ORPHAN_PTS_MASTER, true);
    options.flag(field::MANAGE_CGROUPS, true).number(field::MANAGE_CGROUPS_MODE, cgroups_mode(context)?);
    for (flag, field) in SWITCHES {
        if context.given.has(flag) {
            options.flag(field, true);
        }
    }
    let mut empty = 0;
    for name in context.given.values("empty-ns") {
        match name {
            "network" => empty |= CLONE_NEWNET,
            other => {
                return Err(Failure::Value { flag: "empty-ns", value: other.into(), wants: "network" });
            }
        }
    }
    options.number(field::EMPTY_NS, empty);
    Ok(options)
}

fn cgroups_mode(context: &Context<'_>) -> Result<u64, Failure> {
    match context.given.value("manage-cgroups-mode").unwrap_or("") {
        "ignore" => Ok(0),
        "" | "soft" => Ok(3),
        "full" => Ok(4),
        "strict" => Ok(5),
        other => {
            let wants = "soft, full, strict or ignore";
            Err(Failure::Value { flag: "manage-cgroups-mode", value: other.into(), wants })
        }
    }
}

/// `org.criu.config`, or the file of whoever we are called as, or runc's.
pub(crate) fn config_file(options: &mut Message, annotation: Option<&String>) {
    let defaults = ["/etc/criu/crun.conf", "/etc/criu/runc.conf"];
    let file = match annotation {
        Some(file) => Some(file.as_str()).filter(|file| !file.is_empty()),
        None => defaults.into_iter().find(|file| Path::new(file).exists()),
    };
    if let Some(file) = file {
        options.text(field::CONFIG_FILE, file);
    }
}

/// A mount criu does not look into: its place, and a name or source.
pub(crate) fn external_mount(options: &mut Message, key: &str, value: &str) {
    options.message(field::EXT_MNT, Message::default().text(1, key).text(2, value));
}
