//! Identical files of all layers, stored once: a new layer's files that an older layer has become links of its inodes.
//!
//! ```text
//! layers/<number>/files    sorted keys of the layer's files, and their paths: written before the layer's row
//! ```
//! Two files are identical when size, owner, mode, modification time, attributes and every byte are the same. A key is made
//! of what `stat` says, so nothing is read unless an older file looks the same; then both are compared byte by byte.
//!
//! Law: it happens before the layer has a row, so nobody uses what is replaced; every step leaves a right tree, and a death
//! leaves garbage. Two files of one layer are never made one: what the layer says of its links stays true. Sharing is a
//! saving: what hinders it (a full inode, an older layer that goes away meanwhile) leaves files as they are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use knarr_sys::at::{self, FileType, Mode, OFlags, Stat, Timespec};
use knarr_sys::xattr::Holder;
use knarr_sys::{InRoot, Root};

use crate::error::{IoContext, Result};
use crate::store::Store;

/// First bytes of the file of keys: name and version.
const MAGIC: &[u8; 8] = b"knarrF1\n";

/// Bytes of one entry of the table: a key, and where its path begins.
const ENTRY_BYTES: usize = 16;

/// Older files of one key that are compared: a key that is so common is one of files that differ.
const CANDIDATES_MAX: usize = 4;

/// Bytes compared before anything else is asked.
const BEGINNING_BYTES: usize = 1024;

/// Bytes compared at once.
const CHUNK_BYTES: usize = 128 << 10;

/// Names an inode may have, below the least that any file system we know takes (ext4's 65000), so that containers can make
/// links too.
const LINKS_MAX: u64 = 60_000;

/// In the name a link has for a moment.
const LINK_MARK: &str = ".knarr-link";

/// What sharing saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shared {
    /// Files that an older layer had.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The files of a tree with one inode.
struct Inode {
    stat: Stat,
    /// Directory and name of each.
    names: Vec<Vec<u8>>,
}

impl Store {
    /// Makes files of `layers/<number>` links of those that other layers have, and writes down what it has for later ones.
    pub(crate) fn share_files(&self, number: i64) -> Shared {
        let fs = self.layer_fs(number);
        let done = Root::open(&fs).ok().and_then(|root| {
            let files = inodes(&root).ok()?;
            let shared = self.link_known(&root, &files, number);
            let _ = write_keys(&self.keys_path(number), &files);
            Some(shared)
        });
        done.unwrap_or_default()
    }

    fn keys_path(&self, number: i64) -> PathBuf {
        self.inner.state.join("layers").join(number.to_string()).join("files")
    }

    fn link_known(&self, root: &Root, files: &BTreeMap<u64, Inode>, number: i64) -> Shared {
        let mut by_key: HashMap<u64, Vec<&Inode>> = HashMap::new();
        for inode in files.values() {
            by_key.entry(key(&inode.stat)).or_default().push(inode);
        }
        let mut shared = Shared::default();
        let mut taken: HashSet<u64> = HashSet::new();
        let mut done: HashSet<u64> = HashSet::new();
        let mut times: BTreeMap<Vec<u8>, (Timespec, Timespec)> = BTreeMap::new();
        for other in self.layers_with_keys(number) {
            let Ok(keys) = Keys::read(&self.keys_path(other)) else { continue };
            let Ok(other_root) = Root::open(&self.layer_fs(other)) else { continue };
            for (at, key) in keys.matching(&by_key) {
                let Some(path) = keys.path(at) else { continue };
                for inode in by_key.get(&key).into_iter().flatten().take(CANDIDATES_MAX) {
                    if done.contains(&inode.stat.st_ino) {
                        continue;
                    }
                    let Some((file, stat)) = candidate(&other_root, path, &inode.stat) else { break };
                    if taken.contains(&stat.st_ino) || links_after(&stat, inode) > LINKS_MAX {
                        break;
                    }
                    if stat.st_ino == inode.stat.st_ino || !same(root, inode, &file) {
                        continue;
                    }
                    if replace(root, inode, &file, &mut times).is_ok() {
                        shared.files += inode.names.len() as u64;
                        shared.bytes += inode.stat.st_size.cast_unsigned();
                        done.insert(inode.stat.st_ino);
                        taken.insert(stat.st_ino);
                    }
                    break;
                }
            }
        }
        restore_times(root, &times);
        shared
    }

