//! `search`, with docker's filters and columns and podman's `--list-tags`.

use knarr_distribution::search::{self, Found};
use knarr_distribution::{Network, look};
use knarr_spec::Reference;
use knarr_spec::reference::DEFAULT_REGISTRY;
use serde_json::{Value, json};

use crate::access::{self, OneSide};
use crate::failure::Failure;
use crate::listing::{Columns, render};
use crate::output::{print, terminal_width};
use crate::rows::cut;
use crate::verb::Verb;
use crate::world::World;

/// Results shown where nothing is said, and at most: docker's and podman's.
const LIMIT_DEFAULT: usize = 25;
const LIMIT_MAX: usize = 100;

/// Width of a description that is cut short, as docker has it.
const DESCRIPTION_WIDTH: usize = 45;

/// docker's fields, then podman's names for them.
const RESULTS: Columns = Columns {
    titles: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
        ("Index", "INDEX"),
        ("Stars", "STARS"),
        ("Official", "OFFICIAL"),
        ("Automated", "AUTOMATED"),
    ],
    default: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    quiet: "Name",
    raw: "",
    texts: &["DESCRIPTION"],
};

const TAGS: Columns = Columns {
    titles: &[("Name", "NAME"), ("Tag", "TAG")],
    default: "{{.Name}}\t{{.Tag}}",
    quiet: "Tag",
    raw: "",
    texts: &[],
};

/// Search registries for images.
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Only what fits (is-official=BOOL, is-automated=BOOL, stars=LEAST)
    #[arg(long, short = 'f', value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// A Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Most results of each registry
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT)]
    limit: usize,
    /// List the tags of one repository
    #[arg(long)]
    list_tags: bool,
    /// Cut no description short
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    side: OneSide,
    /// A word, or REGISTRY/WORD; without a registry those of registries.conf are searched, or Docker Hub
    #[arg(value_name = "TERM")]
    term: String,
}

impl Verb for Search {
    const NAMES: &'static [&'static str] = &["search"];
    const ABOUT: &'static str = "Search registries for images";
    const EXAMPLE: &'static str = "knarr search --filter stars=100 registry.example/app";

    fn run(self, world: &World) -> Result<u8, Failure> {
        if self.term.contains("://") {
            let words = format!("invalid repository name: repository name ({}) should not have a scheme", self.term);
            return Err(Failure::usage(words));
        }
        if !(1..=LIMIT_MAX).contains(&self.limit) {
            let words = format!("limit {} is outside the range of [1, {LIMIT_MAX}]", self.limit);
            return Err(Failure::usage(words));
        }
        let filters = self.filter.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let network = access::network(&self.side.access()).map_err(access::failure)?;
        let (columns, rows) = match self.list_tags {
            true => (&TAGS, self.tags(&filters, &network)?),
            false => (&RESULTS, self.results(world, &filters, &network)?),
        };
        let width = terminal_width().filter(|_| !self.no_trunc);
        print(&render(columns, self.format.as_deref(), false, &rows, width)?)?;
        Ok(0)
    }
}

impl Search {
    fn tags(&self, filters: &[Filter], network: &Network) -> Result<Vec<Value>, Failure> {
        if !filters.is_empty() {
            return Err(Failure::usage("filters are not applicable to list tags result"));
        }
        let reference: Reference =
            self.term.parse().map_err(|error: knarr_spec::ReferenceError| Failure::usage(error.to_string()))?;
        let tags = look::list_tags(&reference, network).map_err(|error| access::failure(error).code(1))?;
        Ok(tags.into_iter().take(self.limit).map(|tag| json!({"Name": reference.name(), "Tag": tag})).collect())
    }

    /// What every registry found; one that fails is no reason to keep back what others know.
    fn results(&self, world: &World, filters: &[Filter], network: &Network) -> Result<Vec<Value>, Failure> {
        let (registries, word) = meant(&self.term, &network.registries.unqualified_search_registries);
        let mut rows = Vec::new();
        let mut failed = Vec::new();
        for registry in &registries {
            match search::search(registry, word, self.limit, network) {
                Ok(found) => {
                    let fitting = found.iter().filter(|found| filters.iter().all(|filter| filter.fits(found)));
                    rows.extend(fitting.map(|found| self.row(registry, found)));
                }
                Err(error) => failed.push(access::failure(error).code(1)),
            }
        }
        if failed.len() == registries.len() {
            return Err(failed.swap_remove(0));
        }
        failed.iter().for_each(|failure| world.note(failure.message()));
        Ok(rows)
    }

