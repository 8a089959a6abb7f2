//! `system budget`.

use knarr_engine::Budget;
use knarr_engine::image::budget::{get, set};
use knarr_engine::wanted::parse_size;
use serde_json::json;

use super::system_prune::seconds_of;
use crate::failure::Failure;
use crate::output::{inspected, print};
use crate::units::{duration, size};
use crate::verb::Verb;
use crate::world::World;

/// Show or set what images may take: unused ones go by themselves, the least recently used first.
#[derive(Debug, clap::Args)]
pub(crate) struct SystemBudget {
    /// A Go template or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Bytes that images may take together (20GB); `none` for no limit
    #[arg(long, value_name = "SIZE")]
    max_used: Option<String>,
    /// Bytes that stay free on the file system (5GB); `none` for no limit
    #[arg(long, value_name = "SIZE")]
    min_free: Option<String>,
    /// Time after which an unused image goes (30d); `none` for no limit
    #[arg(long, value_name = "TIME")]
    max_age: Option<String>,
    /// Blobs of uncompressed layers (as `load` brings them), which can be made again from their trees: `keep` both, or `drop`
    /// the blobs with the next collection and make them when they are pushed or saved
    #[arg(long, value_name = "WHAT", value_enum)]
    remakeable: Option<Remakeable>,
}

/// What becomes of blobs that can be made again.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Remakeable {
    Keep,
    Drop,
}

impl Verb for SystemBudget {
    const NAMES: &'static [&'static str] = &["system budget"];
    const ABOUT: &'static str =
        "Show or set what images may take: unused ones go by themselves, the least recently used first";
    const EXAMPLE: &'static str = "knarr system budget --max-used 20GB --max-age 30d";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let mut budget = get(&context)?;
        let bytes = |text: &str| match text {
            "none" => Ok(None),
            text => parse_size("size", text).map(|bytes| u64::try_from(bytes).ok()),
        };
        let changes =
            self.max_used.is_some() || self.min_free.is_some() || self.max_age.is_some() || self.remakeable.is_some();
        if let Some(text) = &self.max_used {
            budget.used_bytes_max = bytes(text)?;
        }
        if let Some(text) = &self.min_free {
            budget.free_bytes_min = bytes(text)?;
        }
        if let Some(text) = &self.max_age {
            budget.age_s_max = match text.as_str() {
                "none" => None,
                text => {
                    let seconds = seconds_of(text);
                    Some(seconds.ok_or_else(|| Failure::usage(format!("{text:?} is no time")).hint("as 30d or 12h"))?)
                }
            };
        }
        if let Some(what) = self.remakeable {
            budget.drop_remakeable = matches!(what, Remakeable::Drop);
        }
        if changes {
            set(&context, &budget)?;
            world.notes_of(&context);
        }
        match self.format.as_deref() {
            None => print(&told(&budget))?,
            format => {
                let facts = json!({
                    "MaxUsed": budget.used_bytes_max,
                    "MinFree": budget.free_bytes_min,
                    "MaxAge": budget.age_s_max,
                    "DropRemakeable": budget.drop_remakeable,
                });
                print(&inspected(&[facts], format)?)?;
            }
        }
        Ok(0)
    }
}

fn told(budget: &Budget) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    format!(
        "Max used:      {}\nMin free:      {}\nMax age:       {}\nPlain layers:  {}\n",
        or_none(budget.used_bytes_max.map(|bytes| size(bytes, 4))),
        or_none(budget.free_bytes_min.map(|bytes| size(bytes, 4))),
        or_none(budget.age_s_max.map(duration)),
        if budget.drop_remakeable { "kept once, as trees" } else { "kept twice, as blobs and as trees" },
    )
}
