//! What can be wrong with images outside of the store, with changes to images, and with bundles.

use std::path::PathBuf;

use knarr_spec::Digest;

/// Why an image cannot be read, changed or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageProblem {
    /// A directory is no image layout, or a broken one.
    #[error("{}: {why}", path.display())]
    Layout {
        /// The directory.
        path: PathBuf,
        /// `has no oci-layout file`.
        why: String,
    },
    /// The layout has no such image.
    #[error("{}: no image is called {tag:?}", path.display())]
    NoTag {
        /// The layout.
        path: PathBuf,
        /// As asked.
        tag: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// No list or artifact has that name.
    #[error("no such {kind}: {name}")]
    NoDocument {
        /// `manifest`, `artifact`.
        kind: &'static str,
        /// As given.
        name: String,
    },
    /// Something is there that must not be.
    #[error("{}: is there already", .0.display())]
    Exists(PathBuf),
    /// A document or layer is missing.
    #[error("blob {0} is missing")]
    NoBlob(Digest),
    /// A document cannot be read.
    #[error("{what}")]
    Document {
        /// `manifest sha256:…`.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// A change in Dockerfile words.
    #[error("{text:?}: {why}")]
    Change {
        /// As given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A directory that is no bundle of ours.
    #[error("{}: {why}", path.display())]
    Bundle {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A path in a container or image.
    #[error("{what}: {why}")]
    Path {
        /// `web:/etc`.
        what: String,
        /// docker's words.
        why: String,
    },
    /// Two images that do not belong together.
    #[error("{0}")]
    Mismatch(String),
    /// A kind of source or target that this verb does not take.
    #[error("{0}")]
    Unsupported(String),
}

impl ImageProblem {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ImageProblem::NoTag { offered, .. } if !offered.is_empty() => {
                Some(format!("it has: {}", offered.join(", ")))
            }
            _ => None,
        }
    }
}
