//! What a tree looks like, so that one can tell later what changed in it: umoci's mtree, without reading the files.
//!
//! A file counts as unchanged while inode, status change time, size, owner, mode, times and attributes are the same: the
//! kernel moves the status change time at every write and nobody can set it back. A tree that was copied elsewhere is
//! therefore all new, which costs room in a layer and never loses a change.
//! Law: looks, changes nothing; links are not followed. The text form is mtree(5)'s, with keywords of our own for what it
//! lacks; `docs/formats.md` has them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsStr};
use std::fmt::Write as _;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Condvar, Mutex, MutexGuard};

use knarr_sys::at::{self, FileType, Stat};
use knarr_sys::xattr::Holder;
use knarr_sys::{InRoot, Root};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::pack::{joined, too_long};
use crate::unpack::failed;

/// Threads that look at a tree: what they wait for is the kernel, which has not more to give.
const LOOKERS_MAX: usize = 4;

/// First line of the text form.
const HEADING: &str = "#knarr-mtree v1";

/// One name of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file; 0 for everything else.
    pub bytes: u64,
    /// Modification time in nanoseconds.
    pub modified_ns: i128,
    /// Of a device node.
    pub device: u64,
    /// Of a link.
    pub target: Vec<u8>,
    /// A hash of all extended attributes; empty where there are none.
    pub attributes: String,
    /// Inode and status change time of all but directories: whether it was touched at all, or got another name.
    pub inode: u64,
    /// See `inode`.
    pub changed_ns: i128,
}

impl Node {
    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// The same but for inode and status change time, which differ between two trees in any case.
    pub fn looks_like(&self, other: &Node) -> bool {
        let plain = |node: &Node| Node { inode: 0, changed_ns: 0, ..node.clone() };
        plain(self) == plain(other)
    }
}

/// Every name of a tree; the root is the empty path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index(pub BTreeMap<Vec<u8>, Node>);

/// What one directory holds: paths and what is there.
type Nodes = Vec<(Vec<u8>, Node)>;

/// Directories to be looked at, by several threads.
struct Queue {
    state: Mutex<Pending>,
    changed: Condvar,
}

struct Pending {
    dirs: Vec<Vec<u8>>,
    /// Threads that look at a directory and may find more.
    looking: usize,
    failed: bool,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            state: Mutex::new(Pending { dirs: vec![Vec::new()], looking: 0, failed: false }),
            changed: Condvar::new(),
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.state.lock().expect("nothing panics while it is held")
    }

    /// Looks at directory after directory until there is none; a failure ends all threads.
    fn work(&self, tree: &Root) -> Result<Nodes, Error> {
        let mut nodes = Vec::new();
        while let Some(path) = self.next() {
            let found = look_into(tree, &path, &mut nodes);
            let mut state = self.lock();
            state.looking -= 1;
            state.failed |= found.is_err();
            let done = found.map(|dirs| state.dirs.extend(dirs));
            self.changed.notify_all();
            done?;
        }
        Ok(nodes)
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if state.failed {
                return None;
            }
            if let Some(path) = state.dirs.pop() {
                state.looking += 1;
                return Some(path);
            }
            if state.looking == 0 {
                return None;
            }
            state = self.changed.wait(state).expect("nothing panics while it is held");
        }
    }
}

/// Adds what is in the directory at `path`; the directories among it.
fn look_into(tree: &Root, path: &[u8], nodes: &mut Nodes) -> Result<Vec<Vec<u8>>, Error> {
    let in_root = InRoot::parse(OsStr::from_bytes(path)).map_err(|_| too_long(path))?;
    let dir = tree.open_dir(&in_root).map_err(failed(path))?;
    if path.is_empty() {
        let stat = at::fstat(&dir).map_err(failed(path))?;
        nodes.push((Vec::new(), describe(&stat, Vec::new(), hash(&Holder::File(dir.as_fd()), path)?)));
    }
    let mut dirs = Vec::new();
    for name in at::names(dir.as_fd()).map_err(failed(path))? {
        let below = joined(path, name.to_bytes());
        let Some(stat) = at::stat(&dir, &name).map_err(failed(&below))? else { continue };
        let node = look(dir.as_fd(), &name, &stat, &below)?;
        if node.kind() == FileType::Directory {
            dirs.push(below.clone());
        }
        nodes.push((below, node));
    }
    Ok(dirs)
}

