//! A path that is only ever meant inside a [`Root`](crate::Root).
//!
//! Law: relative, free of NUL, shorter than `PATH_MAX`, without empty and `.` components; `..` is kept, because only the
//! kernel knows what it means behind a symbolic link.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Longest path in bytes, without the NUL: Linux's `PATH_MAX` of 4096 counts it.
pub const IN_ROOT_BYTES_MAX: usize = 4095;

/// Why bytes are no path inside a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InRootError {
    /// A NUL byte, which no path can hold.
    #[error("path {0:?} contains a NUL byte")]
    Nul(OsString),
    /// More bytes than the kernel takes.
    #[error("path {start:?}… has {bytes} bytes, the kernel takes {IN_ROOT_BYTES_MAX}")]
    TooLong {
        /// The first bytes of the path.
        start: OsString,
        /// How many there were.
        bytes: usize,
    },
}

/// A path relative to a root. A leading `/` means the root too, so `/etc/passwd` and `etc/passwd` are the same value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InRoot(CString);

impl InRoot {
    /// The root itself.
    pub fn top() -> InRoot {
        InRoot(c".".to_owned())
    }

    /// The path these bytes spell.
    pub fn parse(path: impl AsRef<OsStr>) -> Result<InRoot, InRootError> {
        let bytes = path.as_ref().as_bytes();
        if bytes.contains(&0) {
            return Err(InRootError::Nul(path.as_ref().to_owned()));
        }
        let mut normal = Vec::with_capacity(bytes.len() + 1);
        for component in components(bytes) {
            if !normal.is_empty() {
                normal.push(b'/');
            }
            normal.extend_from_slice(component);
        }
        if normal.len() > IN_ROOT_BYTES_MAX {
            let start = OsString::from_vec(normal[..64].to_vec());
            return Err(InRootError::TooLong { start, bytes: normal.len() });
        }
        if normal.is_empty() {
            normal.push(b'.');
        }
        Ok(InRoot(CString::new(normal).expect("NUL was refused above")))
    }

    /// The path as bytes, `.` for the root itself.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The path as the kernel takes it.
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }

    /// The path as a relative [`Path`]; to join it to a root by text is what this type is there to prevent.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.as_bytes()))
    }

    /// Whether this is the root itself.
    pub fn is_top(&self) -> bool {
        self.as_bytes() == b"."
    }

    /// The names in order; none for the root itself.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        components(self.as_bytes())
    }

    /// The path of `below`, seen from here.
    pub fn join(&self, below: &InRoot) -> Result<InRoot, InRootError> {
        let joined = [self.as_bytes(), b"/", below.as_bytes()].concat();
        InRoot::parse(OsStr::from_bytes(&joined))
    }

    /// Whether `path` is a name in this directory itself.
    pub fn holds(&self, path: &InRoot) -> bool {
        let parent =
            path.as_bytes().iter().rposition(|&b| b == b'/').map_or(&b"."[..], |slash| &path.as_bytes()[..slash]);
        parent == self.as_bytes()
    }

    /// This path as seen from `above`; `None` where it does not lie below.
    pub fn seen_from(&self, above: &InRoot) -> Option<InRoot> {
        let rest = self.as_bytes().strip_prefix(above.as_bytes())?.strip_prefix(b"/")?;
        Some(InRoot(CString::new(rest).expect("part of a NUL-free path")))
    }

    /// The directory and the name in it; `None` where there is no name (the root itself, or a path ending in `..`).
    pub fn split_last(&self) -> Option<(InRoot, &OsStr)> {
        let bytes = self.as_bytes();
        let (parent, name) = match bytes.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
            None => (&b"."[..], bytes),
        };
        if matches!(name, b"." | b"..") {
            return None;
        }
        Some((InRoot(CString::new(parent).expect("part of a NUL-free path")), OsStr::from_bytes(name)))
    }
}

fn components(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    bytes.split(|&b| b == b'/').filter(|component| !matches!(*component, b"" | b"."))
}

impl std::str::FromStr for InRoot {
    type Err = InRootError;

    fn from_str(text: &str) -> Result<InRoot, InRootError> {
        InRoot::parse(text)
    }
}

impl fmt::Display for InRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().display().fmt(f)
    }
}

impl fmt::Debug for InRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, normal: &str) {
        assert_eq!(InRoot::parse(path).unwrap().as_bytes(), normal.as_bytes(), "{path:?}");
    }

    #[test]
    fn slashes_and_dots_are_folded_but_dot_dot_is_kept() {
        check("etc/passwd", "etc/passwd");
        check("/etc//passwd/", "etc/passwd");
        check("./etc/./passwd/.", "etc/passwd");
        check("a/../../b", "a/../../b");
        check("", ".");
        check("///", ".");
    }

    #[test]
    fn nul_and_length_are_refused() {
        assert!(matches!(InRoot::parse("a\0b"), Err(InRootError::Nul(_))));
        assert!(InRoot::parse("a".repeat(IN_ROOT_BYTES_MAX)).is_ok());
        let error = InRoot::parse("a".repeat(IN_ROOT_BYTES_MAX + 1)).unwrap_err();
        assert!(error.to_string().contains("has 4096 bytes"), "{error}");
    }

    #[test]
    fn the_last_name_is_split_off_where_there_is_one() {
        let split = |path: &str| {
            let path = InRoot::parse(path).unwrap();
            path.split_last().map(|(parent, name)| (parent.to_string(), name.to_str().unwrap().to_owned()))
        };
        assert_eq!(split("a/b/c"), Some(("a/b".into(), "c".into())));
        assert_eq!(split("c"), Some((".".into(), "c".into())));
        assert_eq!(split("a/.."), None);
        assert_eq!(split("/"), None);
    }

    #[test]
    fn a_directory_holds_the_names_in_it_alone() {
        let holds =
            |directory: &str, path: &str| InRoot::parse(directory).unwrap().holds(&InRoot::parse(path).unwrap());
        assert!(holds("dev", "/dev/null") && holds("/", "null"));
        assert!(!holds("dev", "/dev/mapper/control") && !holds("dev", "device") && !holds("/", "dev/null"));
    }

    #[test]
    fn a_path_is_seen_from_above_only() {
        let seen = |path: &str, above: &str| {
            let seen = InRoot::parse(path).unwrap().seen_from(&InRoot::parse(above).unwrap());
            seen.map(|path| path.to_string())
        };
        assert_eq!(seen("/proc/sys/net", "proc"), Some("sys/net".into()));
        assert_eq!((seen("/proc", "proc"), seen("/process/1", "proc"), seen("/sys/x", "proc")), (None, None, None));
    }

    #[test]
    fn a_join_cannot_escape_by_text() {
        let joined = InRoot::parse("a").unwrap().join(&InRoot::parse("/b").unwrap()).unwrap();
        assert_eq!(joined.to_string(), "a/b");
    }
}
