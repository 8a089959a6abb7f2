//! Where an image comes from: `docker://`, `oci:`, `oci-archive:`, `docker-archive:`, or a plain reference.
//!
//! Spec: containers-transports(5) for the texts.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use knarr_spec::{Reference, ReferenceError};

/// A place an image is fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A registry.
    Registry(Reference),
    /// A directory in the OCI image layout.
    OciLayout {
        /// The directory that holds `oci-layout` and `index.json`.
        dir: PathBuf,
        /// `org.opencontainers.image.ref.name`, or a digest of one of the manifests; may be absent if there is only one.
        tag: Option<String>,
    },
    /// A tar of an OCI image layout, perhaps gzip or zstd compressed.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// As in [`Source::OciLayout`].
        tag: Option<String>,
    },
    /// A tar as `docker save` writes it, perhaps gzip or zstd compressed.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// One of the `RepoTags`; may be absent if there is only one image.
        tag: Option<String>,
    },
}

impl FromStr for Source {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Source, ReferenceError> {
        let Some((transport, rest)) = text.split_once(':') else {
            return Ok(Source::Registry(text.parse()?));
        };
        match transport {
            "docker" if rest.starts_with("//") => Ok(Source::Registry(rest[2..].parse()?)),
            "oci" => {
                let (path, tag) = path_and_tag(rest);
                Ok(Source::OciLayout { dir: path, tag })
            }
            "oci-archive" => {
                let (path, tag) = path_and_tag(rest);
                Ok(Source::OciArchive { path, tag })
            }
            "docker-archive" => {
                let (path, tag) = path_and_tag(rest);
                Ok(Source::DockerArchive { path, tag })
            }
            _ => Ok(Source::Registry(text.parse()?)),
        }
    }
}

/// The first colon divides, as in skopeo: a path with a colon cannot be written.
fn path_and_tag(text: &str) -> (PathBuf, Option<String>) {
    match text.split_once(':') {
        Some((path, tag)) => (path.into(), Some(tag.to_owned()).filter(|tag| !tag.is_empty())),
        None => (text.into(), None),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, tag) = match self {
            Source::Registry(reference) => return reference.fmt(f),
            Source::OciLayout { dir, tag } => ("oci", dir, tag),
            Source::OciArchive { path, tag } => ("oci-archive", path, tag),
            Source::DockerArchive { path, tag } => ("docker-archive", path, tag),
        };
        write!(f, "{transport}:{}", path.display())?;
        match tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(text.parse::<Source>().expect(text).to_string(), expect);
    }

    #[test]
    fn a_plain_reference_is_a_registry() {
        check("alpine", "docker.io/library/alpine:latest");
        check("docker://localhost:5000/x:1", "localhost:5000/x:1");
    }

    #[test]
    fn transports_carry_a_path_and_perhaps_a_tag() {
        check("oci:/tmp/x:v1", "oci:/tmp/x:v1");
        check("oci:rel/dir", "oci:rel/dir");
        check("oci-archive:x.tar.gz:a", "oci-archive:x.tar.gz:a");
        check("docker-archive:x.tar:docker.io/library/a:1", "docker-archive:x.tar:docker.io/library/a:1");
    }

    #[test]
    fn an_image_called_oci_is_still_an_image() {
        check("oci", "docker.io/library/oci:latest");
        check("docker:27", "docker.io/library/docker:27");
    }

    proptest::proptest! {
        #[test]
        fn a_source_that_parses_prints_what_parses_to_the_same(text in "(oci:|docker://|oci-archive:|docker-archive:)?[a-zA-Z0-9./:@_-]{0,60}") {
            if let Ok(source) = text.parse::<Source>() {
                proptest::prop_assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
            }
        }
    }
}
