//! `container prune`.

use knarr_engine::Status;
use knarr_engine::container::{self, remove::RemoveOptions, remove::remove};
use knarr_engine::image::df::container_bytes;

use crate::failure::Failure;
use crate::output::print;
use crate::units::size;
use crate::verb::Verb;
use crate::world::World;

/// Remove every container that does not run.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerPrune {
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

impl Verb for ContainerPrune {
    const NAMES: &'static [&'static str] = &["container prune"];
    const ABOUT: &'static str = "Remove every container that does not run";
    const EXAMPLE: &'static str = "knarr container prune -f";

    fn run(self, world: &World) -> Result<u8, Failure> {
        if !self.force && !confirmed("This will remove all stopped containers.")? {
            return Ok(0);
        }
        let context = world.rooted()?;
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for container in container::list(&context)?.iter().filter(|c| c.state.status != Status::Running) {
            let own = container_bytes(&context, &container.record.id).unwrap_or(0);
            remove(&context, &container.record.id, RemoveOptions::default())?;
            removed.push(container.record.id.clone());
            bytes += own;
        }
        if !removed.is_empty() {
            print(&format!("Deleted Containers:\n{}\n\n", removed.join("\n")))?;
        }
        print(&format!("Total reclaimed space: {}\n", size(bytes, 4)))?;
        Ok(0)
    }
}

/// Docker's question.
pub(crate) fn confirmed(warning: &str) -> Result<bool, Failure> {
    print(&format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}
