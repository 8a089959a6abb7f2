//! `system prune`, and what it has in common with `image prune` and `container prune`.

use knarr_engine::system::prune::{PruneWanted, Pruned, prune};
use knarr_engine::time;

use super::container_prune::confirmed;
use crate::failure::Failure;
use crate::output::print;
use crate::units::size;
use crate::verb::Verb;
use crate::world::World;

/// Remove containers at rest, images nobody uses, and what is left of both.
#[derive(Debug, clap::Args)]
pub(crate) struct SystemPrune {
    /// Every image without a container, not only those without a name
    #[arg(long, short = 'a')]
    all: bool,
    /// Volumes nobody named and nobody uses too
    #[arg(long)]
    volumes: bool,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
    /// Only those that fit (until=24h, label=NAME[=VALUE], label!=NAME[=VALUE])
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

impl Verb for SystemPrune {
    const NAMES: &'static [&'static str] = &["system prune"];
    const ABOUT: &'static str = "Remove containers at rest, images nobody uses, and what is left of both";
    const EXAMPLE: &'static str = "knarr system prune -a --volumes";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let mut wanted = filtered(&self.filter)?;
        if self.volumes && wanted.before_ns.is_some() {
            return Err(Failure::usage("The \"until\" filter is not supported with \"--volumes\""));
        }
        (wanted.all_images, wanted.volumes) = (self.all, self.volumes);
        if !self.force && !confirmed(&warning(self.all, self.volumes, &self.filter))? {
            return Ok(0);
        }
        let context = world.rooted()?;
        let pruned = prune(&context, &wanted)?;
        print(&report(&pruned))?;
        for problem in &pruned.problems {
            world.note(problem);
        }
        Ok(0)
    }
}

/// Docker's list of what will go.
fn warning(all: bool, volumes: bool, filters: &[String]) -> String {
    let mut text = "This will remove:\n  - all stopped containers\n".to_owned();
    if volumes {
        text += "  - all anonymous volumes not used by at least one container\n";
    }
    text += match all {
        true => "  - all images without at least one container associated to them\n",
        false => "  - all dangling images\n",
    };
    if !filters.is_empty() {
        text += &format!("\n  Items to be pruned will be filtered with:\n  - {}\n", filters.join("\n  - "));
    }
    text
}

/// What `--filter` says.
pub(crate) fn filtered(filters: &[String]) -> Result<PruneWanted, Failure> {
    let mut wanted = PruneWanted::default();
    for filter in filters {
        let wrong = || Failure::usage(format!("invalid filter {filter:?}"));
        match filter.split_once('=') {
            Some(("until", value)) => wanted.before_ns = Some(moment(value).ok_or_else(wrong)?),
            Some(("label", value)) => wanted.labels.with.push(value.to_owned()),
            Some(("label!", value)) => wanted.labels.without.push(value.to_owned()),
            _ => return Err(wrong().hint("until=24h, label=NAME[=VALUE] or label!=NAME[=VALUE]")),
        }
    }
    Ok(wanted)
}

/// A duration before now, seconds since 1970, or a date.
fn moment(text: &str) -> Option<u64> {
    const SECOND_NS: u64 = 1_000_000_000;
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(SECOND_NS);
    }
    if let Some(moment) = time::parse_rfc3339(text).or_else(|| time::parse_rfc3339(&format!("{text}T00:00:00Z"))) {
        return Some(moment);
    }
    time::now_ns().checked_sub(seconds_of(text)?.checked_mul(SECOND_NS)?)
}

/// `24h`, `1h30m`, `30d`.
pub(crate) fn seconds_of(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(rest[..digits].parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

/// What went, as docker lists it.
pub(crate) fn report(pruned: &Pruned) -> String {
    let mut text = String::new();
    if !pruned.containers.is_empty() {
        text += &format!("Deleted Containers:\n{}\n\n", pruned.containers.join("\n"));
    }
    if !pruned.volumes.is_empty() {
        text += &format!("Deleted Volumes:\n{}\n\n", pruned.volumes.join("\n"));
    }
    if !pruned.images.is_empty() {
        text += "Deleted Images:\n";
        for image in &pruned.images {
            for name in image.names.iter().chain(&image.repo_digests) {
                text += &format!("untagged: {}\n", name.familiar());
            }
            text += &format!("deleted: {}\n", image.id);
        }
        text += "\n";
    }
    text + &format!("Total reclaimed space: {}\n", size(pruned.bytes, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(seconds_of("1h30m"), Some(5400));
        assert_eq!(seconds_of("2d"), Some(172_800));
        for text in ["", "5", "5x", "h"] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }

    #[test]
    fn filters_are_read() {
        let filter = |text: &str| filtered(&[text.to_owned()]);
        assert_eq!(filter("until=1970-01-02").unwrap().before_ns, Some(86_400_000_000_000));
        assert_eq!(filter("label!=a=b").unwrap().labels.without, ["a=b"]);
        assert!(filter("until=yesterday").is_err() && filter("x=y").is_err());
    }
}
