//! Platforms: what an image was built for, and which of an index's images fits.
//!
//! Spec: image-spec image-index.md, "platform"; the normal forms are containerd's, which Docker prints.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, architecture and variant, in Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `GOARCH`: amd64, arm64, …
    pub architecture: String,
    /// `GOOS`: linux, windows, …
    pub os: String,
    /// Version of the operating system, for Windows images.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features the operating system must have.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// CPU variant: v7, v8, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform: expected os/architecture[/variant], as in linux/arm64/v8")]
pub struct PlatformError(pub String);

impl Platform {
    /// A platform in its normal form.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let variant = variant.filter(|v| !v.is_empty());
        let (architecture, variant) = match (architecture.to_ascii_lowercase().as_str(), variant) {
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64".to_owned(), v.filter(|v| *v != "v1").map(str::to_owned)),
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386".to_owned(), None),
            ("aarch64" | "arm64", v) => ("arm64".to_owned(), v.filter(|v| *v != "8" && *v != "v8").map(str::to_owned)),
            ("armhf", _) => ("arm".to_owned(), Some("v7".to_owned())),
            ("armel", _) => ("arm".to_owned(), Some("v6".to_owned())),
            ("arm", v) => ("arm".to_owned(), Some(with_v(v.unwrap_or("v7")))),
            ("powerpc64le", v) => ("ppc64le".to_owned(), v.map(str::to_owned)),
            (other, v) => (other.to_owned(), v.map(str::to_owned)),
        };
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        Platform { architecture, os, os_version: None, os_features: Vec::new(), variant }
    }

    /// The platform this binary was built for.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "x86" => "386",
            other => other,
        };
        Platform::new(std::env::consts::OS, architecture, None)
    }

    /// This platform's fields in their normal form.
    pub fn normalized(&self) -> Platform {
        Platform {
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            ..Platform::new(&self.os, &self.architecture, self.variant.as_deref())
        }
    }

    /// How well an image for `image` runs where `self` is wanted: `None` not at all, otherwise lower is better.
    pub fn preference(&self, image: &Platform) -> Option<u8> {
        let (want, have) = (self.normalized(), image.normalized());
        if want.os != have.os || want.architecture != have.architecture {
            return None;
        }
        match (want.variant.as_deref(), have.variant.as_deref()) {
            (w, h) if w == h => Some(0),
            (Some(w), Some(h)) if want.architecture == "arm" => {
                let number = |v: &str| v.trim_start_matches('v').parse::<u8>().ok();
                number(w)?.checked_sub(number(h)?)
            }
            (Some(_), None) => Some(1),
            (None | Some(_), Some(_)) => None,
            (None, None) => Some(0),
        }
    }
}

fn with_v(variant: &str) -> String {
    if variant.starts_with('v') { variant.to_owned() } else { format!("v{variant}") }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let word =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !parts.iter().all(word) {
            return Err(PlatformError(text.to_owned()));
        }
        match parts[..] {
            [os, architecture] => Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, Some(variant))),
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(want: &str, have: &str, expect: Option<u8>) {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        assert_eq!(parse(want).preference(&parse(have)), expect, "{want} on {have}");
    }

    #[test]
    fn names_of_other_worlds_are_normalized() {
        assert_eq!("linux/x86_64".parse::<Platform>().unwrap().to_string(), "linux/amd64");
        assert_eq!("linux/aarch64/v8".parse::<Platform>().unwrap().to_string(), "linux/arm64");
        assert_eq!("linux/armhf".parse::<Platform>().unwrap().to_string(), "linux/arm/v7");
    }

    #[test]
    fn an_exact_match_is_best_and_an_older_arm_runs_on_a_newer_one() {
        check("linux/amd64", "linux/amd64", Some(0));
        check("linux/arm/v7", "linux/arm/v6", Some(1));
        check("linux/arm/v6", "linux/arm/v7", None);
    }

    #[test]
    fn another_system_or_architecture_never_matches() {
        check("linux/amd64", "windows/amd64", None);
        check("linux/amd64", "linux/arm64", None);
    }

    #[test]
    fn a_level_above_the_wanted_one_does_not_match() {
        check("linux/amd64", "linux/amd64/v3", None);
        check("linux/amd64/v3", "linux/amd64", Some(1));
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for text in ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "linux/../x/y"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }
}
