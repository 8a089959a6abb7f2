//! Makes one entry in the tree.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use knarr_sys::at::{self, FileType, Mode, OFlags, makedev};
use knarr_sys::error::Fd;
use knarr_sys::{Errno, Error as SysError};

use super::dirs::Dir;
use super::metadata::Metadata;
use super::place::{Meaning, Place, show};
use super::tree::{Tree, failed, refused};
use super::{UnpackOptions, WhiteoutForm};
use crate::archive::sparse::Sparse;
use crate::archive::{Archive, Entry, Kind};
use crate::{Error, Refusal};

/// Mode while a file is being written.
const PRIVATE_FILE: Mode = Mode::from_bits_retain(0o600);

/// One layer on its way into a tree.
pub struct Unpacker<'a, 'r, 's> {
    pub tree: Tree<'a>,
    pub archive: Archive<'r, 's>,
    pub options: &'a UnpackOptions,
    /// Bytes of file data written.
    pub tree_bytes: u64,
}

impl Unpacker<'_, '_, '_> {
    /// Makes all entries.
    pub fn run(&mut self) -> Result<(), Error> {
        while let Some(entry) = self.archive.next()? {
            let refuse = |refusal| refused(&entry.name, refusal);
            let place = Place::of(&entry.name).map_err(refuse)?;
            let literal = self.options.whiteouts == WhiteoutForm::Literal;
            match if literal { Meaning::Itself } else { place.meaning().map_err(refuse)? } {
                Meaning::Itself if !literal && is_overlay_whiteout(&entry) => self.tree.whiteout(&place)?,
                Meaning::Itself => self.make(&entry, &place)?,
                Meaning::Whiteout(hidden) => self.tree.whiteout(&hidden)?,
                Meaning::Opaque => self.tree.opaque(place.parent())?,
                Meaning::Nothing => {}
            }
        }
        self.tree.finish()
    }

    fn make(&mut self, entry: &Entry, place: &Place) -> Result<(), Error> {
        if place.is_root() && entry.kind != Kind::Directory {
            return Err(refused(&entry.name, Refusal::RootNotDirectory));
        }
        if entry.kind == Kind::HardLink {
            return self.make_hard_link(entry, place);
        }
        let device = matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
        if device && self.options.rootless {
            self.tree.skip(place.path(), DEVICE);
            return Ok(());
        }
        let metadata = Metadata::of(entry, self.options);
        let mut metadata = metadata.map_err(|refusal| refused(&entry.name, refusal))?;
        match entry.kind {
            Kind::File => self.make_file(entry, place, &mut metadata)?,
            Kind::Directory => self.make_dir(place, &mut metadata)?,
            Kind::Symlink => self.make_symlink(entry, place, &mut metadata)?,
            Kind::CharDevice => self.make_node(FileType::CharacterDevice, entry, place, &mut metadata)?,
            Kind::BlockDevice => self.make_node(FileType::BlockDevice, entry, place, &mut metadata)?,
            Kind::Fifo | Kind::HardLink => self.make_node(FileType::Fifo, entry, place, &mut metadata)?,
        }
        for attribute in std::mem::take(&mut metadata.left_out) {
            self.tree.skip(place.path(), attribute);
        }
        self.tree.touch(place.path());
        Ok(())
    }

    fn make_file(&mut self, entry: &Entry, place: &Place, metadata: &mut Metadata<'_>) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let (_, fd) = self.tree.make(place, |dir| at::open(dir, place.name(), flags, PRIVATE_FILE))?;
        let file = File::from(fd);
        match &entry.sparse {
            None => self.write(&file, 0, u64::MAX, place)?,
            Some(sparse) => self.write_pieces(&file, sparse, place)?,
        }
        let on_file = failed(place.path());
        metadata
            .set_on_file(file.as_fd())
            .and_then(|()| at::fset_times(&file, metadata.access, metadata.modification))
            .map_err(on_file)
    }

    /// Writes the next `bytes` of data (or all there is) at `offset`.
    fn write(&mut self, file: &File, mut offset: u64, bytes: u64, place: &Place) -> Result<(), Error> {
        let end = offset.saturating_add(bytes);
        while offset < end {
            let data = self.archive.peek_data()?;
            let data = &data[..data.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX))];
            if data.is_empty() {
                break;
            }
            file.write_all_at(data, offset).map_err(|error| written(file, data.len(), &error, place))?;
            let written = data.len();
            self.archive.consume_data(written);
            self.tree_bytes += written as u64;
            offset += written as u64;
        }
        Ok(())
    }

    fn write_pieces(&mut self, file: &File, sparse: &Sparse, place: &Place) -> Result<(), Error> {
        at::truncate(file, sparse.file_bytes).map_err(failed(place.path()))?;
        for piece in &sparse.pieces {
            self.write(file, piece.offset, piece.bytes, place)?;
        }
        Ok(())
    }

    fn make_dir(&mut self, place: &Place, metadata: &mut Metadata<'_>) -> Result<(), Error> {
        let dir = if place.is_root() { self.tree.dir(b"")? } else { self.tree.make_dir(place)? };
        metadata.set_on_file(dir.as_fd()).map_err(failed(place.path()))?;
        self.tree.set_times_later(place.path(), metadata);
        self.tree.implied.remove(place.path());
        Ok(())
    }

    fn make_symlink(&mut self, entry: &Entry, place: &Place, metadata: &mut Metadata<'_>) -> Result<(), Error> {
        let target = std::ffi::CString::new(&entry.link[..]).unwrap_or_default();
        if target.is_empty() {
            return Err(refused(&entry.name, Refusal::EmptyLink));
        }
        let (dir, ()) = self.tree.make(place, |dir| at::make_symlink(&target, dir, place.name()))?;
        metadata.set_on_link(dir.as_fd(), place.name()).map_err(failed(place.path()))
    }

    fn make_node(
        &mut self,
        kind: FileType,
        entry: &Entry,
        place: &Place,
        metadata: &mut Metadata<'_>,
    ) -> Result<(), Error> {
        let device = makedev(entry.device.0, entry.device.1);
        let (dir, ()) = self.tree.make(place, |dir| at::make_node(dir, place.name(), kind, PRIVATE_FILE, device))?;
        metadata.set_on_node(dir.as_fd(), place.name(), kind).map_err(failed(place.path()))
    }

    /// Owner, mode and times of a hard link are its target's.
    fn make_hard_link(&mut self, entry: &Entry, place: &Place) -> Result<(), Error> {
        let refuse = |refusal| refused(&entry.name, refusal);
        let target = Place::of(&entry.link).map_err(refuse)?;
        let missing = || refuse(Refusal::LinkTargetMissing(show(&entry.link)));
        let target_dir = match self.tree.existing_dir(target.parent())? {
            Some(dir) if !self.tree.is_whited_out(&*dir, &target)? => dir,
            _ => return Err(missing()),
        };
        if self.tree.skipped.iter().any(|skipped| skipped.what == DEVICE && skipped.path == target.show()) {
            self.tree.skip(place.path(), DEVICE);
            return Ok(());
        }
        let dir = self.tree.parent(place)?;
        match at::make_link(&*target_dir, target.name(), &*dir, place.name()) {
            Ok(()) => {}
            Err(error) if error.errno == Errno::EXIST => {
                if self.is_same_file(&target_dir, &target, &dir, place)? {
                    return Ok(());
                }
                self.tree.make(place, |dir| at::make_link(&*target_dir, target.name(), dir, place.name()))?;
            }
            Err(error) if error.errno == Errno::NOENT => return Err(missing()),
            Err(error) if error.errno == Errno::PERM => {
                return Err(refuse(Refusal::LinkToDirectory(show(&entry.link))));
            }
            Err(error) => return Err(failed(place.path())(error)),
        }
        self.tree.touch(place.path());
        Ok(())
    }

    /// A link to itself, perhaps spelled through a symbolic link, must not be made room for.
    fn is_same_file(&self, target_dir: &Dir, target: &Place, dir: &Dir, place: &Place) -> Result<bool, Error> {
        let identity = |dir: &Dir, place: &Place| {
            let stat = at::stat(&**dir, place.name()).map_err(failed(place.path()))?;
            Ok(stat.map(|stat| (stat.st_dev, stat.st_ino)))
        };
        Ok(identity(target_dir, target)? == identity(dir, place)?)
    }
}

/// What a report says is missing where a device node is.
const DEVICE: &str = "device";

/// A character device 0:0 is no device: overlayfs, and every engine on it, reads it as a whiteout.
fn is_overlay_whiteout(entry: &Entry) -> bool {
    entry.kind == Kind::CharDevice && entry.device == (0, 0)
}

fn written(file: &File, bytes: usize, error: &io::Error, place: &Place) -> Error {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    failed(place.path())(SysError::new(format!("pwrite64({}, {bytes} bytes)", Fd(file)), errno))
}
