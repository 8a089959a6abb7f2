//! `import`.

use std::fs::File;

use knarr_distribution::download;
use knarr_engine::image::import::{ImportWanted, import};
use knarr_spec::Platform;

use crate::access::{self, Access};
use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// Make an image of a tar of a file system.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Change the image's config in Dockerfile words
    #[arg(long, short = 'c', value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A remark for the history
    #[arg(long, short = 'm', value_name = "TEXT")]
    message: Option<String>,
    /// Platform of the image (os/arch[/variant])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The tar, plain or compressed, or its http or https URL; `-` is standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Verb for Import {
    const NAMES: &'static [&'static str] = &["import", "image import"];
    const ABOUT: &'static str = "Make an image of a tar of a file system";
    const EXAMPLE: &'static str = "knarr import -c 'CMD [\"sh\"]' rootfs.tar base:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose();
        let platform = platform.map_err(|error| Failure::usage(error.to_string()))?;
        let name = self.name.as_deref().map(str::parse).transpose();
        let name = name.map_err(|error: knarr_spec::ReferenceError| Failure::usage(error.to_string()))?;
        let source = self.file.clone();
        let wanted = ImportWanted { changes: self.change, message: self.message, platform, source, name };
        let context = world.rooted()?;
        let image = match self.file.as_str() {
            "-" => import(&context, std::io::stdin(), &wanted)?,
            url if url.starts_with("http://") || url.starts_with("https://") => {
                let network = access::network(&Access::default()).map_err(access::failure)?;
                let imported = download(url, &network, |tar| import(&context, tar, &wanted));
                imported.map_err(access::failure)??
            }
            path => {
                let opened = File::open(current_dir().join(path));
                import(&context, opened.map_err(|error| Failure::new(format!("open {path}: {error}")))?, &wanted)?
            }
        };
        print(&format!("{}\n", image.id))?;
        Ok(0)
    }
}
