//! `image list-tags`, and skopeo's `list-tags`.

use knarr_distribution::{Place, look};
use knarr_engine::image::shelf::Layout;
use serde_json::json;

use super::image_copy::place;
use crate::access::{self, OneSide, Tool};
use crate::failure::Failure;
use crate::output::{pretty, print};
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// List the tags of a repository, a layout or a docker archive.
#[derive(Debug, clap::Args)]
pub(crate) struct ListTags {
    #[command(flatten)]
    side: OneSide,
    #[command(flatten)]
    tool: Tool,
    /// docker://REPOSITORY, oci:DIR or docker-archive:FILE
    #[arg(value_name = "SOURCE-IMAGE")]
    source: String,
}

impl Verb for ListTags {
    const NAMES: &'static [&'static str] = &["image list-tags"];
    const ABOUT: &'static str = "List the tags of a repository, a layout or a docker archive";
    const EXAMPLE: &'static str = "knarr image list-tags docker://registry.example/app";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let listed = match place(&self.source)? {
            Place::Registry(reference) => {
                let last = self.source.rsplit('/').next().unwrap_or_default();
                if last.contains([':', '@']) {
                    return Err(Failure::new("No tag or digest allowed in reference"));
                }
                let network = self.tool.network(&self.side.access())?;
                let tags = look::list_tags(&reference, &network).map_err(|error| access::failure(error).code(1))?;
                json!({"Repository": reference.name(), "Tags": tags})
            }
            Place::DockerArchive { path, .. } => {
                let tags = look::docker_archive_tags(&path, &self.tool.spool()).map_err(access::failure)?;
                json!({"Tags": tags})
            }
            Place::OciLayout { dir, tag: None } => {
                json!({"Tags": Layout::open(&current_dir().join(dir))?.tags()?})
            }
            other => {
                let transport = other.transport();
                return Err(Failure::new(format!(
                    "Unsupported transport '{transport}' for tag listing. Only supported: docker, docker-archive, oci"
                )));
            }
        };
        print(&(pretty(&listed) + "\n"))?;
        Ok(0)
    }
}
