//! The tree a layer becomes: finds and makes directories, makes room for entries, and remembers what must be set at the end.
//!
//! Law: everything is done on a name in a directory that was opened through the root. What an earlier entry of the same
//! layer made is replaced by a later one; only a directory and a directory merge.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use knarr_sys::at::{self, FileType, Mode, Stat, Timespec};
use knarr_sys::xattr::Holder;
use knarr_sys::{Errno, InRoot, Root};

use super::dirs::{Dir, Dirs};
use super::metadata::Metadata;
use super::place::{Place, show};
use super::remove::remove_tree;
use super::{Skipped, UnpackOptions, WhiteoutForm};
use crate::{Error, Refusal};

/// Mode while an entry is being made: nobody else's business.
pub const PRIVATE_DIR: Mode = Mode::from_bits_retain(0o700);

/// Times of a directory, set when nothing changes in it any more.
#[derive(Clone, Copy)]
struct Times {
    access: Timespec,
    modification: Timespec,
}

/// A tree under construction.
pub struct Tree<'a> {
    root: &'a Root,
    options: &'a UnpackOptions,
    dirs: Dirs,
    times: BTreeMap<Vec<u8>, Times>,
    /// Directories made for entries below them, until an entry describes them.
    pub implied: BTreeSet<Vec<u8>>,
    /// What this layer made or went through; kept only where the tree held something before (`Apply`).
    touched: BTreeSet<Vec<u8>>,
    pub skipped: Vec<Skipped>,
    pub opaque_root: bool,
    pub whiteouts_made: bool,
}

/// An error of the tree at `place`.
pub fn failed(path: &[u8]) -> impl FnOnce(knarr_sys::Error) -> Error {
    let name = show(path);
    move |source| Error::Tree { name, source }
}

/// A refusal at `path`.
pub fn refused(path: &[u8], refusal: Refusal) -> Error {
    Error::Refused { name: show(path), refusal }
}

/// Whether this is a whiteout as overlayfs reads it.
pub fn is_whiteout(stat: &Stat) -> bool {
    stat.st_rdev == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
}

pub fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

