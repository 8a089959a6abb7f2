//! `image copy`, and skopeo's `copy`.

use std::path::{Path, PathBuf};

use knarr_distribution::{CopyOptions, Format, MultiArch, Place, Recompression};
use knarr_spec::media_type::Compression;
use knarr_spec::{Digest, Reference};

use super::sign::SignFlags;
use crate::access::{self, Access, DestinationSide, OneSide, SourceSide, Tool};
use crate::failure::Failure;
use crate::progress::CopyLines;
use crate::verb::Verb;
use crate::world::World;

/// Copy an image from one place to another.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageCopy {
    /// Copy all images of an index
    #[arg(long, short = 'a')]
    all: bool,
    /// What to do with an index: system, all or index-only
    #[arg(long, value_name = "WHAT", conflicts_with = "all")]
    multi_arch: Option<String>,
    /// Also signatures, attestations and whatever else refers to the images
    #[arg(long, conflicts_with = "remove_signatures")]
    referrers: bool,
    #[command(flatten)]
    how: How,
    /// Compress layers so (gzip, zstd, zstd:chunked, estargz)
    #[arg(long, value_name = "FORMAT")]
    dest_compress_format: Option<String>,
    /// How hard to compress
    #[arg(long, value_name = "LEVEL")]
    dest_compress_level: Option<i32>,
    /// Compress layers (gzip)
    #[arg(long)]
    dest_compress: bool,
    /// Leave no layer in another compression: what --dest-compress-format does
    #[arg(long)]
    dest_force_compress_format: bool,
    /// Decompress layers
    #[arg(long, conflicts_with_all = ["dest_compress", "dest_compress_format"])]
    dest_decompress: bool,
    /// Leave plain layers plain in layouts
    #[arg(long)]
    dest_oci_accept_uncompressed_layers: bool,
    /// Know digests before blobs are sent, so that none is sent twice: always so
    #[arg(long, hide = true)]
    dest_precompute_digests: bool,
    /// Keep the blobs of a layout here
    #[arg(long, value_name = "DIR")]
    dest_shared_blob_dir: Option<PathBuf>,
    /// Find the blobs of a layout here
    #[arg(long, value_name = "DIR")]
    src_shared_blob_dir: Option<PathBuf>,
    /// More names in a docker archive
    #[arg(long, value_name = "NAME")]
    additional_tag: Vec<String>,
    /// Write the digest of what was copied to this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Blobs at once
    #[arg(long, value_name = "N")]
    image_parallel_copies: Option<usize>,
    /// Print nothing
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    sides: Sides,
    #[command(flatten)]
    tool: Tool,
    /// TRANSPORT:DETAILS
    #[arg(value_name = "SOURCE-IMAGE")]
    source: String,
    /// TRANSPORT:DETAILS
    #[arg(value_name = "DESTINATION-IMAGE")]
    destination: String,
}

/// What becomes of what is copied, for `copy` and `sync`.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Write manifests so: oci or v2s2
    #[arg(long, short = 'f', value_name = "TYPE")]
    format: Option<String>,
    /// Fail rather than change a digest
    #[arg(long)]
    preserve_digests: bool,
    /// Copy no signatures that are kept beside images, in a lookaside storage or directory
    #[arg(long)]
    remove_signatures: bool,
    #[command(flatten)]
    sign: SignFlags,
}

/// Both registries of a copy, and what holds for either.
#[derive(Debug, clap::Args)]
pub(crate) struct Sides {
    /// Credentials file for both
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    #[command(flatten)]
    source: SourceSide,
    #[command(flatten)]
    destination: DestinationSide,
    /// What --src-creds is
    #[arg(long, value_name = "USER[:PASSWORD]", hide = true)]
    screds: Option<String>,
    /// What --dest-creds is
    #[arg(long, value_name = "USER[:PASSWORD]", hide = true)]
    dcreds: Option<String>,
}

impl Sides {
    pub(crate) fn source(&self) -> Access {
        let own = self.source.access();
        Access { authfile: own.authfile.or(self.authfile.clone()), creds: own.creds.or(self.screds.clone()), ..own }
    }

    pub(crate) fn destination(&self) -> Access {
        let own = self.destination.access();
        Access { authfile: own.authfile.or(self.authfile.clone()), creds: own.creds.or(self.dcreds.clone()), ..own }
    }
}

impl How {
    /// Whether there is something to do where the same manifest is there already: it may come out as another, or be signed.
    pub(crate) fn changes_what_is_there(&self) -> bool {
        self.format.is_some() || self.sign.is_given()
    }

    /// Puts it into `options`.
    pub(crate) fn apply<'a>(&self, options: CopyOptions<'a>) -> Result<CopyOptions<'a>, Failure> {
        let format = manifest_format(self.format.as_deref())?;
        Ok(CopyOptions {
            format,
            preserve_digests: self.preserve_digests,
            remove_signatures: self.remove_signatures,
            signing: self.sign.signing()?,
            ..options
        })
    }
}

