//! `push`.

use knarr_distribution::{CopyOptions, MultiArch};
use knarr_engine::image::push;
use knarr_spec::{Platform, Reference};

use super::image_copy::{recompression, write_digest};
use super::sign::SignFlags;
use crate::access::{self, OneSide};
use crate::failure::Failure;
use crate::output::print;
use crate::progress::PushLines;
use crate::verb::Verb;
use crate::world::World;

/// Upload an image to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Push all tags of the repository
    #[arg(long, short = 'a')]
    all_tags: bool,
    /// Push the index with all its images, which must be here, and the artifacts here that refer to them
    #[arg(long)]
    all: bool,
    /// Push the image for this platform (os/arch[/variant])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print only the image's name
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Accepted for docker's sake: content trust is not there
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Compress layers so (gzip, zstd); they stay as they are without it
    #[arg(long, value_name = "FORMAT")]
    compression_format: Option<String>,
    /// How hard to compress
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<i32>,
    /// Write the digest of what was pushed to this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<std::path::PathBuf>,
    #[command(flatten)]
    sign: SignFlags,
    #[command(flatten)]
    side: OneSide,
    /// NAME[:TAG]
    image: String,
    /// Where it is to go, if not where its name says
    destination: Option<String>,
}

impl Verb for Push {
    const NAMES: &'static [&'static str] = &["push", "image push"];
    const ABOUT: &'static str = "Upload an image to a registry";
    const EXAMPLE: &'static str = "knarr push registry.example/team/app:1.2";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let parse = |text: &str| {
            let text = text.strip_prefix("docker://").unwrap_or(text);
            text.parse::<Reference>().map_err(|error| Failure::usage(error.to_string()))
        };
        let name = parse(&self.image)?;
        let tagged = self.image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if self.all_tags && (tagged || self.destination.is_some()) {
            return Err(Failure::usage("tag can't be used with --all-tags/-a"));
        }
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose();
        let platform = platform.map_err(|error| Failure::usage(error.to_string()))?;
        *world.quiet.borrow_mut() = self.quiet;
        let context = world.reading()?;
        let names = if self.all_tags { push::all_tags(&context, &name)? } else { vec![name] };
        let lines = PushLines::new(self.quiet);
        let options = CopyOptions {
            multi: if self.all { MultiArch::All } else { MultiArch::System },
            recompress: recompression(self.compression_format.as_deref(), self.compression_level)?,
            keep_plain: true,
            referrers: self.all,
            signing: self.sign.signing()?,
            destination: access::network(&self.side.access()).map_err(access::failure)?,
            progress: &lines,
            ..CopyOptions::new(context.store.state())
        };
        for name in &names {
            let image = push::find(&context, name, platform.as_ref())?;
            let target = self.destination.as_deref().map(parse).transpose()?.unwrap_or_else(|| name.clone());
            if !self.quiet {
                print(&format!("The push refers to repository [{}]\n", target.name()))?;
            }
            let pushed = push::push(&context, &image, &target, &options)?;
            write_digest(self.digestfile.as_deref(), &pushed.digest)?;
            match (self.quiet, target.tag()) {
                (true, _) => print(&format!("{target}\n"))?,
                (false, tag) => {
                    let tag = tag.unwrap_or("digest");
                    print(&format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.bytes))?;
                }
            }
        }
        Ok(0)
    }
}