    /// Other layers, the newest first: successive versions of an image have most in common.
    fn layers_with_keys(&self, number: i64) -> Vec<i64> {
        let Ok(entries) = std::fs::read_dir(self.inner.state.join("layers")) else { return Vec::new() };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i64>().ok());
        let mut numbers: Vec<i64> = numbers.filter(|other| *other != number).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        numbers
    }
}

/// The keys of a layer in memory.
struct Keys {
    bytes: Vec<u8>,
    count: usize,
}

impl Keys {
    fn read(path: &Path) -> std::io::Result<Keys> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        let broken = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let head = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<8>()).ok_or_else(broken)?;
        let count = usize::try_from(u64::from_le_bytes(*head)).map_err(|_| broken())?;
        let table = count.checked_mul(ENTRY_BYTES).and_then(|table| table.checked_add(16)).ok_or_else(broken)?;
        if bytes.len() < table { Err(broken()) } else { Ok(Keys { bytes, count }) }
    }

    fn entry(&self, at: usize) -> (u64, u64) {
        let entry = &self.bytes[16 + at * ENTRY_BYTES..];
        let number = |from: usize| entry[from..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        (number(0), number(8))
    }

    /// Places in the table whose key is wanted.
    fn matching<'k>(&'k self, wanted: &'k HashMap<u64, Vec<&Inode>>) -> impl Iterator<Item = (usize, u64)> + 'k {
        (0..self.count).map(|at| (at, self.entry(at).0)).filter(|(_, key)| wanted.contains_key(key))
    }

    fn path(&self, at: usize) -> Option<&[u8]> {
        let paths = &self.bytes[16 + self.count * ENTRY_BYTES..];
        let rest = paths.get(usize::try_from(self.entry(at).1).ok()?..)?;
        rest.split(|&byte| byte == 0).next()
    }
}

fn write_keys(path: &Path, files: &BTreeMap<u64, Inode>) -> Result<()> {
    let mut table: Vec<(u64, &[u8])> = files.values().map(|inode| (key(&inode.stat), &inode.names[0][..])).collect();
    table.sort_unstable();
    let mut paths = Vec::new();
    let mut out = BufWriter::new(File::create(path).doing("create", path)?);
    let mut write = || -> std::io::Result<()> {
        out.write_all(MAGIC)?;
        out.write_all(&(table.len() as u64).to_le_bytes())?;
        for (key, name) in &table {
            out.write_all(&key.to_le_bytes())?;
            out.write_all(&(paths.len() as u64).to_le_bytes())?;
            paths.extend_from_slice(name);
            paths.push(0);
        }
        out.write_all(&paths)?;
        out.flush()
    };
    let written = write().doing("write", path);
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Every file with content, by inode.
fn inodes(root: &Root) -> knarr_sys::Result<BTreeMap<u64, Inode>> {
    let mut files: BTreeMap<u64, Inode> = BTreeMap::new();
    let mut dirs = vec![Vec::new()];
    while let Some(path) = dirs.pop() {
        let Some(dir) = open_dir(root, &path)? else { continue };
        for name in at::names(dir.as_fd())? {
            let Some(stat) = at::stat(&dir, &name)? else { continue };
            let below =
                if path.is_empty() { name.to_bytes().to_vec() } else { [&path, &b"/"[..], name.to_bytes()].concat() };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => dirs.push(below),
                FileType::RegularFile if stat.st_size > 0 => {
                    files.entry(stat.st_ino).or_insert(Inode { stat, names: Vec::new() }).names.push(below);
                }
                _ => {}
            }
        }
    }
    Ok(files)
}

fn open_dir(root: &Root, path: &[u8]) -> knarr_sys::Result<Option<OwnedFd>> {
    // A path beyond what the kernel takes has nothing to share.
    let Ok(path) = InRoot::parse(OsStr::from_bytes(path)) else { return Ok(None) };
    root.open_dir(&path).map(Some)
}

