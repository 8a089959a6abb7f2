//! From a resources document to the list of files to write. Pure.

use knarr_spec::runtime::LinuxResources;

use crate::{Error, Version};

/// One value for one file of a cgroup directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The controller the file belongs to.
    pub controller: String,
    /// File name in the cgroup directory.
    pub file: String,
    /// The exact bytes to write.
    pub value: String,
}

/// What to write for `resources` in a hierarchy of `version`.
pub fn plan(resources: &LinuxResources, version: Version) -> Result<Vec<Write>, Error> {
    let _ = (resources, version);
    Ok(Vec::new())
}
