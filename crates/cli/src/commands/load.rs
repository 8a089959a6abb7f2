//! `load`.

use std::io::IsTerminal;

use knarr_distribution::Input;
use knarr_engine::image::load::load;
use knarr_spec::Platform;

use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{CliPulls, World, current_dir};

/// Load images from an archive.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// The archive or layout; standard input without it
    #[arg(long, short = 'i', value_name = "FILE")]
    input: Option<String>,
    /// Platform of the images (os/arch[/variant])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print no progress
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for Load {
    const NAMES: &'static [&'static str] = &["load", "image load"];
    const ABOUT: &'static str = "Load images from an archive";
    const EXAMPLE: &'static str = "knarr load -i app.tar";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose();
        let platform = platform.map_err(|error| Failure::usage(error.to_string()))?;
        let input = match &self.input {
            Some(path) => Input::Path(current_dir().join(path)),
            None if std::io::stdin().is_terminal() => {
                return Err(Failure::usage("requested load from stdin, but stdin is empty").hint("name a file with -i"));
            }
            None => Input::Stream(Box::new(std::io::stdin())),
        };
        *world.quiet.borrow_mut() = self.quiet;
        let context = world.rooted()?;
        let images = load(&context, input, platform.as_ref(), &CliPulls::new(true, None))?;
        for image in images {
            match image.names.as_slice() {
                [] => print(&format!("Loaded image ID: {}\n", image.id))?,
                names => names.iter().try_for_each(|name| print(&format!("Loaded image: {}\n", name.familiar())))?,
            }
        }
        Ok(0)
    }
}
