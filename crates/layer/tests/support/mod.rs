//! Tars made byte by byte, trees to unpack them into, and a text that says what is in a tree.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use knarr_layer::{Error, IdMap, IdRange, Limits, Owners, UnpackOptions, Unpacked, WhiteoutForm, unpack};
use knarr_sys::Root;
use knarr_sys::xattr::Holder;

/// A tar under construction, in ustar with pax records where asked.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

/// An entry as it will be written, right or wrong.
pub struct Entry<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub link: &'a [u8],
    pub device: (u32, u32),
    pub data: &'a [u8],
    pub pax: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Entry<'a> {
    pub fn new(kind: u8, name: &'a str) -> Entry<'a> {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        let (name, link, data) = (name.as_bytes(), &b""[..], &b""[..]);
        Entry { name, kind, mode, uid: 0, gid: 0, mtime: 1_000_000, link, device: (0, 0), data, pax: Vec::new() }
    }
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(text.as_bytes());
}

/// A header with its checksum.
pub fn header(entry: &Entry<'_>, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..entry.name.len().min(100)].copy_from_slice(&entry.name[..entry.name.len().min(100)]);
    octal(&mut block[100..108], u64::from(entry.mode));
    octal(&mut block[108..116], entry.uid & 0o7777777);
    octal(&mut block[116..124], entry.gid & 0o7777777);
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], entry.mtime);
    block[156] = entry.kind;
    block[157..157 + entry.link.len().min(100)].copy_from_slice(&entry.link[..entry.link.len().min(100)]);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], u64::from(entry.device.0));
    octal(&mut block[337..345], u64::from(entry.device.1));
    checksum(&mut block);
    block
}

/// Writes the checksum of a header.
pub fn checksum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A pax record with its length, which counts its own digits.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len() + 2;
    while length != body.len() + 1 + length.to_string().len() {
        length = body.len() + 1 + length.to_string().len();
    }
    [format!("{length} ").as_bytes(), &body].concat()
}

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    pub fn entry(mut self, entry: Entry<'_>) -> Tar {
        if !entry.pax.is_empty() {
            let records: Vec<u8> = entry.pax.iter().flat_map(|(key, value)| record(key, value)).collect();
            self = self.raw_entry(b'x', "pax", &records);
        }
        self.0.extend(header(&entry, entry.data.len() as u64));
        self.padded(entry.data)
    }

    /// An entry of that type with this data, as extended headers are.
    pub fn raw_entry(mut self, kind: u8, name: &str, data: &[u8]) -> Tar {
        self.0.extend(header(&Entry::new(kind, name), data.len() as u64));
        self.padded(data)
    }

    pub fn padded(mut self, data: &[u8]) -> Tar {
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &str) -> Tar {
        self.entry(Entry { data: data.as_bytes(), ..Entry::new(b'0', name) })
    }

    pub fn dir(self, name: &str) -> Tar {
        self.entry(Entry::new(b'5', name))
    }

    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.entry(Entry { link: target.as_bytes(), ..Entry::new(b'2', name) })
    }

    pub fn hard_link(self, name: &str, target: &str) -> Tar {
        self.entry(Entry { link: target.as_bytes(), ..Entry::new(b'1', name) })
    }

    pub fn pax(self, kind: u8, name: &str, records: &[(&str, &[u8])]) -> Tar {
        self.entry(Entry { pax: records.to_vec(), ..Entry::new(kind, name) })
    }

    /// The archive with its two blocks of zeros.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// Root of the machine.
pub fn is_root() -> bool {
    is_some_root() && fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
}

/// Root of the machine or of a user namespace.
pub fn is_some_root() -> bool {
    effective_ids() == (0, 0)
}

fn namespace_ids() -> IdMap {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap();
    IdMap::of_namespace(&read("uid_map"), &read("gid_map"))
}

fn effective_ids() -> (u32, u32) {
    let own = fs::metadata("/proc/self").unwrap();
    (own.uid(), own.gid())
}

/// Options for whoever runs the tests: root with the ids there are, an ordinary user with himself as the layer's root.
pub fn options() -> UnpackOptions {
    let (uid, gid) = effective_ids();
    let only = |here| vec![IdRange { layer: 0, here, count: 1 }];
    UnpackOptions {
        compression: None,
        whiteouts: if is_root() { WhiteoutForm::OverlayTrusted } else { WhiteoutForm::OverlayUser },
        ids: if is_some_root() { namespace_ids() } else { IdMap { uids: only(uid), gids: only(gid) } },
        owners: Owners::Set,
        limits: Limits::default(),
        rootless: !is_root(),
        pipeline: false,
    }
}

pub fn apply() -> UnpackOptions {
    UnpackOptions { whiteouts: WhiteoutForm::Apply, ..options() }
}

