//! `linux.cgroupsPath`, and the directory it means in each hierarchy.

use std::path::{Component, Path, PathBuf};

use crate::{
    Error,
    layout::{Hierarchy, Version},
};

/// A checked cgroups path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupPath {
    /// From the mount point, or else from where this process is.
    absolute: bool,
    /// Plain names only.
    names: PathBuf,
}

impl CgroupPath {
    pub(crate) fn parse(path: &Path) -> Result<CgroupPath, Error> {
        let wrong = |why| Error::Path { path: path.into(), why };
        let names: PathBuf =
            path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).collect();
        if names.components().any(|part| part == Component::ParentDir) {
            return Err(wrong("must not contain \"..\""));
        }
        if names.as_os_str().is_empty() {
            return Err(wrong("names no cgroup"));
        }
        let absolute = path.is_absolute();
        // `slice:prefix:name` is the form for the systemd manager.
        if !absolute && path.to_string_lossy().matches(':').count() == 2 {
            return Err(wrong("is in systemd's form, but the manager is cgroupfs"));
        }
        Ok(CgroupPath { absolute, names })
    }

    /// The directory. A relative path begins at this process's own cgroup; in version 2 at the one above, because a cgroup with
    /// processes in it cannot hand controllers on.
    pub(crate) fn in_hierarchy(&self, hierarchy: &Hierarchy) -> PathBuf {
        self.below(hierarchy).into_iter().fold(hierarchy.mount_point.clone(), |path, name| path.join(name))
    }

    /// The names from the mount point to the directory.
    pub(crate) fn below(&self, hierarchy: &Hierarchy) -> Vec<std::ffi::OsString> {
        let start = match (self.absolute, hierarchy.version) {
            (true, _) => Path::new(""),
            (false, Version::V1) => &hierarchy.own,
            (false, Version::V2) => hierarchy.own.parent().unwrap_or(Path::new("")),
        };
        start.components().chain(self.names.components()).map(|part| part.as_os_str().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, version: Version, own: &str, expect: &str) {
        let hierarchy = Hierarchy { version, controllers: vec![], mount_point: "/c".into(), own: own.into() };
        let path = CgroupPath::parse(Path::new(path)).unwrap();
        assert_eq!(path.in_hierarchy(&hierarchy), Path::new(expect));
    }

    #[test]
    fn an_absolute_path_begins_at_the_mount_point() {
        check("/docker/x", Version::V1, "own", "/c/docker/x");
        check("//docker/./x/", Version::V2, "own", "/c/docker/x");
    }

    #[test]
    fn a_relative_path_begins_where_this_process_is() {
        check("x", Version::V1, "a/b", "/c/a/b/x");
        check("x", Version::V2, "a/b", "/c/a/x");
        check("x", Version::V2, "", "/c/x");
    }

    #[test]
    fn paths_that_climb_or_name_nothing_are_refused() {
        for path in ["/a/../../etc", "..", "", "/", ".", "system.slice:knarr:x"] {
            assert!(CgroupPath::parse(Path::new(path)).is_err(), "{path}");
        }
    }
}
