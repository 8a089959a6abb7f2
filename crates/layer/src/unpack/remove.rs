//! Removes whole trees.
//!
//! Law: no link is followed, two directories are open at a time and nothing recurses, however deep a hostile layer nested
//! them: directories that are not empty are hoisted to the top of the doomed tree and removed there.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use knarr_sys::{Errno, Result, at};

/// Removes what stands under `name`, with everything below. Nothing there is no error.
pub fn remove_tree(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    if remove_one(dir, name)? {
        return Ok(());
    }
    let top = at::open_dir(dir, name)?;
    let mut hoisted = 0;
    while !at::remove_dir(dir, name)? {
        for name in at::names(top.as_fd())? {
            if !remove_one(top.as_fd(), &name)? {
                empty(top.as_fd(), &name, &mut hoisted)?;
            }
        }
    }
    Ok(())
}

/// `false` where a directory that is not empty stands there.
fn remove_one(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    match at::remove_file(dir, name) {
        Ok(false) => at::remove_dir(dir, name),
        Err(error) if error.errno == Errno::NOENT => Ok(true),
        other => other,
    }
}

/// Empties the directory `name` of `top`, moving directories that are not empty themselves up into `top`.
fn empty(top: BorrowedFd<'_>, name: &CStr, hoisted: &mut u64) -> Result<()> {
    let dir = at::open_dir(top, name)?;
    while !at::remove_dir(top, name)? {
        for below in at::names(dir.as_fd())? {
            if !remove_one(dir.as_fd(), &below)? {
                hoist(dir.as_fd(), &below, top, hoisted)?;
            }
        }
    }
    Ok(())
}

fn hoist(dir: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, hoisted: &mut u64) -> Result<()> {
    loop {
        *hoisted += 1;
        let free = CString::new(format!(".knarr-removed-{hoisted}")).expect("no NUL in it");
        match at::rename_new(dir, name, top, &free) {
            Err(error) if error.errno == Errno::EXIST => continue,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;

    use super::*;

    fn open(path: &std::path::Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    #[test]
    fn a_tree_deeper_than_paths_and_descriptors_reach_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let mut here = open(temp.path());
        for level in 0..1200 {
            at::make_dir(&here, c"deep", at::Mode::from(0o700)).unwrap();
            let below = at::open_dir(&here, c"deep").unwrap();
            at::open(&below, c"file", at::OFlags::CREATE | at::OFlags::WRONLY, at::Mode::from(0o600)).unwrap();
            if level % 500 == 0 {
                at::make_dir(&below, c"side", at::Mode::from(0o700)).unwrap();
            }
            here = below;
        }
        remove_tree(open(temp.path()).as_fd(), c"deep").unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("doomed/sub")).unwrap();
        fs::create_dir(temp.path().join("kept")).unwrap();
        fs::write(temp.path().join("kept/file"), "").unwrap();
        std::os::unix::fs::symlink("../../kept", temp.path().join("doomed/sub/link")).unwrap();
        std::os::unix::fs::symlink("kept", temp.path().join("link")).unwrap();
        let dir = open(temp.path());
        for name in [c"doomed", c"link", c"missing"] {
            remove_tree(dir.as_fd(), name).unwrap();
        }
        assert!(temp.path().join("kept/file").exists());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_that_look_like_hoisted_ones_do_no_harm() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("doomed/a/b/c")).unwrap();
        fs::create_dir_all(temp.path().join("doomed/.knarr-removed-1/x/y")).unwrap();
        remove_tree(open(temp.path()).as_fd(), c"doomed").unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
