//! `system check`.

use knarr_engine::system::{CheckReport, CheckWanted, check};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{inspected, print};
use crate::verb::Verb;
use crate::world::{CliPulls, World};

/// Look for damage in the store, and mend it.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// A Go template or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
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
        match self.format.as_deref() {
            None => print(&told(&report))?,
            format => print(&inspected(&[as_json(&report)], format)?)?,
        }
        if !report.findings.is_empty() && !self.repair {
            world.note("mend it with `knarr system check --repair`");
        }
        Ok(u8::from(!report.is_whole()))
    }
}

fn told(report: &CheckReport) -> String {
    let mut text = String::new();
    if let Some(salvaged) = &report.salvaged {
        text += &format!("database rebuilt; the damaged one is {}\n", salvaged.damaged.display());
        for table in &salvaged.incomplete {
            text += &format!("some rows of {table} could not be read\n");
        }
        for id in &salvaged.snapshots {
            text += &format!("the record of container {id} is lost; what it wrote is in lost/{id}\n");
        }
    }
    for (finding, mended) in &report.findings {
        text += &format!("{finding}{}\n", mended.as_ref().map_or(String::new(), |mended| format!(": {mended}")));
    }
    if report.findings.is_empty() { text + "no damage found\n" } else { text }
}

fn as_json(report: &CheckReport) -> Value {
    let findings = report.findings.iter().map(|(finding, mended)| json!({"Finding": finding, "Mended": mended}));
    let rebuilt = report.salvaged.as_ref().map(|salvaged| {
        json!({"Damaged": salvaged.damaged, "Incomplete": salvaged.incomplete, "LostContainers": salvaged.snapshots})
    });
    json!({"Whole": report.is_whole(), "Findings": findings.collect::<Vec<_>>(), "DatabaseRebuilt": rebuilt})
}
