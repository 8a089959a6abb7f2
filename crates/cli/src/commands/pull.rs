//! `pull`.

use knarr_distribution::{Place, look};
use knarr_engine::image::hello;
use knarr_engine::image::pull::{pull, pull_meant};
use knarr_engine::{Context, ImageRecord};
use knarr_spec::Platform;

use crate::access::{self, OneSide};
use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{CliPulls, World};

/// Fetch an image from a registry, a layout or an archive.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// Platform of the image (os/arch[/variant])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print only the image's name
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Pull every tag of the repository
    #[arg(long, short = 'a')]
    all_tags: bool,
    #[command(flatten)]
    side: OneSide,
    /// NAME[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]
    image: String,
}

impl Verb for Pull {
    const NAMES: &'static [&'static str] = &["pull", "image pull"];
    const ABOUT: &'static str = "Fetch an image from a registry, a layout or an archive";
    const EXAMPLE: &'static str = "knarr pull registry.example/team/app:1.2";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose();
        let platform = platform.map_err(|error| Failure::usage(error.to_string()))?;
        let source =
            self.image.parse().map_err(|error: knarr_spec::ReferenceError| Failure::usage(error.to_string()))?;
        *world.quiet.borrow_mut() = self.quiet;
        let context = world.rooted()?;
        if hello::is_hello(&self.image) {
            let here = context.store.resolve_image(hello::NAME).ok();
            hello::ensure(&context, here)?;
            print("docker.io/knarr/hello:latest\n")?;
            return Ok(0);
        }
        let pulls = CliPulls::with(self.quiet, self.side.access());
        if self.all_tags {
            return self.every_tag(&context, source, platform.as_ref(), &pulls);
        }
        let (source, image) = self.first(&context, source, platform.as_ref(), &pulls)?;
        let name = match &source {
            Place::Registry(reference) => reference.to_string(),
            _ => image.names.first().map_or_else(|| image.id.to_string(), ToString::to_string),
        };
        print(&format!("{name}\n"))?;
        Ok(0)
    }
}

impl Pull {
    fn every_tag(
        &self,
        context: &Context,
        source: Place,
        platform: Option<&Platform>,
        pulls: &CliPulls,
    ) -> Result<u8, Failure> {
        let tagged = self.image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        let reference = match source {
            Place::Registry(reference) if !tagged => reference,
            _ => return Err(Failure::usage("tag can't be used with --all-tags/-a")),
        };
        let network = access::network(&self.side.access()).map_err(access::failure)?;
        let tags = look::list_tags(&reference, &network).map_err(|error| access::failure(error).code(1))?;
        for tag in tags {
            let name = reference.with_tag(&tag).map_err(|error| Failure::new(error.to_string()))?;
            pull(context, &Place::Registry(name), platform, pulls)?;
        }
        print(&format!("{}\n", reference.name()))?;
        Ok(0)
    }

    /// A name without a registry may mean several: the first that is there is pulled.
    fn first(
        &self,
        context: &Context,
        source: Place,
        platform: Option<&Platform>,
        pulls: &CliPulls,
    ) -> Result<(Place, ImageRecord), Failure> {
        if matches!(source, Place::Registry(_)) && !self.image.starts_with("docker://") {
            let (name, image) = pull_meant(context, &self.image, platform, pulls)?;
            return Ok((Place::Registry(name), image));
        }
        let image = pull(context, &source, platform, pulls)?;
        Ok((source, image))
    }
}
