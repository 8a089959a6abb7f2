//! Walks a tree in the order of the tar and writes its entries.
//!
//! Law: a directory comes before what it holds; within a directory names ascend by their bytes. Links are never followed.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use knarr_sys::at::{self, FileType, Mode, OFlags, Stat, Timespec};
use knarr_sys::xattr::Holder;
use knarr_sys::{InRoot, Root};

use super::PackOptions;
use super::header::Header;
use super::sink::Sink;
use crate::archive::sparse::Piece;
use crate::unpack::{OPAQUE_NAME, WHITEOUT_PREFIX, failed, show};
use crate::{Error, rootless_owner};

/// Directories kept open on the way down; those above are opened again on the way up.
const OPEN_MAX: usize = 64;

/// Bytes read from a file at once.
const READ_BYTES: usize = 256 << 10;

/// A name of a directory and what stands there.
pub struct Name {
    pub name: CString,
    pub stat: Stat,
}

/// A directory that is being listed.
pub struct Listing<'l> {
    /// Its path, empty for the root.
    pub path: &'l [u8],
    /// Its attributes.
    pub holder: Holder<BorrowedFd<'l>>,
    /// Whether a directory above hides everything of the layers below.
    pub hidden_above: bool,
}

/// What a kind of tree says about its directories.
pub trait View {
    /// Whether the root directory is an entry.
    fn has_root(&self) -> bool;
    /// Takes out of `names` what stands for a removal, and returns the whiteouts to write before them; the flag says
    /// whether the directory hides what the layers below have in it.
    fn whiteouts(&self, dir: &Listing<'_>, names: &mut Vec<Name>) -> Result<(Vec<Vec<u8>>, bool), Error>;
    /// Refuses what only the overlay that wrote it can read.
    fn check(&self, path: &[u8], attributes: &[CString]) -> Result<(), Error>;
}

/// A tree that is what it is.
pub struct Plain {
    /// Whether the root directory is an entry.
    pub root: bool,
}

impl View for Plain {
    fn has_root(&self) -> bool {
        self.root
    }

    fn whiteouts(&self, _: &Listing<'_>, _: &mut Vec<Name>) -> Result<(Vec<Vec<u8>>, bool), Error> {
        Ok((Vec::new(), false))
    }

    fn check(&self, _: &[u8], _: &[CString]) -> Result<(), Error> {
        Ok(())
    }
}

/// A directory on the way down.
struct Frame {
    path: Vec<u8>,
    dir: Option<OwnedFd>,
    /// Names still to come, the next one last.
    names: Vec<Name>,
    hides: bool,
}

/// A walk that writes.
pub struct Walk<'a, V, W: Write> {
    tree: &'a Root,
    options: &'a PackOptions,
    view: V,
    sink: &'a mut Sink<W>,
    /// The first name of every file with several.
    links: HashMap<(u64, u64), Vec<u8>>,
    entries: u64,
    opaque: bool,
    buffer: Vec<u8>,
}

impl<'a, V: View, W: Write> Walk<'a, V, W> {
    pub fn new(tree: &'a Root, options: &'a PackOptions, view: V, sink: &'a mut Sink<W>) -> Walk<'a, V, W> {
        let buffer = vec![0; READ_BYTES];
        Walk { tree, options, view, sink, links: HashMap::new(), entries: 0, opaque: false, buffer }
    }

    /// Whether the root directory hides what is below.
    pub fn opaque(self, opaque: bool) -> Self {
        Walk { opaque, ..self }
    }

    /// Writes everything; returns the number of entries.
    pub fn run(mut self) -> Result<u64, Error> {
        let root = self.open_dir(b"")?;
        if self.view.has_root() {
            let stat = at::fstat(&root).map_err(failed(b""))?;
            let name = if self.options.prefix.is_empty() { b"./".to_vec() } else { self.options.prefix.clone() };
            let header = self.header(name, b'5', &stat)?;
            self.entry(header, b"", &Holder::File(root.as_fd()))?;
        }
        if self.opaque {
            self.sink.write(&Header::empty(self.named(OPAQUE_NAME)).blocks())?;
            self.entries += 1;
        }
        let mut frames = vec![self.list(Vec::new(), root, false)?];
        while let Some(frame) = frames.last_mut() {
            let Some(Name { name, stat }) = frame.names.pop() else {
                frames.pop();
                continue;
            };
            let dir = match frame.dir.take() {
                Some(dir) => dir,
                None => self.open_dir(&frame.path)?,
            };
            let path = joined(&frame.path, name.to_bytes());
            let below = self.write(dir.as_fd(), &name, &stat, &path)?;
            frame.dir = Some(dir);
            let hides = frame.hides;
            if let Some(below) = below {
                frames.push(self.list(path, below, hides)?);
                if let Some(far) = frames.len().checked_sub(OPEN_MAX) {
                    frames[far].dir = None;
                }
            }
        }
        Ok(self.entries)
    }

    /// Writes what stands under `name` in `dir` as one entry.
    pub fn one(mut self, dir: BorrowedFd<'_>, name: &CStr, called: &[u8]) -> Result<u64, Error> {
        let stat = at::stat(dir, name).map_err(failed(called))?;
        let stat = stat.ok_or_else(|| unpackable(called, "it is gone"))?;
        self.write(dir, name, &stat, called)?;
        Ok(self.entries)
    }

    /// A path as the archive has it.
    fn named(&self, path: &[u8]) -> Vec<u8> {
        [&self.options.prefix, path].concat()
    }

    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        let in_root = InRoot::parse(OsStr::from_bytes(path));
        let in_root = in_root.map_err(|_| too_long(path))?;
        self.tree.open_dir(&in_root).map_err(failed(path))
    }

