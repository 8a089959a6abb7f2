//! Where an image is: `docker://`, `oci:`, `oci-archive:`, `docker-archive:`, `dir:`, `local:`, or a plain reference.
//!
//! Spec: containers-transports(5) for the texts.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use knarr_spec::{Reference, ReferenceError};

/// A place images come from and go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
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
        /// As in [`Place::OciLayout`].
        tag: Option<String>,
    },
    /// A tar as `docker save` writes it, perhaps gzip or zstd compressed.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// One of the `RepoTags`; may be absent if there is only one image.
        tag: Option<String>,
    },
    /// A directory with one image, as skopeo's `dir:` has it.
    Dir(PathBuf),
    /// The store, by name or id.
    Local(String),
}

/// Transports of others that there is nothing here to talk to with.
const FOREIGN: [&str; 6] = ["containers-storage", "docker-daemon", "sif", "ostree", "tarball", "atomic"];

/// Why a text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No transport, or one nobody knows.
    #[error("Invalid image name {0:?}, unknown transport {1:?}")]
    UnknownTransport(String, String),
    /// No colon.
    #[error("Invalid image name {0:?}, expected colon-separated transport:reference")]
    NoTransport(String),
    /// A transport that is known and not here.
    #[error("transport {0:?} is not supported")]
    Unsupported(String),
    /// Nothing behind the transport.
    #[error("Invalid image name {0:?}: it names nothing")]
    Empty(String),
    /// Not a reference.
    #[error("Invalid image name {0:?}, {1}")]
    Reference(String, ReferenceError),
}

impl Place {
    /// A text with a transport, as skopeo wants it.
    pub fn with_transport(text: &str) -> Result<Place, PlaceError> {
        let (transport, rest) = text.split_once(':').ok_or_else(|| PlaceError::NoTransport(text.to_owned()))?;
        match transport {
            "docker" | "oci" | "oci-archive" | "docker-archive" | "dir" | "local" => {}
            other if FOREIGN.contains(&other) => return Err(PlaceError::Unsupported(other.to_owned())),
            other => return Err(PlaceError::UnknownTransport(text.to_owned(), other.to_owned())),
        }
        if rest.trim_start_matches('/').is_empty() {
            return Err(PlaceError::Empty(text.to_owned()));
        }
        if transport == "docker" && !rest.starts_with("//") {
            return Err(PlaceError::Reference(text.to_owned(), ReferenceError::Malformed(rest.to_owned())));
        }
        text.parse().map_err(|error| PlaceError::Reference(text.to_owned(), error))
    }

    /// Whether `text` begins with a transport rather than with a name.
    pub fn has_transport(text: &str) -> bool {
        match text.split_once(':') {
            Some(("docker", rest)) => rest.starts_with("//"),
            Some((transport, _)) => matches!(transport, "oci" | "oci-archive" | "docker-archive" | "dir" | "local"),
            None => false,
        }
    }

    /// `docker`, `oci` …
    pub fn transport(&self) -> &'static str {
        match self {
            Place::Registry(_) => "docker",
            Place::OciLayout { .. } => "oci",
            Place::OciArchive { .. } => "oci-archive",
            Place::DockerArchive { .. } => "docker-archive",
            Place::Dir(_) => "dir",
            Place::Local(_) => "local",
        }
    }
}

impl FromStr for Place {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Place, ReferenceError> {
        let Some((transport, rest)) = text.split_once(':') else {
            return Ok(Place::Registry(text.parse()?));
        };
        match transport {
            "docker" if rest.starts_with("//") => Ok(Place::Registry(rest[2..].parse()?)),
            "oci" => {
                let (path, tag) = path_and_tag(rest);
                Ok(Place::OciLayout { dir: path, tag })
            }
            "oci-archive" => {
                let (path, tag) = path_and_tag(rest);
                Ok(Place::OciArchive { path, tag })
            }
            "docker-archive" => {
                let (path, tag) = path_and_tag(rest);
                Ok(Place::DockerArchive { path, tag })
            }
            "dir" => Ok(Place::Dir(rest.into())),
            "local" => Ok(Place::Local(rest.to_owned())),
            _ => Ok(Place::Registry(text.parse()?)),
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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, tag) = match self {
            Place::Registry(reference) => return reference.fmt(f),
            Place::OciLayout { dir, tag } => ("oci", dir, tag),
            Place::OciArchive { path, tag } => ("oci-archive", path, tag),
            Place::DockerArchive { path, tag } => ("docker-archive", path, tag),
            Place::Dir(path) => return write!(f, "dir:{}", path.display()),
            Place::Local(name) => return write!(f, "local:{name}"),
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
        assert_eq!(text.parse::<Place>().expect(text).to_string(), expect);
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
        fn a_source_that_parses_prints_what_parses_to_the_same(text in "(oci:|docker://|oci-archive:|docker-archive:|dir:|local:)?[a-zA-Z0-9./:@_-]{0,60}") {
            if let Ok(source) = text.parse::<Place>() {
                proptest::prop_assert_eq!(source.to_string().parse::<Place>().unwrap(), source);
            }
        }
    }
}