/// `--format` of whatever writes manifests.
pub(crate) fn manifest_format(given: Option<&str>) -> Result<Option<Format>, Failure> {
    match given {
        None => Ok(None),
        Some("oci") => Ok(Some(Format::Oci)),
        Some("v2s2") => Ok(Some(Format::Docker)),
        Some("v2s1") => Err(Failure::usage("v2s1 is not supported: no registry takes it any more").hint("oci or v2s2")),
        Some(other) => Err(Failure::usage(format!(
            "unknown format {other:?}. Choose one of the supported formats: 'oci' or 'v2s2'"
        ))),
    }
}

/// `--dest-compress-format` and `--compression-format`.
pub(crate) fn recompression(format: Option<&str>, level: Option<i32>) -> Result<Option<Recompression>, Failure> {
    let kind = match format {
        None if level.is_some() => Compression::Gzip,
        None => return Ok(None),
        Some("gzip") => Compression::Gzip,
        Some("zstd") => Compression::Zstd,
        Some("zstd:chunked") => {
            return Ok(Some(Recompression { kind: Compression::Zstd, chunked: true, level }));
        }
        Some("estargz") => {
            return Ok(Some(Recompression { kind: Compression::Gzip, chunked: true, level }));
        }
        Some(other) => {
            let hint = "gzip, zstd, zstd:chunked or estargz";
            return Err(Failure::usage(format!("unknown compression {other:?}")).hint(hint));
        }
    };
    Ok(Some(Recompression { kind, chunked: false, level }))
}

/// `--digestfile`.
pub(crate) fn write_digest(file: Option<&Path>, digest: &Digest) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    let failed = |error| Failure::new(format!("Failed to write digest to file {:?}: {error}", file.display()));
    std::fs::write(file, digest.as_str()).map_err(failed)
}

/// A place as skopeo's users write it.
pub(crate) fn place(text: &str) -> Result<Place, Failure> {
    Place::with_transport(text).map_err(|error| match error {
        knarr_distribution::PlaceError::Unsupported(_) => Failure::new(error.to_string())
            .hint("docker://, oci:, oci-archive:, docker-archive:, dir: and local: are here"),
        other => Failure::new(other.to_string()),
    })
}

impl Verb for ImageCopy {
    const NAMES: &'static [&'static str] = &["image copy"];
    const ABOUT: &'static str = "Copy an image from one place to another";
    const EXAMPLE: &'static str = "knarr image copy docker://registry.example/app:1 oci:app:1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let (from, to) = (place(&self.source)?, place(&self.destination)?);
        let lines = CopyLines::new(self.quiet);
        let more_names = self.additional_tag.iter().map(|name| name.parse::<Reference>());
        let more_names = more_names.collect::<Result<_, _>>().map_err(|error| Failure::usage(error.to_string()))?;
        let recompress = match (self.dest_decompress, self.dest_compress, &self.dest_compress_format) {
            (true, ..) => Some(Recompression { kind: Compression::None, chunked: false, level: None }),
            (_, true, None) => recompression(Some("gzip"), self.dest_compress_level)?,
            (.., format) => recompression(format.as_deref(), self.dest_compress_level)?,
        };
        let base = CopyOptions::new(&self.tool.spool());
        let options = self.how.apply(CopyOptions {
            platform: self.tool.platform()?,
            multi: self.multi()?,
            recompress,
            keep_plain: self.dest_oci_accept_uncompressed_layers,
            referrers: self.referrers,
            source: self.tool.network(&self.sides.source())?,
            destination: self.tool.network(&self.sides.destination())?,
            policy: self.tool.policy()?,
            source_blobs: self.src_shared_blob_dir.clone(),
            shared_blobs: self.dest_shared_blob_dir.clone(),
            more_names,
            progress: &lines,
            concurrency: self.image_parallel_copies.filter(|copies| *copies > 0).unwrap_or(base.concurrency),
            ..base
        })?;
        let copied = match (&from, &to) {
            (Place::Local(_), _) | (_, Place::Local(_)) => {
                *world.quiet.borrow_mut() = self.quiet;
                knarr_engine::image::copy::copy(&world.rooted()?, &from, &to, &options)?
            }
            _ => knarr_distribution::copy(None, &from, &to, &options).map_err(access::failure)?,
        };
        lines.line("Writing manifest to image destination");
        write_digest(self.digestfile.as_deref(), &copied.digest)?;
        Ok(0)
    }
}

impl ImageCopy {
    fn multi(&self) -> Result<MultiArch, Failure> {
        match self.multi_arch.as_deref() {
            _ if self.all => Ok(MultiArch::All),
            None | Some("system") => Ok(MultiArch::System),
            Some("all") => Ok(MultiArch::All),
            Some("index-only") => Ok(MultiArch::IndexOnly),
            Some(other) => Err(Failure::usage(format!(
                "unknown multi-arch option {other:?}. Choose one of the supported options: 'system', 'all', or 'index-only'"
            ))),
        }
    }
}

/// Both sides of a command that has one.
pub(crate) fn only_side(side: &OneSide, tool: &Tool) -> Result<CopyOptions<'static>, Failure> {
    Ok(CopyOptions {
        platform: tool.platform()?,
        source: tool.network(&side.access())?,
        ..CopyOptions::new(&tool.spool())
    })
}