    fn row(&self, registry: &str, found: &Found) -> Value {
        let description = match self.no_trunc {
            true => found.description.clone(),
            false => cut(&found.description, DESCRIPTION_WIDTH),
        };
        // What is not on Docker Hub is called by its whole name, or nobody could pull it.
        let name = match registry {
            DEFAULT_REGISTRY => found.name.clone(),
            registry => format!("{registry}/{}", found.name),
        };
        let stars = found.stars.to_string();
        if self.format.as_deref() == Some("json") {
            let (official, automated) = (found.official.to_string(), found.automated.to_string());
            return json!({"Name": name, "Description": description, "StarCount": stars,
                          "IsOfficial": official, "IsAutomated": automated});
        }
        let mark = |is: bool| if is { "[OK]" } else { "" };
        let (official, automated) = (mark(found.official), mark(found.automated));
        json!({"Name": name, "Description": description, "StarCount": stars, "IsOfficial": official,
               "IsAutomated": automated, "Index": registry, "Stars": stars, "Official": official, "Automated": automated})
    }
}

/// The registries to ask, and for what.
fn meant<'t>(term: &'t str, search_registries: &[String]) -> (Vec<String>, &'t str) {
    match term.split_once('/') {
        Some((registry, word)) if registry.contains(['.', ':']) || registry == "localhost" => {
            let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
            (vec![registry.to_owned()], word)
        }
        _ if search_registries.is_empty() => (vec![DEFAULT_REGISTRY.to_owned()], term),
        _ => (search_registries.to_vec(), term),
    }
}

/// One `--filter`.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    Stars(u64),
    Official(bool),
    Automated(bool),
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, Failure> {
        let invalid = || {
            let failure = Failure::usage(format!("invalid filter {text:?}"));
            failure.hint("expected stars=NUMBER, is-official=true|false or is-automated=true|false")
        };
        // podman's short form: `is-official` alone means that it is.
        let (key, value) = text.split_once('=').unwrap_or((text, "true"));
        let truth = || value.parse().map_err(|_| invalid());
        match key {
            "stars" => value.parse().map(Filter::Stars).map_err(|_| invalid()),
            "is-official" => truth().map(Filter::Official),
            "is-automated" => truth().map(Filter::Automated),
            _ => Err(invalid()),
        }
    }

    fn fits(&self, found: &Found) -> bool {
        match self {
            Filter::Stars(least) => found.stars >= *least,
            Filter::Official(wanted) => found.official == *wanted,
            Filter::Automated(wanted) => found.automated == *wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_meant(term: &str, configured: &[&str], expect: (&[&str], &str)) {
        let configured: Vec<String> = configured.iter().map(|name| (*name).to_owned()).collect();
        let (registries, word) = meant(term, &configured);
        assert_eq!((registries.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), word), expect, "{term}");
    }

    #[test]
    fn a_term_may_name_its_registry() {
        check_meant("alpine", &[], (&["docker.io"], "alpine"));
        check_meant("team/app", &[], (&["docker.io"], "team/app"));
        check_meant("alpine", &["a.example", "docker.io"], (&["a.example", "docker.io"], "alpine"));
        check_meant("r.example:5000/team/app", &["a.example"], (&["r.example:5000"], "team/app"));
        check_meant("localhost/", &[], (&["localhost"], ""));
        check_meant("index.docker.io/alpine", &[], (&["docker.io"], "alpine"));
    }

    fn check_filter(text: &str, expect: Option<Filter>) {
        assert_eq!(Filter::parse(text).ok(), expect, "{text}");
    }

    #[test]
    fn filters_are_dockers() {
        check_filter("stars=3", Some(Filter::Stars(3)));
        check_filter("is-official=false", Some(Filter::Official(false)));
        check_filter("is-official", Some(Filter::Official(true)));
        check_filter("is-automated=true", Some(Filter::Automated(true)));
        check_filter("stars", None);
        check_filter("is-official=perhaps", None);
        check_filter("age=3", None);
    }
}
