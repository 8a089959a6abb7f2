//! The upper directory of an overlay, read as a layer.
//!
//! Spec: image-spec layer.md, "Change Types"; kernel, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
//! directories": a removed name is a character device 0:0, a replaced directory has `overlay.opaque` set to `y`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use knarr_sys::xattr::Holder;
use knarr_sys::{Errno, Root, at};

use super::walk::{Listing, Name, View, unpackable};
use crate::Error;
use crate::unpack::{OPAQUE_NAME, WHITEOUT_PREFIX, failed, is_dir, is_whiteout};

/// An upper directory over lower ones, top first.
pub struct Overlay<'a> {
    lower: &'a [Root],
}

impl<'a> Overlay<'a> {
    pub fn new(lower: &'a [Root]) -> Overlay<'a> {
        Overlay { lower }
    }
}

impl View for Overlay<'_> {
    fn has_root(&self) -> bool {
        false
    }

    fn whiteouts(&self, dir: &Listing<'_>, names: &mut Vec<Name>) -> Result<(Vec<Vec<u8>>, bool), Error> {
        let opaque = is_opaque(&dir.holder, dir.path)?;
        let hides = opaque || dir.hidden_above;
        let removed = names.extract_if(.., |name| is_whiteout(&name.stat)).map(|name| name.name.into_bytes());
        let mut removed: Vec<Vec<u8>> = removed.collect();
        if hides && !self.lower.is_empty() {
            let hidden = visible_below(self.lower, dir.path)?;
            let stays = |name: &Vec<u8>| names.iter().any(|kept| kept.name.to_bytes() == name);
            removed = hidden.into_iter().filter(|name| !stays(name)).collect();
        }
        let mut whiteouts: Vec<Vec<u8>> = removed.iter().map(|name| [WHITEOUT_PREFIX, name].concat()).collect();
        if opaque && self.lower.is_empty() {
            whiteouts = vec![OPAQUE_NAME.to_vec()];
        }
        Ok((whiteouts, hides))
    }

    fn check(&self, path: &[u8], attributes: &[CString]) -> Result<(), Error> {
        let has = |name: &[u8]| attributes.iter().any(|attribute| attribute.to_bytes() == name);
        if has(b"trusted.overlay.redirect") || has(b"user.overlay.redirect") {
            return Err(unpackable(path, "it was renamed by reference; mount the overlay with redirect_dir=off"));
        }
        if has(b"trusted.overlay.metacopy") || has(b"user.overlay.metacopy") {
            return Err(unpackable(path, "its data was not copied up; mount the overlay with metacopy=off"));
        }
        Ok(())
    }
}

pub fn is_opaque<F: AsFd>(holder: &Holder<F>, path: &[u8]) -> Result<bool, Error> {
    for attribute in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        if holder.get(attribute).map_err(failed(path))?.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names an overlay of `lower` shows in the directory at `path`.
pub fn visible_below(lower: &[Root], path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut names: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    for root in lower {
        let (dir, last) = match find(root, path)? {
            Found::Dir { dir, opaque } => (dir, opaque),
            Found::Nothing => continue,
            Found::HidesTheRest => break,
        };
        for name in at::names(dir.as_fd()).map_err(failed(path))? {
            let stat = at::stat(&dir, &name).map_err(failed(path))?;
            let shown = stat.is_some_and(|stat| !is_whiteout(&stat));
            names.entry(name.into_bytes()).or_insert(shown);
        }
        if last {
            break;
        }
    }
    Ok(names.into_iter().filter(|(_, shown)| *shown).map(|(name, _)| name).collect())
}

/// What one lower directory has at a path.
enum Found {
    Dir { dir: OwnedFd, opaque: bool },
    Nothing,
    HidesTheRest,
}

/// Overlayfs merges directories by name and follows no links while it does.
fn find(root: &Root, path: &[u8]) -> Result<Found, Error> {
    let mut dir = root.open_dir(&knarr_sys::InRoot::top()).map_err(failed(path))?;
    let mut hides = false;
    for component in path.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
        let name = CString::new(component).expect("part of a path");
        let nothing = if hides { Found::HidesTheRest } else { Found::Nothing };
        match at::stat(&dir, &name).map_err(failed(path))? {
            None => return Ok(nothing),
            Some(stat) if !is_dir(&stat) => return Ok(Found::HidesTheRest),
            Some(_) => {}
        }
        dir = match at::open_dir(&dir, &name) {
            Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR) => return Ok(nothing),
            other => other.map_err(failed(path))?,
        };
        hides = hides || is_opaque(&Holder::File(&dir), path)?;
    }
    Ok(Found::Dir { dir, opaque: hides })
}
