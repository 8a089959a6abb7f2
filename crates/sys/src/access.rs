//! `access(2)`, with the effective ids.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Whether this process may write to it.
pub fn writable(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}
