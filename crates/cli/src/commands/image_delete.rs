//! `image delete`, and skopeo's `delete`.

use knarr_distribution::{Place, look};
use knarr_engine::image::shelf::Layout;

use super::image_copy::place;
use crate::access::{self, OneSide, Tool};
use crate::failure::Failure;
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// Delete an image from a registry or a layout.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageDelete {
    #[command(flatten)]
    side: OneSide,
    #[command(flatten)]
    tool: Tool,
    /// docker://NAME or oci:DIR:TAG
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for ImageDelete {
    const NAMES: &'static [&'static str] = &["image delete"];
    const ABOUT: &'static str = "Delete an image from a registry or a layout";
    const EXAMPLE: &'static str = "knarr image delete docker://registry.example/app:1";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let place = place(&self.image)?;
        let reference = match &place {
            Place::Registry(reference) => reference,
            Place::OciLayout { dir, tag: Some(tag) } => {
                Layout::open(&current_dir().join(dir))?.delete(tag)?;
                return Ok(0);
            }
            Place::OciLayout { tag: None, .. } => return Err(Failure::usage("say which image: oci:DIR:TAG")),
            _ => {
                let what = format!("Deleting images not implemented for {}: images", place.transport());
                return Err(Failure::new(what).hint("`knarr rmi` removes images of the store"));
            }
        };
        let network = self.tool.network(&self.side.access())?;
        look::delete(reference, &network).map_err(|error| access::failure(error).code(1))?;
        Ok(0)
    }
}