    /// Writes the whiteouts of a directory and prepares its other names.
    fn list(&mut self, path: Vec<u8>, dir: OwnedFd, hidden_above: bool) -> Result<Frame, Error> {
        let mut names = Vec::new();
        for name in at::names(dir.as_fd()).map_err(failed(&path))? {
            if !self.options.leave_out.is_empty() && self.options.leave_out.contains(&joined(&path, name.to_bytes())) {
                continue;
            }
            let stat = at::stat(&dir, &name).map_err(failed(&joined(&path, name.to_bytes())))?;
            names.extend(stat.map(|stat| Name { name, stat }));
        }
        let listing = Listing { path: &path, holder: Holder::File(dir.as_fd()), hidden_above };
        let (mut whiteouts, hides) = self.view.whiteouts(&listing, &mut names)?;
        whiteouts.sort();
        for whiteout in whiteouts {
            self.sink.write(&Header::empty(self.named(&joined(&path, &whiteout))).blocks())?;
            self.entries += 1;
        }
        let is_whiteout = |name: &&Name| name.name.to_bytes().starts_with(WHITEOUT_PREFIX);
        if let Some(name) = names.iter().find(is_whiteout).filter(|_| !self.options.any_names) {
            let path = joined(&path, name.name.to_bytes());
            return Err(unpackable(&path, "a layer would read its name as a whiteout"));
        }
        names.sort_by(|one, other| other.name.cmp(&one.name));
        Ok(Frame { path, dir: Some(dir), names, hides })
    }

    /// Writes one entry; returns the directory to go into, if it is one.
    fn write(&mut self, dir: BorrowedFd<'_>, name: &CStr, stat: &Stat, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let fd = at::open_dir(dir, name).map_err(failed(path))?;
            let header = self.header(self.named(&[path, b"/"].concat()), b'5', stat)?;
            self.entry(header, path, &Holder::File(fd.as_fd()))?;
            return Ok(Some(fd));
        }
        if kind == FileType::Socket {
            // A socket is a running process's; no tar format has them.
            return Ok(None);
        }
        if self.write_hard_link(stat, path)? {
            return Ok(None);
        }
        if kind == FileType::RegularFile {
            return self.write_file(dir, name, stat, path).map(|()| None);
        }
        let mut header = self.header(self.named(path), flag(kind), stat)?;
        if kind == FileType::Symlink {
            header.link = at::read_link(dir, name).map_err(failed(path))?.into_bytes();
        }
        self.entry(header, path, &Holder::Name(dir, name.to_owned()))?;
        Ok(None)
    }

    /// Second and further names of a file refer to the first; `false` for a first one.
    fn write_hard_link(&mut self, stat: &Stat, path: &[u8]) -> Result<bool, Error> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let identity = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get(&identity).cloned() else {
            self.links.insert(identity, path.to_vec());
            return Ok(false);
        };
        let header = Header { link: self.named(&first), ..self.header(self.named(path), b'1', stat)? };
        self.sink.write(&header.blocks())?;
        self.entries += 1;
        Ok(true)
    }

    fn write_file(&mut self, dir: BorrowedFd<'_>, name: &CStr, stat: &Stat, path: &[u8]) -> Result<(), Error> {
        // A fifo put here since would block an open without O_NONBLOCK.
        let fd = at::open(dir, name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).map_err(failed(path))?;
        let mut file = File::from(fd);
        let mut header = self.header(self.named(path), b'0', stat)?;
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let pieces = match self.options.sparse && has_holes(stat) {
            true => pieces(&file, bytes, path)?,
            false => vec![Piece { offset: 0, bytes }],
        };
        let map =
            if self.options.sparse && has_holes(stat) { sparse_map(&mut header, &pieces, bytes) } else { Vec::new() };
        header.size = map.len() as u64 + pieces.iter().map(|piece| piece.bytes).sum::<u64>();
        self.entry(header, path, &Holder::File(file.as_fd()))?;
        self.sink.write(&map)?;
        for piece in pieces {
            self.copy(&mut file, piece, path)?;
        }
        self.sink.pad()
    }

    fn copy(&mut self, file: &mut File, piece: Piece, path: &[u8]) -> Result<(), Error> {
        let read = |source| Error::Unreadable { name: show(path), source };
        file.seek(SeekFrom::Start(piece.offset)).map_err(read)?;
        let mut left = piece.bytes;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = file.read(&mut self.buffer[..want]).map_err(read)?;
            if got == 0 {
                return Err(unpackable(path, "it became shorter while it was packed"));
            }
            self.sink.write(&self.buffer[..got])?;
            left -= got as u64;
        }
        Ok(())
    }

    /// Writes the headers of an entry with its attributes.
    fn entry(&mut self, mut header: Header, path: &[u8], holder: &Holder<BorrowedFd<'_>>) -> Result<(), Error> {
        let attributes = holder.list().map_err(failed(path))?;
        self.view.check(path, &attributes)?;
        for attribute in attributes.iter().filter(|attribute| is_portable(attribute.to_bytes())) {
            if attribute.to_bytes().contains(&b'=') {
                return Err(unpackable(path, "a pax record cannot hold an attribute with = in its name"));
            }
            if let Some(value) = holder.get(attribute).map_err(failed(path))? {
                if self.options.recorded_owners && attribute.as_c_str() == rootless_owner::ATTRIBUTE {
                    let (uid, gid) = rootless_owner::decode(&value).unwrap_or_default();
                    (header.uid, header.gid) = (uid.unwrap_or(header.uid), gid.unwrap_or(header.gid));
                    continue;
                }
                header.records.insert([b"SCHILY.xattr.", attribute.to_bytes()].concat(), value);
            }
        }
        self.entries += 1;
        self.sink.write(&header.blocks())
    }

    fn header(&self, name: Vec<u8>, kind: u8, stat: &Stat) -> Result<Header, Error> {
        let ids = &self.options.ids;
        let owner = ids.layer_uid(stat.st_uid).zip(ids.layer_gid(stat.st_gid));
        let (uid, gid) = owner.ok_or_else(|| unpackable(&name, "its owner is outside of the mapped ids"))?;
        let device = matches!(kind, b'3' | b'4');
        Ok(Header {
            name,
            kind,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            size: 0,
            mtime: self.time(stat),
            link: Vec::new(),
            device: if device { at::device_numbers(stat.st_rdev) } else { (0, 0) },
            records: BTreeMap::new(),
        })
    }

    fn time(&self, stat: &Stat) -> Timespec {
        let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
        match self.options.time_max {
            Some(max) if time.tv_sec >= max => Timespec { tv_sec: max, tv_nsec: 0 },
            _ => time,
        }
    }
}

