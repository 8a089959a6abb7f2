//! `image delete`, and skopeo's `delete`.

use knarr_distribution::{Place, look};

use super::image_copy::place;
use crate::access::{self, OneSide, Tool};
use crate::failure::Failure;
use crate::verb::Verb;
use crate::world::World;

/// Delete an image from a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageDelete {
    #[command(flatten)]
    side: OneSide,
    #[command(flatten)]
    tool: Tool,
    /// docker://NAME
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for ImageDelete {
    const NAMES: &'static [&'static str] = &["image delete"];
    const ABOUT: &'static str = "Delete an image from a registry";
    const EXAMPLE: &'static str = "knarr image delete docker://registry.example/app:1";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let place = place(&self.image)?;
        let Place::Registry(reference) = &place else {
            let what = format!("Deleting images not implemented for {}: images", place.transport());
            return Err(Failure::new(what).hint("`knarr rmi` removes images of the store"));
        };
        let network = self.tool.network(&self.side.access())?;
        look::delete(reference, &network).map_err(|error| access::failure(error).code(1))?;
        Ok(0)
    }
}
