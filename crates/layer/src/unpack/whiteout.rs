//! Whiteouts: what a layer takes away from those below it.
//!
//! Spec: image-spec layer.md, "Whiteouts": they only apply to the layers below, never to what the same layer adds, in
//! whichever order the entries come.

use std::os::fd::AsFd;

use knarr_sys::Errno;
use knarr_sys::at::{self, FileType, Mode};

use super::place::Place;
use super::remove::remove_tree;
use super::tree::{Tree, failed, is_dir, is_whiteout};
use crate::Error;

impl Tree<'_> {
    /// Hides `place` of the layers below.
    pub fn whiteout(&mut self, place: &Place) -> Result<(), Error> {
        if self.in_overlay_form() { self.make_whiteout(place) } else { self.apply_whiteout(place) }
    }

    /// Hides all that the layers below have in the directory at `path`.
    pub fn opaque(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.in_overlay_form() {
            self.opaque_root |= path.is_empty();
            return self.mark_opaque(path);
        }
        self.dir(path)?;
        self.hide_below(path)
    }

    /// A file of this layer under that name hides what is below by itself; a directory has to be told.
    fn make_whiteout(&mut self, place: &Place) -> Result<(), Error> {
        let (path, name) = (place.path(), place.name());
        let parent = self.parent(place)?;
        match at::make_node(&parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => self.whiteouts_made = true,
            Err(error) if error.errno == Errno::EXIST => {
                if at::stat(&parent, name).map_err(failed(path))?.is_some_and(|stat| is_dir(&stat)) {
                    self.mark_opaque(path)?;
                    self.implied.remove(path);
                }
            }
            Err(source) => return Err(failed(path)(source)),
        }
        Ok(())
    }

    fn apply_whiteout(&mut self, place: &Place) -> Result<(), Error> {
        if !self.is_touched(place.path()) {
            return match self.existing_dir(place.parent())? {
                Some(_) => self.remove(place),
                None => Ok(()),
            };
        }
        let parent = self.parent(place)?;
        match at::stat(&parent, place.name()).map_err(failed(place.path()))? {
            Some(stat) if is_dir(&stat) => self.hide_below(place.path()),
            _ => Ok(()),
        }
    }

    /// Removes what this layer did not make, in a directory and in those of its directories this layer went through.
    fn hide_below(&mut self, path: &[u8]) -> Result<(), Error> {
        let mut dirs = vec![path.to_vec()];
        while let Some(path) = dirs.pop() {
            let dir = self.dir(&path)?;
            for name in at::names(dir.as_fd()).map_err(failed(&path))? {
                let below = if path.is_empty() {
                    name.to_bytes().to_vec()
                } else {
                    [&path, &b"/"[..], name.to_bytes()].concat()
                };
                if !self.is_touched(&below) {
                    remove_tree(dir.as_fd(), &name).map_err(failed(&below))?;
                } else if at::stat(&dir, &name).map_err(failed(&below))?.is_some_and(|stat| is_dir(&stat)) {
                    dirs.push(below);
                }
            }
        }
        Ok(())
    }

    /// Whether a whiteout stands at a place; then there is nothing a hard link could lead to.
    pub fn is_whited_out(&mut self, parent: impl AsFd, place: &Place) -> Result<bool, Error> {
        if !self.whiteouts_made {
            return Ok(false);
        }
        let stat = at::stat(parent, place.name()).map_err(failed(place.path()))?;
        Ok(stat.is_some_and(|stat| is_whiteout(&stat)))
    }
}
