//! `history`.

use knarr_engine::image::history::{Step, history};
use knarr_engine::time;
use serde_json::json;

use crate::failure::Failure;
use crate::listing::{Columns, render};
use crate::output::{print, terminal_width};
use crate::rows::{ago, cut, timestamp};
use crate::units::size;
use crate::verb::Verb;
use crate::world::World;

/// Docker cuts what made a step here.
const CREATED_BY_WIDTH: usize = 45;
/// And remarks nowhere; an id at twelve digits.
const ID_DIGITS: usize = 12;

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
        ("Tags", "TAGS"),
    ],
    default: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "ID",
    raw: "",
    texts: &["CREATED BY", "COMMENT"],
};

/// Show the steps of an image.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// A Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Sizes and dates for people
    #[arg(long, short = 'H', value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    human: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Ids only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for History {
    const NAMES: &'static [&'static str] = &["history", "image history"];
    const ABOUT: &'static str = "Show the steps of an image";
    const EXAMPLE: &'static str = "knarr history --no-trunc app";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let steps = history(&world.reading()?, &self.image)?;
        let now = time::now_ns();
        let rows: Vec<_> = steps.iter().map(|step| self.row(step, now)).collect();
        let width = terminal_width().filter(|_| !self.no_trunc);
        print(&render(&COLUMNS, self.format.as_deref(), self.quiet, &rows, width)?)?;
        Ok(0)
    }
}

impl History {
    fn row(&self, step: &Step, now_ns: u64) -> serde_json::Value {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let created_by = text(&step.history.created_by).replace('\t', " ");
        let created_ns = step.history.created.as_deref().and_then(time::parse_rfc3339);
        let since = created_ns.map_or("N/A".to_owned(), |then| ago(now_ns, then));
        let at = text(&step.history.created);
        let id = match &step.id {
            None => "<missing>".to_owned(),
            Some(id) if self.no_trunc => id.clone(),
            Some(id) => id.rsplit(':').next().unwrap_or_default().chars().take(ID_DIGITS).collect(),
        };
        json!({
            "ID": id,
            "CreatedSince": if self.human { since } else { at.clone() },
            "CreatedAt": if self.human { at } else { created_ns.map_or(String::new(), timestamp) },
            "CreatedBy": if self.no_trunc { created_by } else { cut(&created_by, CREATED_BY_WIDTH) },
            "Size": if self.human { size(step.bytes, 3) } else { step.bytes.to_string() },
            "Comment": text(&step.history.comment),
            "Tags": step.tags.join(","),
        })
    }
}
