//! `image manifest-digest`, and skopeo's `manifest-digest`.

use knarr_spec::Digest;

use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::World;

/// Print the digest of a manifest in a file.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestDigest {
    /// The file
    #[arg(value_name = "MANIFEST-FILE")]
    file: String,
}

impl Verb for ManifestDigest {
    const NAMES: &'static [&'static str] = &["image manifest-digest"];
    const ABOUT: &'static str = "Print the digest of a manifest in a file";
    const EXAMPLE: &'static str = "knarr image manifest-digest manifest.json";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let bytes = std::fs::read(&self.file);
        let bytes =
            bytes.map_err(|error| Failure::new(format!("Error reading manifest from {}: {error}", self.file)))?;
        print(&format!("{}\n", Digest::sha256_of(&bytes)))?;
        Ok(0)
    }
}
