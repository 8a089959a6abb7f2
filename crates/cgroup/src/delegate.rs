//! Giving a version 2 cgroup to the container's root.
//!
//! Spec: runtime-spec, config-linux.md "Cgroup ownership"; the kernel lists the files in `/sys/kernel/cgroup/delegate`.

use std::{io, os::unix::fs::chown, path::Path};

use crate::{
    Error,
    files::{gone, read_if_there},
};

/// What the list held when it was introduced (Linux 4.15), for kernels that do not have it.
const DELEGATE_DEFAULT: &str = "cgroup.procs cgroup.subtree_control cgroup.threads";

/// Changes the owner of the directory and of the files the kernel names.
pub(crate) fn delegate(directory: &Path, uid: u32) -> Result<(), Error> {
    let list = read_if_there(Path::new("/sys/kernel/cgroup/delegate"))?.unwrap_or_else(|| DELEGATE_DEFAULT.to_owned());
    own(directory, uid)?;
    list.split_whitespace().filter(|file| !file.contains('/')).try_for_each(|file| own(&directory.join(file), uid))
}

fn own(path: &Path, uid: u32) -> Result<(), Error> {
    match chown(path, Some(uid), None) {
        Err(error) if gone(&error) && error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Delegate { path: path.into(), uid, source }),
        Ok(()) => Ok(()),
    }
}