/// What is different between two trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Only in the new one.
    pub added: BTreeSet<Vec<u8>>,
    /// In both, and not the same.
    pub modified: BTreeSet<Vec<u8>>,
    /// Only in the old one; of a directory only itself.
    pub removed: BTreeSet<Vec<u8>>,
}

impl Index {
    /// Looks at all of `tree`.
    pub fn of(tree: &Root) -> Result<Index, Error> {
        let queue = Queue::default();
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(LOOKERS_MAX);
        std::thread::scope(|scope| {
            let lookers: Vec<_> = (0..threads).map(|_| scope.spawn(|| queue.work(tree))).collect();
            let mut nodes = BTreeMap::new();
            for looker in lookers {
                nodes.extend(looker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(Index(nodes))
        })
    }

    /// From this tree to `new`. `same` says whether a name stayed what it was.
    pub fn to(&self, new: &Index, same: impl Fn(&Node, &Node) -> bool) -> Difference {
        let mut difference = Difference::default();
        for (path, node) in &new.0 {
            match self.0.get(path) {
                None => drop(difference.added.insert(path.clone())),
                Some(old) if !same(old, node) => drop(difference.modified.insert(path.clone())),
                Some(_) => {}
            }
        }
        let is_dir = |path: &[u8]| new.0.get(path).is_some_and(|node| node.kind() == FileType::Directory);
        for path in self.0.keys().filter(|path| !new.0.contains_key(*path)) {
            // What stood in something that is gone, or is no directory any more, went with it.
            let slash = path.iter().rposition(|&byte| byte == b'/');
            if is_dir(slash.map_or(&[][..], |slash| &path[..slash])) {
                difference.removed.insert(path.clone());
            }
        }
        difference
    }

    /// As text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADING}\n");
        for (path, node) in &self.0 {
            let name = if path.is_empty() { b".".to_vec() } else { [b"./", &path[..]].concat() };
            let _ = write!(
                text,
                "{} type={} mode={:04o} uid={} gid={}",
                escaped(&name),
                type_word(node.kind()),
                node.mode & 0o7777,
                node.uid,
                node.gid
            );
            let modified = split_ns(node.modified_ns);
            let _ = write!(text, " time={}.{:09}", modified.0, modified.1);
            if node.kind() == FileType::RegularFile {
                let _ = write!(text, " size={}", node.bytes);
            }
            if node.kind() != FileType::Directory {
                let changed = split_ns(node.changed_ns);
                let _ = write!(text, " inode={} ctime={}.{:09}", node.inode, changed.0, changed.1);
            }
            if node.device != 0 {
                let _ = write!(text, " device={}", node.device);
            }
            if !node.target.is_empty() {
                let _ = write!(text, " link={}", escaped(&node.target));
            }
            if !node.attributes.is_empty() {
                let _ = write!(text, " xattrs={}", node.attributes);
            }
            text.push('\n');
        }
        text
    }

    /// From text; `None` where it is not ours.
    pub fn parse(text: &str) -> Option<Index> {
        let rest = text.strip_prefix(HEADING)?.strip_prefix('\n')?;
        let nodes: Option<BTreeMap<Vec<u8>, Node>> = rest.lines().map(parse_line).collect();
        nodes.map(Index)
    }
}

fn look(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat, path: &[u8]) -> Result<Node, Error> {
    let target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => at::read_link(dir, name).map_err(failed(path))?.into_bytes(),
        _ => Vec::new(),
    };
    Ok(describe(stat, target, hash(&Holder::Name(dir, name.to_owned()), path)?))
}

