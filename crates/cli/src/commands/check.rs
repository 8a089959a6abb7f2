//! `system check`.

use knarr_engine::system::{CheckWanted, check};

use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{CliPulls, World};

/// Look for damage in the store, and mend it.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Read every blob and compare it with its digest
    #[arg(long)]
    contents: bool,
    /// Mend what is found
    #[arg(long)]
    repair: bool,
}

impl Verb for Check {
    const NAMES: &'static [&'static str] = &["system check"];
    const ABOUT: &'static str = "Look for damage in the store, and mend it";
    const EXAMPLE: &'static str = "knarr system check --repair";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let (paths, namespace, gid_max) = world.enter()?;
        let wanted = CheckWanted { contents: self.contents, repair: self.repair };
        let report = check(&paths, namespace, gid_max, wanted, &CliPulls::new(true, None))?;
        if let Some(salvaged) = &report.salvaged {
            print(&format!("database rebuilt; the damaged one is {}\n", salvaged.damaged.display()))?;
            for table in &salvaged.incomplete {
                print(&format!("some rows of {table} could not be read\n"))?;
            }
            for id in &salvaged.snapshots {
                print(&format!("the record of container {id} is lost; what it wrote is in lost/{id}\n"))?;
            }
        }
        for (finding, mended) in &report.findings {
            print(&format!("{finding}{}\n", mended.as_ref().map_or(String::new(), |mended| format!(": {mended}"))))?;
        }
        match report.findings.len() {
            0 => print("no damage found\n")?,
            _ if !self.repair => world.note("mend it with `knarr system check --repair`"),
            _ => {}
        }
        Ok(u8::from(!report.is_whole()))
    }
}
