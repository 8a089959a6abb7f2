//! Images of OCI layouts as runtime bundles, and back: what umoci's `unpack` and `repack` do.
//!
//! ```text
//! <bundle>/config.json            a runtime document made of the image's config
//!          rootfs/                the tree of all layers
//!          knarr.json             which image it is, and how it was unpacked
//!          <alg>_<hex>.mtree      what the tree looked like then (`knarr_layer::index`)
//! ```
//! Spec: image-spec layer.md (applying changesets) and conversion.md (config to runtime document).
//! Law: `repack` packs what changed since `unpack` and nothing else; `knarr.json` is written last, so a bundle that was cut
//! short is none.

mod document;
mod repack;
mod unpack;

use std::fs;
use std::path::{Path, PathBuf};

use knarr_layer::Index;
use knarr_spec::Digest;
use serde::{Deserialize, Serialize};

use crate::image::problem::ImageProblem;
use crate::{Error, Result};

pub use repack::{RepackWanted, repack};
pub(crate) use unpack::layers;
pub use unpack::{Unpacking, unpack};

/// The version of [`Record`].
const VERSION: u32 = 1;

/// `knarr.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// The manifest that was unpacked.
    manifest: Digest,
    /// Owners are written down in attributes.
    rootless: bool,
}

/// Paths of a bundle.
struct Paths<'b>(&'b Path);

impl Paths<'_> {
    fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    fn record(&self) -> PathBuf {
        self.0.join("knarr.json")
    }

    fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    fn mtree(&self, manifest: &Digest) -> PathBuf {
        self.0.join(format!("{}_{}.mtree", manifest.algorithm().as_str(), manifest.encoded()))
    }

    fn save(&self, record: &Record, index: &Index) -> Result<()> {
        let mtree = self.mtree(&record.manifest);
        fs::write(&mtree, index.to_text()).map_err(Error::io("write", &mtree))?;
        let path = self.record();
        let text = serde_json::to_vec_pretty(record).expect("strings and numbers");
        fs::write(&path, text).map_err(Error::io("write", &path))
    }

    fn load(&self) -> Result<(Record, Index)> {
        let path = self.record();
        let wrong = |path: &Path, why: String| Error::from(ImageProblem::Bundle { path: path.to_owned(), why });
        let text =
            fs::read(&path).map_err(|error| wrong(self.0, format!("is no bundle of ours: knarr.json: {error}")))?;
        let record: Record = serde_json::from_slice(&text).map_err(|error| wrong(&path, error.to_string()))?;
        if record.version != VERSION {
            return Err(wrong(&path, format!("has version {}, not {VERSION}", record.version)));
        }
        let mtree = self.mtree(&record.manifest);
        let text = fs::read_to_string(&mtree).map_err(Error::io("read", &mtree))?;
        let index = Index::parse(&text).ok_or_else(|| wrong(&mtree, "cannot be read".to_owned()))?;
        Ok((record, index))
    }
}
