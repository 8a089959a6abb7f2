//! `images`.

use knarr_engine::{ImageRecord, image, time};
use knarr_spec::Reference;

use crate::failure::Failure;
use crate::listing::render;
use crate::output::{print, terminal_width};
use crate::rows::{self, IMAGES, IMAGES_WITH_DIGESTS};
use crate::verb::Verb;
use crate::world::World;

/// List images.
#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Accepted for docker's sake: there are no hidden images
    #[arg(long, short = 'a')]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only those that fit (dangling, label, reference, before, since)
    #[arg(long, short = 'f', value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// A Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Ids only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Only this repository, or this tag of it
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// What a filter can be about.
pub(crate) const KEYS: [&str; 5] = ["dangling", "label", "reference", "before", "since"];

impl Verb for Images {
    const NAMES: &'static [&'static str] = &["images", "image ls", "image list"];
    const ABOUT: &'static str = "List images";
    const EXAMPLE: &'static str = "knarr images --format '{{.Repository}}:{{.Tag}} {{.Size}}'";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.reading()?;
        let mut list = image::list::list(&context)?;
        let mut dangling = None;
        let everything = list.clone();
        for text in &self.filter {
            match text.split_once('=') {
                Some(("dangling", value)) => dangling = Some(value == "true" || value == "1"),
                Some((key, value)) if KEYS.contains(&key) => {
                    list.retain(|image| fits(image, key, value, &everything));
                }
                _ => {
                    let failure = Failure::usage(format!("invalid filter {text:?}"));
                    return Err(failure.hint(format!("expected KEY=VALUE, KEY one of {}", KEYS.join(", "))));
                }
            }
        }
        let now = time::now_ns();
        let only_dangling = dangling == Some(true);
        let visible = |image: &&ImageRecord| dangling != Some(false) || !image.names.is_empty();
        let mut rows: Vec<_> = list
            .iter()
            .filter(visible)
            .flat_map(|image| rows::image(image, now, self.no_trunc, only_dangling))
            .collect();
        if let Some(name) = &self.name {
            rows.retain(|row| named(row, name));
        }
        let columns = if self.digests { &IMAGES_WITH_DIGESTS } else { &IMAGES };
        let width = terminal_width().filter(|_| !self.no_trunc);
        print(&render(columns, self.format.as_deref(), self.quiet, &rows, width)?)?;
        Ok(0)
    }
}

fn named(row: &serde_json::Value, name: &str) -> bool {
    let Ok(reference) = name.parse::<Reference>() else { return false };
    let tag_given = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    row["Repository"] == reference.familiar_name() && (!tag_given || row["Tag"] == reference.tag().unwrap_or_default())
}

fn fits(image: &ImageRecord, key: &str, value: &str, everything: &[ImageRecord]) -> bool {
    let other = || {
        let wanted = value.parse::<Reference>().ok();
        let same = |other: &&ImageRecord| {
            other.id.encoded().starts_with(value) || wanted.as_ref().is_some_and(|wanted| other.names.contains(wanted))
        };
        everything.iter().find(same).and_then(|other| other.created.clone())
    };
    match key {
        "label" => match value.split_once('=') {
            Some((key, value)) => image.config.config.labels.get(key).is_some_and(|label| label == value),
            None => image.config.config.labels.contains_key(value),
        },
        "reference" => image.names.iter().any(|name| matches_pattern(name, value)),
        "before" => other().is_some_and(|moment| image.created.as_ref().is_some_and(|created| *created < moment)),
        _ => other().is_some_and(|moment| image.created.as_ref().is_some_and(|created| *created > moment)),
    }
}

/// `*` stands for anything within a path component; a pattern without a tag matches every tag.
fn matches_pattern(name: &Reference, pattern: &str) -> bool {
    let tagged = pattern.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let familiar = name.familiar_name();
    let text = if tagged { format!("{familiar}:{}", name.tag().unwrap_or_default()) } else { familiar };
    glob(pattern.as_bytes(), text.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            let reach = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=reach).any(|skip| glob(rest, &text[skip..]))
        }
        (Some((b'?', rest)), Some((byte, text))) if *byte != b'/' => glob(rest, text),
        (Some((a, rest)), Some((b, text))) if a == b => glob(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expect: bool) {
        assert_eq!(matches_pattern(&name.parse().unwrap(), pattern), expect, "{pattern} on {name}");
    }

    #[test]
    fn patterns_match_within_a_component() {
        check("alp*", "alpine:3", true);
        check("*", "team/app", false);
        check("*/app", "team/app", true);
        check("team/*:v?", "team/app:v1", true);
        check("team/app:v2", "team/app:v1", false);
    }
}
