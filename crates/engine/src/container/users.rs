//! Reading an image's own `/etc/passwd` and `/etc/group`.
//!
//! Law: a file is opened through a [`Root`] only, so a link in the image leads nowhere but into the layer it is in.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use knarr_store::RootMounts;
use knarr_sys::xattr::Holder;
use knarr_sys::{Errno, InRoot, Mode, OFlags, Root};

use crate::userdb::{ResolvedUser, USER_FILE_BYTES_MAX, UserFiles};
use crate::{Error, Result};

/// Resolves `user` by the files of a container that is not mounted: for each the topmost layer that has it.
pub(super) fn in_layers(mounts: &RootMounts, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let mut roots = Vec::with_capacity(mounts.lower.len());
    for layer in &mounts.lower {
        roots.push(Root::open(&mounts.base.join(layer)).map_err(Error::sys("open a layer"))?);
    }
    resolve(&roots, user, groups)
}

/// Resolves `user` by the files of a mounted root.
pub(crate) fn in_root(root: Root, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    resolve(&[root], user, groups)
}

fn resolve(roots: &[Root], user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let passwd = topmost(roots, "etc/passwd")?;
    let group = topmost(roots, "etc/group")?;
    Ok(UserFiles { passwd: &passwd, group: &group }.resolve(user, groups)?)
}

/// The contents in the first root that has the file, a whiteout or an opaque directory above it being the end of the search.
fn topmost(roots: &[Root], path: &str) -> Result<Vec<u8>> {
    for root in roots {
        match look(root, path)? {
            Found::Bytes(bytes) => return Ok(bytes),
            Found::Hidden => break,
            Found::Nothing => {}
        }
    }
    Ok(Vec::new())
}

enum Found {
    Bytes(Vec<u8>),
    /// What lies below is not to be seen.
    Hidden,
    Nothing,
}

fn look(root: &Root, path: &str) -> Result<Found> {
    let name = InRoot::parse(path).expect("a constant without NUL");
    // First without opening: a fifo or device must not hang or act on us.
    let handle = match root.open_path(&name) {
        Ok(handle) => File::from(handle),
        Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            return Ok(if opaque(root, path) { Found::Hidden } else { Found::Nothing });
        }
        Err(error) => return Err(Error::sys("look for the image's users")(error)),
    };
    let metadata = handle.metadata().map_err(Error::io("stat", Path::new(path)))?;
    let kind = metadata.file_type();
    if kind.is_char_device() && metadata.rdev() == 0 {
        return Ok(Found::Hidden);
    }
    if !kind.is_file() {
        return Ok(Found::Bytes(Vec::new()));
    }
    let file = root.open_file(&name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
    let file = File::from(file.map_err(Error::sys("open the image's users"))?);
    let mut bytes = Vec::new();
    file.take(USER_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(Error::io("read", Path::new(path)))?;
    Ok(Found::Bytes(bytes))
}

/// Whether this layer's `/etc` hides those below: it is a whiteout, or marked opaque.
fn opaque(root: &Root, path: &str) -> bool {
    let Some((parent, _)) = path.rsplit_once('/') else { return false };
    let name = InRoot::parse(parent).expect("a constant without NUL");
    let Ok(handle) = root.open_path(&name).map(File::from) else { return false };
    if handle.metadata().is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0) {
        return true;
    }
    let Ok(dir) = root.open_dir(&name) else { return false };
    let marked = |attribute| Holder::File(dir.as_fd()).get(attribute).is_ok_and(|value| value.as_deref() == Some(b"y"));
    marked(c"trusted.overlay.opaque") || marked(c"user.overlay.opaque")
}
