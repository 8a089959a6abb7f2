//! `export`.

use std::io::{BufWriter, IsTerminal};

use knarr_engine::container::export::export;

use super::save::written_whole;
use crate::failure::Failure;
use crate::verb::Verb;
use crate::world::World;

/// Write a container's file system as a tar.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The tar; standard output without it
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<String>,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Verb for Export {
    const NAMES: &'static [&'static str] = &["export", "container export"];
    const ABOUT: &'static str = "Write a container's file system as a tar";
    const EXAMPLE: &'static str = "knarr export -o web.tar web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        if self.output.is_none() && std::io::stdout().is_terminal() {
            let failure = Failure::new("cowardly refusing to save to a terminal");
            return Err(failure.hint("use the -o flag or redirect"));
        }
        let context = world.rooted()?;
        match &self.output {
            None => export(&context, &self.container, BufWriter::new(std::io::stdout()))?,
            Some(path) => written_whole(path, |out| Ok(export(&context, &self.container, out)?))?,
        }
        Ok(0)
    }
}
