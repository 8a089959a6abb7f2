//! The mount table of our mount namespace.
//!
//! Spec: proc_pid_mountinfo(5). Fields: id, parent, major:minor, root, mount point, options, tags… `-` type, source,
//! super options; spaces, tabs, newlines and backslashes are written in octal.

use serde::{Deserialize, Serialize};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is mounted.
    pub target: String,
    /// The directory of the file system that is mounted there; `/` unless it is a bind mount.
    pub root: String,
    /// File system type.
    pub fstype: String,
    /// Device or whatever the file system calls its source.
    pub source: String,
    /// Options of this mount (`ro`, `nosuid`, …).
    pub options: Vec<String>,
    /// Options of the file system below it.
    pub super_options: Vec<String>,
    /// Propagation tags (`shared:1`, `master:2`, `unbindable`); empty when private.
    pub propagation: Vec<String>,
}

impl Mount {
    /// Whether nothing can be written through this mount.
    pub fn read_only(&self) -> bool {
        let ro = |options: &[String]| options.iter().any(|option| option == "ro");
        ro(&self.options) || ro(&self.super_options)
    }
}

/// Every well-formed line.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, target, options) = (left.next()?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    Some(Mount {
        target: unescape(target),
        root: unescape(root),
        options: list(options),
        propagation: left.filter(|tag| !tag.is_empty()).map(str::to_string).collect(),
        fstype: right.next()?.to_string(),
        source: unescape(right.next()?),
        super_options: list(right.next().unwrap_or("")),
    })
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|option| !option.is_empty()).map(unescape).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let octal = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Mount {
        parse(text).remove(0)
    }

    #[test]
    fn a_plain_line() {
        let mount = one("36 35 98:0 /sub /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue");
        assert_eq!((mount.root.as_str(), mount.target.as_str(), mount.fstype.as_str()), ("/sub", "/mnt", "ext3"));
        assert_eq!(mount.options, ["rw", "noatime"]);
        assert_eq!(mount.propagation, ["master:1"]);
        assert!(!mount.read_only());
    }

    #[test]
    fn a_read_only_file_system_is_read_only_whatever_the_mount_says() {
        assert!(one("1 0 0:1 / / rw - overlay overlay ro,lowerdir=/a").read_only());
        assert!(one("1 0 0:1 / / ro - overlay overlay rw,lowerdir=/a").read_only());
    }

    #[test]
    fn a_space_in_a_path_is_octal() {
        assert_eq!(one(r"1 0 0:1 / /a\040b\134c rw - tmpfs none rw").target, r"/a b\c");
    }

    #[test]
    fn a_line_cut_short_is_left_out() {
        assert_eq!(parse("1 0 0:1 / /mnt\n1 0 0:1 / / rw - tmpfs").len(), 0);
    }
}
