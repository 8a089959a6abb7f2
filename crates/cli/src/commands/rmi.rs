//! `rmi`.

use knarr_engine::image::{prune::collect, remove::remove};

use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::World;

/// Remove images.
#[derive(Debug, clap::Args)]
pub(crate) struct Rmi {
    /// Also those with several names or with containers at rest
    #[arg(long, short = 'f')]
    force: bool,
    /// Accepted for docker's sake: an image has no untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for Rmi {
    const NAMES: &'static [&'static str] = &["rmi", "image rm", "image remove"];
    const ABOUT: &'static str = "Remove images";
    const EXAMPLE: &'static str = "knarr rmi alpine";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let (mut code, mut deleted) = (0, false);
        for name in &self.images {
            match remove(&context, name, self.force) {
                Ok(removed) => {
                    let mut text = String::new();
                    removed.untagged.iter().for_each(|name| text += &format!("Untagged: {}\n", name.familiar()));
                    removed.deleted.iter().for_each(|id| text += &format!("Deleted: {id}\n"));
                    removed.chains.iter().for_each(|chain| text += &format!("Deleted: {chain}\n"));
                    deleted |= removed.deleted.is_some();
                    print(&text)?;
                }
                Err(error) if self.force && error.kind() == knarr_engine::Kind::NotFound => {}
                Err(error) => {
                    let failure = Failure::from(error);
                    code = failure.code;
                    failure.of("rmi").print();
                }
            }
        }
        if deleted {
            collect(&context);
        }
        Ok(code)
    }
}
