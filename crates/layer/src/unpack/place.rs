//! Where an entry goes, and whether its name is a whiteout.
//!
//! Spec: image-spec layer.md, "Whiteouts", "Opaque Whiteout".
//! Law: pure text. `.`, `..` and doubled slashes are folded before anything is opened, as every reader of layers does; a
//! name that climbs above the root is refused. Links on the way are the tree's business.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::Refusal;

/// What a whiteout's name starts with.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// What hides everything in its directory.
pub const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// AUFS's own bookkeeping (`.wh..wh.plnk`, `.wh..wh.aufs`), which old images carry and nobody reads.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// A cleaned name: relative, without `.` and `..`; empty for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    bytes: CString,
    name_at: usize,
}

impl Place {
    /// Folds a name as written.
    pub fn of(written: &[u8]) -> Result<Place, Refusal> {
        let mut bytes: Vec<u8> = Vec::with_capacity(written.len() + 1);
        let mut name_at = 0_usize;
        for component in written.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." if bytes.is_empty() => return Err(Refusal::ClimbsOut),
                b".." => {
                    bytes.truncate(name_at.saturating_sub(1));
                    name_at = bytes.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
                }
                name => {
                    if !bytes.is_empty() {
                        bytes.push(b'/');
                    }
                    name_at = bytes.len();
                    bytes.extend_from_slice(name);
                }
            }
        }
        Ok(Place { bytes: CString::new(bytes).expect("headers end names at their first NUL"), name_at })
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The whole path.
    pub fn path(&self) -> &[u8] {
        self.bytes.as_bytes()
    }

    /// The directory it stands in, empty for the root.
    pub fn parent(&self) -> &[u8] {
        &self.path()[..self.name_at.saturating_sub(1)]
    }

    /// The last name.
    pub fn name(&self) -> &CStr {
        &self.bytes.as_c_str()[self.name_at..]
    }

    /// The path for messages and reports, `.` for the root.
    pub fn show(&self) -> PathBuf {
        show(self.path())
    }

    /// What the name means.
    pub fn meaning(&self) -> Result<Meaning, Refusal> {
        let name = self.name().to_bytes();
        if let Some(below) = below_whiteout(self.parent()) {
            return if below.starts_with(AUFS_PREFIX) { Ok(Meaning::Nothing) } else { Err(Refusal::BelowWhiteout) };
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) else { return Ok(Meaning::Itself) };
        match hidden {
            _ if name == OPAQUE_NAME => Ok(Meaning::Opaque),
            _ if name.starts_with(AUFS_PREFIX) => Ok(Meaning::Nothing),
            b"" | b"." | b".." => Err(Refusal::WhiteoutWithoutName),
            _ => Ok(Meaning::Whiteout(self.sibling(hidden))),
        }
    }

    fn sibling(&self, name: &[u8]) -> Place {
        let bytes = [&self.path()[..self.name_at], name].concat();
        Place { bytes: CString::new(bytes).expect("part of a C string"), name_at: self.name_at }
    }
}

/// What an entry's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The entry is what it says.
    Itself,
    /// It hides this place of the layers below.
    Whiteout(Place),
    /// It hides all that the layers below have in its directory.
    Opaque,
    /// It is passed over.
    Nothing,
}

/// The first component that is a whiteout's name.
fn below_whiteout(parent: &[u8]) -> Option<&[u8]> {
    parent.split(|&b| b == b'/').find(|component| component.starts_with(WHITEOUT_PREFIX))
}

/// A path for messages and reports.
pub fn show(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(if path.is_empty() { b"." } else { path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, path: &str, parent: &str, name: &str) {
        let place = Place::of(written.as_bytes()).unwrap();
        assert_eq!(
            (place.path(), place.parent(), place.name().to_bytes()),
            (path.as_bytes(), parent.as_bytes(), name.as_bytes()),
            "{written:?}"
        );
    }

    fn meaning(written: &str) -> Result<Meaning, Refusal> {
        Place::of(written.as_bytes()).unwrap().meaning()
    }

    #[test]
    fn names_are_folded() {
        check("etc/passwd", "etc/passwd", "etc", "passwd");
        check("./etc//./passwd/", "etc/passwd", "etc", "passwd");
        check("/etc/x/../passwd", "etc/passwd", "etc", "passwd");
        check("a/b/../../c", "c", "", "c");
        check("a/..", "", "", "");
        check("./", "", "", "");
        check("/", "", "", "");
    }

    #[test]
    fn names_that_climb_out_are_refused() {
        for name in ["..", "../x", "/../x", "a/../../x", "./../x", "a/b/../../../x"] {
            assert_eq!(Place::of(name.as_bytes()), Err(Refusal::ClimbsOut), "{name:?}");
        }
    }

    #[test]
    fn whiteouts_are_told_from_files() {
        assert_eq!(meaning("a/wh.x"), Ok(Meaning::Itself));
        assert_eq!(meaning("a/.wh"), Ok(Meaning::Itself));
        assert_eq!(meaning("a/.wh.x"), Ok(Meaning::Whiteout(Place::of(b"a/x").unwrap())));
        assert_eq!(meaning(".wh.x"), Ok(Meaning::Whiteout(Place::of(b"x").unwrap())));
        assert_eq!(meaning(".wh..x"), Ok(Meaning::Whiteout(Place::of(b".x").unwrap())));
        assert_eq!(meaning("a/.wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(meaning(".wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(meaning(".wh..wh.plnk/12.34"), Ok(Meaning::Nothing));
        assert_eq!(meaning(".wh..wh.aufs"), Ok(Meaning::Nothing));
    }

    #[test]
    fn whiteouts_of_nothing_of_dot_and_of_dot_dot_are_refused() {
        for name in [".wh.", "a/.wh.", ".wh..", "a/.wh..", ".wh...", "a/.wh..."] {
            assert_eq!(meaning(name), Err(Refusal::WhiteoutWithoutName), "{name:?}");
        }
        assert_eq!(meaning(".wh.x/y"), Err(Refusal::BelowWhiteout));
    }
}