/// What a layer may carry to another machine: no security labels of this one, none of overlay's bookkeeping.
fn is_portable(attribute: &[u8]) -> bool {
    let overlay = attribute.starts_with(b"trusted.overlay.") || attribute.starts_with(b"user.overlay.");
    let label = attribute.starts_with(b"security.") && attribute != b"security.capability";
    !overlay && !label
}

fn flag(kind: FileType) -> u8 {
    match kind {
        FileType::Symlink => b'2',
        FileType::CharacterDevice => b'3',
        FileType::BlockDevice => b'4',
        _ => b'6',
    }
}

fn has_holes(stat: &Stat) -> bool {
    stat.st_blocks * 512 < stat.st_size
}

/// The data of a sparse file; a hole at its end is an empty piece there, as GNU tar has it.
fn pieces(file: &File, bytes: u64, path: &[u8]) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some((offset, length)) = at::next_data(file, from).map_err(failed(path))? {
        let length = length.min(bytes.saturating_sub(offset));
        pieces.push(Piece { offset, bytes: length });
        from = offset + length;
        if from >= bytes {
            return Ok(pieces);
        }
    }
    pieces.push(Piece { offset: bytes, bytes: 0 });
    Ok(pieces)
}

/// The map in front of the data, and the records that announce it.
fn sparse_map(header: &mut Header, pieces: &[Piece], bytes: u64) -> Vec<u8> {
    let name = std::mem::take(&mut header.name);
    let last = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    header.name = [b"GNUSparseFile.0/", last].concat();
    let mut put = |key: &[u8], value: Vec<u8>| drop(header.records.insert(key.to_vec(), value));
    put(b"GNU.sparse.major", b"1".to_vec());
    put(b"GNU.sparse.minor", b"0".to_vec());
    put(b"GNU.sparse.name", name);
    put(b"GNU.sparse.realsize", bytes.to_string().into_bytes());
    let mut map = format!("{}\n", pieces.len());
    for piece in pieces {
        map.push_str(&format!("{}\n{}\n", piece.offset, piece.bytes));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(crate::archive::header::BLOCK_BYTES), 0);
    map
}

/// The path of a name in a directory.
pub fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// An error of a path no system call takes.
pub fn too_long(path: &[u8]) -> Error {
    unpackable(path, "its path is longer than the kernel takes")
}

/// An error of what no layer can hold.
pub fn unpackable(path: &[u8], why: &'static str) -> Error {
    Error::Unpackable { name: show(path), why }
}
