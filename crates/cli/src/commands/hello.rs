//! `hello`: what the image `knarr/hello` runs.

use std::io::IsTerminal;

use knarr_engine::image::hello::page;
use knarr_engine::terminal;

use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{World, variable};

/// Columns where nobody says how many there are.
const WIDTH: usize = 100;

/// Show what this process sees of the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Hello {}

impl Verb for Hello {
    const NAMES: &'static [&'static str] = &["hello"];
    const ABOUT: &'static str = "Show what a process here sees; inside: knarr run knarr/hello";
    const EXAMPLE: &'static str = "knarr run --rm knarr/hello";

    fn run(self, _world: &World) -> Result<u8, Failure> {
        let out = std::io::stdout();
        let colour = out.is_terminal() && variable("NO_COLOR").is_none();
        let width = terminal::size(&out).map_or(WIDTH, |(_, columns)| usize::from(columns));
        print(&page(colour, width))?;
        Ok(0)
    }
}
