//! `version`.

use serde_json::json;

use crate::failure::Failure;
use crate::output::{inspected, print};
use crate::verb::Verb;
use crate::world::World;

/// Show the version.
#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// A Go template or `json`
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Version {
    const NAMES: &'static [&'static str] = &["version"];
    const ABOUT: &'static str = "Show the version";
    const EXAMPLE: &'static str = "knarr version --format '{{.Client.Version}}'";

    fn run(self, _world: &World) -> Result<u8, Failure> {
        let platform = knarr_spec::Platform::host();
        let about = json!({
            "Version": env!("CARGO_PKG_VERSION"), "Os": platform.os, "Arch": platform.architecture,
            "ApiVersion": "", "GitCommit": "",
        });
        // There is no daemon: the server that scripts ask for is this program.
        let both = json!({"Client": about, "Server": about});
        match self.format.as_deref() {
            None | Some("") => print(&format!("knarr version {} ({platform})\n", env!("CARGO_PKG_VERSION")))?,
            format => print(&inspected(&[both], format)?)?,
        }
        Ok(0)
    }
}