/// A directory to unpack into, with a neighbour that must stay as it is.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.root()).unwrap();
        fs::create_dir(place.outside()).unwrap();
        fs::write(place.outside().join("secret"), "secret").unwrap();
        place
    }

    pub fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    pub fn outside(&self) -> PathBuf {
        self.0.path().join("outside")
    }

    pub fn handle(&self) -> Root {
        Root::open(&self.root()).unwrap()
    }

    pub fn unpack_with(&self, tar: &[u8], options: &UnpackOptions) -> Result<Unpacked, Error> {
        let unpacked = unpack(tar, &self.handle(), options);
        let piped = Place::bare();
        let again = unpack(tar, &piped.handle(), &UnpackOptions { pipeline: true, ..options.clone() });
        if options.whiteouts != WhiteoutForm::Apply {
            match (&unpacked, &again) {
                (Ok(one), Ok(two)) => assert_eq!(one, two, "with and without a second thread"),
                (Err(one), Err(two)) => assert_eq!(one.to_string(), two.to_string()),
                (one, two) => panic!("with and without a second thread: {one:?} and {two:?}"),
            }
        }
        assert_eq!(fs::read_to_string(self.outside().join("secret")).unwrap(), "secret");
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 1, "something was put outside of the root");
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 2, "something was put beside the root");
        unpacked
    }

    fn bare() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.root()).unwrap();
        place
    }

    pub fn unpack(&self, tar: Tar) -> Result<Unpacked, Error> {
        self.unpack_with(&tar.end(), &options())
    }

    /// The tree as text: a line per path, `d755 etc`, `f644 etc/passwd "data"`, `l lib -> usr/lib`, `w gone`.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        walk(&self.root(), Path::new(""), &mut lines);
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    }

    pub fn stat(&self, name: &str) -> fs::Metadata {
        fs::symlink_metadata(self.root().join(name)).unwrap()
    }

    pub fn is_opaque(&self, name: &str) -> bool {
        let dir = fs::File::open(self.root().join(name)).unwrap();
        let holder = knarr_sys::xattr::Holder::File(&dir);
        [c"trusted.overlay.opaque", c"user.overlay.opaque"].iter().any(|key| holder.get(key).unwrap().is_some())
    }
}

fn walk(dir: &Path, below: &Path, lines: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let kind = meta.file_type();
        let mode = meta.mode() & 0o7777;
        let mut line = String::new();
        let shown = path.display();
        if kind.is_dir() {
            write!(line, "d{mode:o} {shown}").unwrap();
            walk(&entry.path(), &path, lines);
        } else if kind.is_symlink() {
            write!(line, "l {shown} -> {}", fs::read_link(entry.path()).unwrap().display()).unwrap();
        } else if kind.is_file() {
            let data = fs::read(entry.path()).unwrap();
            let data = if data.len() > 64 {
                format!("{} bytes", data.len())
            } else {
                format!("{:?}", String::from_utf8_lossy(&data))
            };
            write!(line, "f{mode:o} {shown} {data}").unwrap();
        } else if kind.is_char_device() && meta.rdev() == 0 {
            write!(line, "w {shown}").unwrap();
        } else if kind.is_fifo() {
            write!(line, "p{mode:o} {shown}").unwrap();
        } else {
            write!(line, "dev{mode:o} {shown} {:x}", meta.rdev()).unwrap();
        }
        lines.push((path, line));
    }
}

/// All that a layer keeps of a tree, a line for each path: the first name of the same file stands for its inode.
pub fn facts(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut inodes = BTreeMap::new();
    let mut facts = BTreeMap::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        let mut names: Vec<_> =
            fs::read_dir(root.join(&dir)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let path = dir.join(&name);
            let full = root.join(&path);
            let meta = fs::symlink_metadata(&full).unwrap();
            let whiteout = meta.rdev() == 0 && meta.mode() & 0o170000 == 0o020000;
            if whiteout {
                facts.insert(path, "whiteout".to_owned());
                continue;
            }
            let handle = fs::File::open(root.join(&dir)).unwrap();
            let holder = Holder::Name(&handle, CString::new(name.as_bytes()).unwrap());
            let mut xattrs: Vec<_> =
                holder.list().unwrap().into_iter().map(|key| (holder.get(&key).unwrap(), key)).collect();
            xattrs.sort();
            let data = if meta.is_file() { fs::read(&full).unwrap() } else { Vec::new() };
            let target = fs::read_link(&full).unwrap_or_default();
            let first = if meta.is_dir() {
                path.clone()
            } else {
                inodes.entry(meta.ino()).or_insert_with(|| path.clone()).clone()
            };
            let line = format!(
                "{:o} {}:{} {}.{:09} {target:?} {xattrs:?} {first:?} {}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
                knarr_spec::Digest::sha256_of(&data)
            );
            if meta.is_dir() {
                dirs.push(path.clone());
            }
            facts.insert(path, line);
        }
    }
    facts
}
