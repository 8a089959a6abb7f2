//! `--device HOST[:CONTAINER][:rwm]`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// A host device to be made inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWanted {
    /// Path on the host.
    pub host: String,
    /// Path inside.
    pub container: String,
    /// Some of `r`, `w`, `m`.
    pub access: String,
}

impl FromStr for DeviceWanted {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<DeviceWanted, ParseError> {
        let wrong = |why: &str| ParseError::new("device", text, why);
        let is_access = |part: &str| !part.is_empty() && part.bytes().all(|b| b"rwm".contains(&b));
        let (host, container, access) = match text.split(':').collect::<Vec<_>>()[..] {
            [host] => (host, host, "rwm"),
            [host, access] if is_access(access) => (host, host, access),
            [host, container] => (host, container, "rwm"),
            [host, container, access] => (host, container, access),
            _ => return Err(wrong("expected HOST[:CONTAINER][:PERMISSIONS]")),
        };
        if !is_access(access) {
            return Err(wrong("permissions are some of r, w and m"));
        }
        if !host.starts_with('/') || !container.starts_with('/') {
            return Err(wrong("paths must be absolute"));
        }
        Ok(DeviceWanted { host: host.into(), container: container.into(), access: access.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(&str, &str, &str)>) {
        let got = text.parse::<DeviceWanted>().ok();
        assert_eq!(got.as_ref().map(|d| (&d.host[..], &d.container[..], &d.access[..])), expect, "{text:?}");
    }

    #[test]
    fn paths_and_permissions_are_optional_from_the_right() {
        check("/dev/fuse", Some(("/dev/fuse", "/dev/fuse", "rwm")));
        check("/dev/fuse:rw", Some(("/dev/fuse", "/dev/fuse", "rw")));
        check("/dev/a:/dev/b", Some(("/dev/a", "/dev/b", "rwm")));
        check("/dev/a:/dev/b:r", Some(("/dev/a", "/dev/b", "r")));
    }

    #[test]
    fn relative_paths_and_other_permissions_are_refused() {
        for text in ["", "fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/a:/b:r:w"] {
            check(text, None);
        }
    }
}
