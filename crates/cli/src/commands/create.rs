//! `create`.

use knarr_engine::container::{self, dry_run::Stage};
use knarr_engine::wanted::Wanted;

use crate::container_flags::ContainerFlags;
use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{CliPulls, World};

/// Create a container without starting it.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    container: ContainerFlags,
}

impl Verb for Create {
    const NAMES: &'static [&'static str] = &["create", "container create"];
    const ABOUT: &'static str = "Create a container without starting it";
    const EXAMPLE: &'static str = "knarr create --name web registry.example/web:1";
    const USAGE: &'static str = "knarr create [OPTIONS] IMAGE [COMMAND] [ARG]...";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let mut wanted = self.container.wanted()?;
        wanted.stdin_once = true;
        if let Some(stage) = &self.container.dry_run {
            return dry_run(world, wanted, stage);
        }
        *world.quiet.borrow_mut() = self.container.quiet;
        let context = world.rooted()?;
        let pulls = CliPulls::new(self.container.quiet, self.container.tls_verify);
        let record = container::create::create(&context, wanted, &pulls)?;
        world.notes_of(&context);
        print(&format!("{}\n", record.id))?;
        Ok(0)
    }
}

/// Prints one representation of what would be done.
pub(crate) fn dry_run(world: &World, wanted: Wanted, stage: &str) -> Result<u8, Failure> {
    let stage: Stage = stage.parse()?;
    if stage == Stage::Options {
        print(&container::dry_run::options_text(&wanted))?;
        return Ok(0);
    }
    let context = world.rooted()?;
    let text = container::dry_run::dry_run(&context, wanted, stage)?;
    world.notes_of(&context);
    print(&text)?;
    Ok(0)
}