impl<'a> Tree<'a> {
    pub fn new(root: &'a Root, options: &'a UnpackOptions) -> Result<Tree<'a>, Error> {
        let mut tree = Tree {
            root,
            options,
            dirs: Dirs::default(),
            times: BTreeMap::new(),
            implied: BTreeSet::new(),
            touched: BTreeSet::new(),
            skipped: Vec::new(),
            opaque_root: false,
            whiteouts_made: false,
        };
        if tree.in_overlay_form() {
            let root = tree.dir(b"")?;
            tree.imply(b"", &root)?;
        }
        Ok(tree)
    }

    pub fn in_overlay_form(&self) -> bool {
        matches!(self.options.whiteouts, WhiteoutForm::OverlayTrusted | WhiteoutForm::OverlayUser)
    }

    /// The directory an entry stands in.
    pub fn parent(&mut self, place: &Place) -> Result<Dir, Error> {
        self.dir(place.parent())
    }

    /// The directory at `path`; it and those above it are made where they are missing.
    pub fn dir(&mut self, path: &[u8]) -> Result<Dir, Error> {
        if let Some(dir) = self.dirs.get(path) {
            return Ok(dir);
        }
        match self.open_existing(path)? {
            Some(fd) => self.keep_existing(path, fd),
            None => self.make_implied(path),
        }
    }

    /// The directory at `path`, if it is there.
    pub fn existing_dir(&mut self, path: &[u8]) -> Result<Option<Dir>, Error> {
        if let Some(dir) = self.dirs.get(path) {
            return Ok(Some(dir));
        }
        match self.open_existing(path)? {
            Some(fd) => self.keep_existing(path, fd).map(Some),
            None => Ok(None),
        }
    }

    /// `None` where something on the way is missing or no directory.
    fn open_existing(&self, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
        let in_root = InRoot::parse(OsStr::from_bytes(path))
            .map_err(|_| refused(path, Refusal::ParentNotDirectory(show(path))))?;
        match self.root.open_dir(&in_root) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) if error.errno == Errno::LOOP => Err(refused(path, Refusal::ParentNotDirectory(show(path)))),
            Err(source) => Err(failed(path)(source)),
        }
    }

    fn keep_existing(&mut self, path: &[u8], fd: OwnedFd) -> Result<Dir, Error> {
        if !self.in_overlay_form() {
            self.touch(path);
            self.remember_times_of(path, &fd)?;
        }
        Ok(self.dirs.put(path, fd))
    }

    /// A layer that changes something in a directory without describing it leaves the directory's times as they were.
    fn remember_times_of(&mut self, path: &[u8], fd: &OwnedFd) -> Result<(), Error> {
        if !self.times.contains_key(path) {
            let stat = at::fstat(fd).map_err(failed(path))?;
            let time = |tv_sec: i64, nanoseconds| Timespec { tv_sec, tv_nsec: nanoseconds as _ };
            let (access, modification) =
                (time(stat.st_atime, stat.st_atime_nsec), time(stat.st_mtime, stat.st_mtime_nsec));
            self.times.insert(path.to_vec(), Times { access, modification });
        }
        Ok(())
    }

    /// Makes every missing directory on the way, top down.
    fn make_implied(&mut self, path: &[u8]) -> Result<Dir, Error> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = slashes.chain([path.len()]).collect();
        let mut last = None;
        for end in ends {
            let part = &path[..end];
            last = Some(match self.existing_dir(part)? {
                Some(dir) => dir,
                None => self.make_one_implied(part)?,
            });
        }
        last.ok_or_else(|| refused(path, Refusal::RootNotDirectory))
    }

    fn make_one_implied(&mut self, path: &[u8]) -> Result<Dir, Error> {
        let place = Place::of(path).map_err(|refusal| refused(path, refusal))?;
        let dir = self.parent(&place)?;
        let mut opaque = false;
        if let Some(stat) = at::stat(&dir, place.name()).map_err(failed(path))? {
            if !(self.in_overlay_form() && is_whiteout(&stat)) {
                return Err(refused(path, Refusal::ParentNotDirectory(show(path))));
            }
            self.remove(&place)?;
            opaque = true;
        }
        at::make_dir(&dir, place.name(), PRIVATE_DIR).map_err(failed(path))?;
        let fd = at::open_dir(&dir, place.name()).map_err(failed(path))?;
        let made = self.dirs.put(path, fd);
        self.imply(path, &made)?;
        if opaque {
            self.mark_opaque(path)?;
            // What lies below is hidden, so nothing there describes this directory.
            self.implied.remove(path);
        }
        self.touch(path);
        Ok(made)
    }

    fn imply(&mut self, path: &[u8], dir: &Dir) -> Result<(), Error> {
        let mut metadata = Metadata::implied(self.options).map_err(|refusal| refused(path, refusal))?;
        metadata.set_on_file(dir.as_fd()).map_err(failed(path))?;
        self.set_times_later(path, &metadata);
        self.implied.insert(path.to_vec());
        Ok(())
    }

    /// Makes the directory of an entry, or takes the one that is there.
    pub fn make_dir(&mut self, place: &Place) -> Result<Dir, Error> {
        let (path, name) = (place.path(), place.name());
        let parent = self.parent(place)?;
        if at::make_dir(&parent, name, PRIVATE_DIR).map_err(failed(path))? {
            let fd = at::open_dir(&parent, name).map_err(failed(path))?;
            return Ok(self.dirs.put(path, fd));
        }
        if at::stat(&parent, name).map_err(failed(path))?.is_some_and(|stat| is_dir(&stat)) {
            let fd = at::open_dir(&parent, name).map_err(failed(path))?;
            return Ok(self.dirs.put(path, fd));
        }
        if self.options.whiteouts == WhiteoutForm::Literal {
            return Err(refused(path, Refusal::OverNonDirectory));
        }
        // What stood here hid the directory of the layers below; the new one starts empty.
        self.remove(place)?;
        at::make_dir(&parent, name, PRIVATE_DIR).map_err(failed(path))?;
        let fd = at::open_dir(&parent, name).map_err(failed(path))?;
        let dir = self.dirs.put(path, fd);
        if self.in_overlay_form() {
            self.mark_opaque(path)?;
        }
        Ok(dir)
    }

    /// Runs `make` on a name, once more after removing what stood there.
    pub fn make<T>(&mut self, place: &Place, make: impl Fn(&Dir) -> knarr_sys::Result<T>) -> Result<(Dir, T), Error> {
        let parent = self.parent(place)?;
        let made = match make(&parent) {
            Err(error) if error.errno == Errno::EXIST => {
                let here = at::stat(&parent, place.name()).map_err(failed(place.path()))?;
                if self.options.whiteouts == WhiteoutForm::Literal && here.is_some_and(|stat| is_dir(&stat)) {
                    return Err(refused(place.path(), Refusal::OverDirectory));
                }
                self.remove(place)?;
                make(&parent)
            }
            other => other,
        };
        Ok((parent, made.map_err(failed(place.path()))?))
    }

    /// Removes what stands at a place, with everything we remember of it.
    pub fn remove(&mut self, place: &Place) -> Result<(), Error> {
        let parent = self.parent(place)?;
        remove_tree(parent.as_fd(), place.name()).map_err(failed(place.path()))?;
        // A removed directory or link may have been on the way to any kept one.
        self.dirs.forget();
        let path = place.path();
        let below = || (Bound::Included([path, b"/"].concat()), Bound::Excluded([path, b"0"].concat()));
        self.times.remove(path);
        self.times.extract_if(below(), |_, _| true).for_each(drop);
        for set in [&mut self.implied, &mut self.touched] {
            set.remove(path);
            set.extract_if(below(), |_| true).for_each(drop);
        }
        Ok(())
    }

    /// Marks a directory so that overlayfs shows nothing of the layers below it.
    pub fn mark_opaque(&mut self, path: &[u8]) -> Result<(), Error> {
        let dir = self.dir(path)?;
        let trusted = self.options.whiteouts == WhiteoutForm::OverlayTrusted;
        let attribute = if trusted { c"trusted.overlay.opaque" } else { c"user.overlay.opaque" };
        Holder::File(dir.as_fd()).set(attribute, b"y").map_err(failed(path))
    }

    pub fn set_times_later(&mut self, path: &[u8], metadata: &Metadata<'_>) {
        let times = Times { access: metadata.access, modification: metadata.modification };
        self.times.insert(path.to_vec(), times);
    }

    /// Remembers that this layer made `path`, where that matters.
    pub fn touch(&mut self, path: &[u8]) {
        if self.in_overlay_form() {
            return;
        }
        let mut path = path;
        while self.touched.insert(path.to_vec()) {
            let Some(slash) = path.iter().rposition(|&byte| byte == b'/') else { return };
            path = &path[..slash];
        }
    }

    pub fn is_touched(&self, path: &[u8]) -> bool {
        self.touched.contains(path)
    }

    pub fn skip(&mut self, path: &[u8], what: impl Into<String>) {
        self.skipped.push(Skipped { path: show(path), what: what.into() });
    }

    /// Sets the times of directories, now that nothing changes in them.
    pub fn finish(&mut self) -> Result<(), Error> {
        for (path, times) in std::mem::take(&mut self.times) {
            // Another spelling of a path (through a link) may have removed it since.
            if let Some(dir) = self.existing_dir(&path)? {
                at::fset_times(dir.as_fd(), times.access, times.modification).map_err(failed(&path))?;
            }
        }
        Ok(())
    }
}