fn describe(stat: &Stat, target: Vec<u8>, attributes: String) -> Node {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let (file, dir) = (kind == FileType::RegularFile, kind == FileType::Directory);
    let ns = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    Node {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        bytes: if file { stat.st_size.cast_unsigned() } else { 0 },
        modified_ns: ns(stat.st_mtime, stat.st_mtime_nsec as i64),
        device: if device { stat.st_rdev } else { 0 },
        target,
        attributes,
        inode: if dir { 0 } else { stat.st_ino },
        changed_ns: if dir { 0 } else { ns(stat.st_ctime, stat.st_ctime_nsec as i64) },
    }
}

/// All attributes in one short text.
fn hash<F: AsFd>(holder: &Holder<F>, path: &[u8]) -> Result<String, Error> {
    let mut names = holder.list().map_err(failed(path))?;
    names.retain(|name| !name.to_bytes().starts_with(b"security.") || name.to_bytes() == b"security.capability");
    if names.is_empty() {
        return Ok(String::new());
    }
    names.sort();
    let mut hasher = Sha256::new();
    for name in names {
        let value = holder.get(&name).map_err(failed(path))?.unwrap_or_default();
        hasher.update(name.as_bytes_with_nul());
        hasher.update((value.len() as u64).to_le_bytes());
        hasher.update(&value);
    }
    Ok(hasher.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn split_ns(ns: i128) -> (i64, u32) {
    (ns.div_euclid(1_000_000_000) as i64, ns.rem_euclid(1_000_000_000) as u32)
}

fn type_word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "link",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Fifo => "fifo",
        _ => "socket",
    }
}

fn type_of(word: &str) -> Option<FileType> {
    Some(match word {
        "file" => FileType::RegularFile,
        "dir" => FileType::Directory,
        "link" => FileType::Symlink,
        "char" => FileType::CharacterDevice,
        "block" => FileType::BlockDevice,
        "fifo" => FileType::Fifo,
        "socket" => FileType::Socket,
        _ => return None,
    })
}

/// Everything but plain characters as a backslash and three octal digits, as vis(3) has it.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'!'..=b'~' if byte != b'\\' && byte != b'#' => text.push(byte as char),
            _ => drop(write!(text, "\\{byte:03o}")),
        }
    }
    text
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digits = std::str::from_utf8(after.get(..3)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 8).ok()?);
        rest = &after[3..];
    }
    Some(bytes)
}

fn parse_line(line: &str) -> Option<(Vec<u8>, Node)> {
    let mut words = line.split(' ');
    let name = unescaped(words.next()?)?;
    let path = if name == b"." { Vec::new() } else { name.strip_prefix(b"./")?.to_vec() };
    let mut node = Node {
        mode: 0,
        uid: 0,
        gid: 0,
        bytes: 0,
        modified_ns: 0,
        device: 0,
        target: Vec::new(),
        attributes: String::new(),
        inode: 0,
        changed_ns: 0,
    };
    for word in words {
        let (key, value) = word.split_once('=')?;
        match key {
            "type" => node.mode |= type_of(value)?.as_raw_mode(),
            "mode" => node.mode |= u32::from_str_radix(value, 8).ok()?,
            "uid" => node.uid = value.parse().ok()?,
            "gid" => node.gid = value.parse().ok()?,
            "size" => node.bytes = value.parse().ok()?,
            "time" => node.modified_ns = parse_ns(value)?,
            "ctime" => node.changed_ns = parse_ns(value)?,
            "inode" => node.inode = value.parse().ok()?,
            "device" => node.device = value.parse().ok()?,
            "link" => node.target = unescaped(value)?,
            "xattrs" => node.attributes = value.to_owned(),
            _ => return None,
        }
    }
    Some((path, node))
}

fn parse_ns(text: &str) -> Option<i128> {
    let (seconds, nanoseconds) = text.split_once('.')?;
    Some(seconds.parse::<i128>().ok()? * 1_000_000_000 + nanoseconds.parse::<i128>().ok()?)
}
