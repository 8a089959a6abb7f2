//! The directories entries were made in last, kept open: archives are mostly sorted, so nearly every entry finds its
//! parent here and costs no path resolution.
//!
//! Law: a kept handle is what its path leads to. Whoever removes a directory or a link calls [`Dirs::forget`].

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Handles kept: deeper than real trees are nested, and small beside the usual 1024 files of a process even when several
/// layers are unpacked at once.
const OPEN_MAX: usize = 48;

/// An open directory that may be in use while it falls out of the cache.
pub type Dir = Rc<OwnedFd>;

/// Open directories by path.
#[derive(Default)]
pub struct Dirs {
    open: HashMap<Vec<u8>, (Dir, u64)>,
    clock: u64,
}

impl Dirs {
    /// The directory at `path`, if it is kept.
    pub fn get(&mut self, path: &[u8]) -> Option<Dir> {
        self.clock += 1;
        let (dir, used) = self.open.get_mut(path)?;
        *used = self.clock;
        Some(dir.clone())
    }

    /// Keeps a directory, instead of the one unused for longest.
    pub fn put(&mut self, path: &[u8], dir: OwnedFd) -> Dir {
        if self.open.len() >= OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            oldest.and_then(|path| self.open.remove(&path));
        }
        self.clock += 1;
        let dir = Rc::new(dir);
        self.open.insert(path.to_vec(), (dir.clone(), self.clock));
        dir
    }

    /// Closes all, because a path may now lead elsewhere.
    pub fn forget(&mut self) {
        self.open.clear();
    }
}