/// FNV-1a over what `stat` says of a file; the same with every version of this program.
fn key(stat: &Stat) -> u64 {
    let fields = [
        stat.st_size.cast_unsigned(),
        stat.st_mtime.cast_unsigned(),
        number(stat.st_mtime_nsec),
        u64::from(stat.st_mode),
        u64::from(stat.st_uid),
        u64::from(stat.st_gid),
    ];
    let bytes = fields.iter().flat_map(|field| field.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The kernel's field has another type on other machines.
fn number(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or_default()
}

/// Names the inode will have.
fn links_after(stat: &Stat, inode: &Inode) -> u64 {
    number(stat.st_nlink) + inode.names.len() as u64
}

/// The file of another layer, if `stat` says it may be the same.
fn candidate(root: &Root, path: &[u8], wanted: &Stat) -> Option<(File, Stat)> {
    let path = InRoot::parse(OsStr::from_bytes(path)).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = root.open_file(&path, flags, Mode::empty()).ok()?;
    let stat = at::fstat(&file).ok()?;
    let looks = |stat: &Stat| {
        (stat.st_dev, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_mode, stat.st_uid, stat.st_gid)
    };
    (looks(&stat) == looks(wanted)).then(|| (File::from(file), stat))
}

/// Whether content and attributes are the same.
fn same(root: &Root, inode: &Inode, other: &File) -> bool {
    let Some(ours) = open(root, &inode.names[0]) else { return false };
    same_beginning(&ours, other)
        && attributes(&ours).is_some_and(|ours| attributes(other) == Some(ours))
        && same_bytes(&ours, other).unwrap_or(false)
}

fn open(root: &Root, path: &[u8]) -> Option<File> {
    let path = InRoot::parse(OsStr::from_bytes(path)).ok()?;
    root.open_file(&path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).ok().map(File::from)
}

fn attributes(file: &File) -> Option<BTreeMap<CString, Vec<u8>>> {
    let holder = Holder::File(file);
    let names = holder.list().ok()?;
    names.into_iter().map(|name| holder.get(&name).ok().map(|value| (name, value.unwrap_or_default()))).collect()
}

/// Files that only look alike, as all do in an image built with one time for everything, mostly differ here.
fn same_beginning(one: &File, other: &File) -> bool {
    let (mut a, mut b) = ([0; BEGINNING_BYTES], [0; BEGINNING_BYTES]);
    match (one.read_at(&mut a, 0), other.read_at(&mut b, 0)) {
        (Ok(of_one), Ok(of_other)) => a[..of_one] == b[..of_other],
        _ => false,
    }
}

fn same_bytes(one: &File, other: &File) -> std::io::Result<bool> {
    let (mut a, mut b) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut at = 0;
    loop {
        let got = one.read_at(&mut a, at)?;
        if got == 0 {
            return Ok(other.read_at(&mut b[..1], at)? == 0);
        }
        match other.read_exact_at(&mut b[..got], at) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if a[..got] != b[..got] {
            return Ok(false);
        }
        at += got as u64;
    }
}

/// Puts a link of `file` in the place of every name of `inode`, and remembers the times of the directories it changed.
fn replace(
    root: &Root,
    inode: &Inode,
    file: &File,
    times: &mut BTreeMap<Vec<u8>, (Timespec, Timespec)>,
) -> knarr_sys::Result<()> {
    for path in &inode.names {
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = slash.map_or((&[][..], &path[..]), |slash| (&path[..slash], &path[slash + 1..]));
        let Some(dir) = open_dir(root, parent)? else { continue };
        if !times.contains_key(parent) {
            let stat = at::fstat(&dir)?;
            let time = |tv_sec: i64, nanoseconds| Timespec { tv_sec, tv_nsec: nanoseconds as _ };
            times.insert(
                parent.to_vec(),
                (time(stat.st_atime, stat.st_atime_nsec), time(stat.st_mtime, stat.st_mtime_nsec)),
            );
        }
        let fresh = CString::new(format!("{LINK_MARK}-{}", inode.stat.st_ino)).expect("digits");
        let name = CString::new(name).expect("a name of a directory");
        knarr_sys::fs::link_open_file(file, &dir, &fresh)?;
        let renamed = at::rename_over(&dir, &fresh, &name);
        if renamed.is_err() {
            let _ = at::remove_file(&dir, &fresh);
        }
        renamed?;
    }
    Ok(())
}

fn restore_times(root: &Root, times: &BTreeMap<Vec<u8>, (Timespec, Timespec)>) {
    for (path, (access, modification)) in times {
        if let Ok(Some(dir)) = open_dir(root, path) {
            let _ = at::fset_times(&dir, *access, *modification);
        }
    }
}
