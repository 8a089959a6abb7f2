//! `diff` and `image diff`.

use std::io::Write;

use knarr_engine::container::diff::diff;
use knarr_engine::image::diff::{between, last_layer};
use serde_json::json;

use crate::failure::Failure;
use crate::output::inspected;
use crate::verb::Verb;
use crate::world::World;

/// Show what a container changed of its image's files.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// A Go template or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Show what an image's last layer changed, or what is different between two images.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageDiff {
    /// A Go template or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The image to compare with, instead of the layers below the last
    #[arg(value_name = "OLD")]
    old: Option<String>,
}

/// Each path, and what happened to it.
type Changes = Vec<(Vec<u8>, knarr_engine::Change)>;

impl Verb for Diff {
    const NAMES: &'static [&'static str] = &["diff", "container diff"];
    const ABOUT: &'static str = "Show what a container changed of its image's files";
    const EXAMPLE: &'static str = "knarr diff web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        show(&diff(&world.rooted()?, &self.container)?, self.format.as_deref())
    }
}

impl Verb for ImageDiff {
    const NAMES: &'static [&'static str] = &["image diff"];
    const ABOUT: &'static str = "Show what an image's last layer changed, or what is different between two images";
    const EXAMPLE: &'static str = "knarr image diff app:v2 app:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let changes = match &self.old {
            Some(old) => between(&context, old, &self.image)?,
            None => last_layer(&context, &self.image)?,
        };
        show(&changes, self.format.as_deref())
    }
}

fn letter(change: knarr_engine::Change) -> char {
    match change {
        knarr_engine::Change::Added => 'A',
        knarr_engine::Change::Modified => 'C',
        knarr_engine::Change::Deleted => 'D',
    }
}

fn show(changes: &Changes, format: Option<&str>) -> Result<u8, Failure> {
    let mut text = Vec::new();
    match format {
        Some(format) => {
            let of = |wanted| {
                let paths = changes.iter().filter(move |(_, change)| *change == wanted);
                paths.map(|(path, _)| format!("/{}", String::from_utf8_lossy(path))).collect::<Vec<_>>()
            };
            let value = json!({
                "added": of(knarr_engine::Change::Added),
                "changed": of(knarr_engine::Change::Modified),
                "deleted": of(knarr_engine::Change::Deleted),
            });
            text.extend(inspected(&[value], Some(format))?.into_bytes());
        }
        None => {
            for (path, change) in changes {
                text.extend([letter(*change) as u8, b' ', b'/']);
                text.extend(path);
                text.push(b'\n');
            }
        }
    }
    match std::io::stdout().write_all(&text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("write output: {error}")))
        }
        _ => Ok(0),
    }
}
