//! Chosen paths of a tree as a layer, and what an overlay's upper directory changed as a list.
//!
//! Spec: image-spec layer.md, "Change Types": added, modified, removed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use knarr_sys::at;
use knarr_sys::xattr::Holder;
use knarr_sys::{InRoot, Root};

use super::diff::{is_opaque, visible_below};
use super::walk::{Listing, Name, View, joined};
use crate::Error;
use crate::unpack::{WHITEOUT_PREFIX, failed, is_dir, is_whiteout};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Added,
    /// It was there, and is another now.
    Modified,
    /// It is gone.
    Deleted,
}

/// A tree of which only some paths, and the directories above them, are packed.
pub struct Chosen<'c> {
    changed: &'c BTreeSet<Vec<u8>>,
    removed: BTreeMap<&'c [u8], Vec<&'c [u8]>>,
    all_removed: &'c BTreeSet<Vec<u8>>,
}

impl<'c> Chosen<'c> {
    pub fn new(changed: &'c BTreeSet<Vec<u8>>, removed: &'c BTreeSet<Vec<u8>>) -> Chosen<'c> {
        let mut by_dir: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for path in removed {
            let at = path.iter().rposition(|&byte| byte == b'/');
            let (dir, name) = at.map_or((&[][..], &path[..]), |at| (&path[..at], &path[at + 1..]));
            by_dir.entry(dir).or_default().push(name);
        }
        Chosen { changed, removed: by_dir, all_removed: removed }
    }

    fn leads_to_something(&self, path: &[u8]) -> bool {
        let below = || [path, b"/"].concat()..[path, b"0"].concat();
        self.changed.contains(path)
            || self.changed.range(below()).next().is_some()
            || self.all_removed.range(below()).next().is_some()
    }
}

impl View for Chosen<'_> {
    fn has_root(&self) -> bool {
        self.changed.contains(&[][..])
    }

    fn whiteouts(&self, dir: &Listing<'_>, names: &mut Vec<Name>) -> Result<(Vec<Vec<u8>>, bool), Error> {
        names.retain(|name| self.leads_to_something(&joined(dir.path, name.name.to_bytes())));
        let removed = self.removed.get(dir.path).into_iter().flatten();
        Ok((removed.map(|name| [WHITEOUT_PREFIX, name].concat()).collect(), false))
    }

    fn check(&self, _: &[u8], _: &[CString]) -> Result<(), Error> {
        Ok(())
    }
}

/// What the upper directory of an overlay changed of the lower ones (top first), parents before what they hold.
pub fn changes(upper: &Root, lower: &[Root]) -> Result<Vec<(Vec<u8>, Change)>, Error> {
    let mut found = Vec::new();
    let mut dirs = vec![(Vec::new(), false)];
    while let Some((path, hidden_above)) = dirs.pop() {
        let in_root = InRoot::parse(OsStr::from_bytes(&path)).map_err(|_| super::walk::too_long(&path))?;
        let dir = upper.open_dir(&in_root).map_err(failed(&path))?;
        let hides = hidden_above || is_opaque(&Holder::File(dir.as_fd()), &path)?;
        let below: BTreeSet<Vec<u8>> = visible_below(lower, &path)?.into_iter().collect();
        let mut names = at::names(dir.as_fd()).map_err(failed(&path))?;
        names.sort();
        let mut deeper = Vec::new();
        let mut here: BTreeMap<Vec<u8>, Change> = BTreeMap::new();
        if hides {
            here.extend(below.iter().map(|name| (name.clone(), Change::Deleted)));
        }
        for name in names {
            let below_path = joined(&path, name.to_bytes());
            let Some(stat) = at::stat(&dir, &name).map_err(failed(&below_path))? else { continue };
            let was_there = below.contains(name.to_bytes());
            let change = match (is_whiteout(&stat), was_there) {
                (true, true) => Change::Deleted,
                (true, false) => continue,
                (false, true) => Change::Modified,
                (false, false) => Change::Added,
            };
            here.insert(name.to_bytes().to_vec(), change);
            if is_dir(&stat) {
                deeper.push((below_path, hides));
            }
        }
        found.extend(here.into_iter().map(|(name, change)| (joined(&path, &name), change)));
        dirs.extend(deeper);
    }
    // By components, so that a directory comes right before what it holds.
    found.sort_by(|(one, _), (other, _)| one.split(|&b| b == b'/').cmp(other.split(|&b| b == b'/')));
    Ok(found)
}
