//! `pull`.

use knarr_engine::image::{hello, pull::pull};
use knarr_spec::Platform;

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
    /// Verify TLS certificates
    #[arg(long, value_name = "BOOL")]
    tls_verify: Option<bool>,
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
        let pulls = CliPulls::new(self.quiet, self.tls_verify);
        let image = pull(&context, &source, platform.as_ref(), &pulls)?;
        let name = match &source {
            knarr_distribution::Source::Registry(reference) => reference.to_string(),
            _ => image.names.first().map_or_else(|| image.id.to_string(), ToString::to_string),
        };
        print(&format!("{name}\n"))?;
        Ok(0)
    }
}
