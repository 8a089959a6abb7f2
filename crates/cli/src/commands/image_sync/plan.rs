//! What a sync copies: a list of images, made before anything is copied.

use std::path::{Path, PathBuf};

use knarr_distribution::{Network, Place, look};
use knarr_spec::Reference;
use regex_lite::Regex;

use super::yaml::{self, Wanted};
use crate::access;
use crate::failure::Failure;

/// Directories of one source that are looked through; deeper trees are no image collections.
const DEPTH_MAX: usize = 16;

/// Everything a sync copies.
pub(super) struct Plan {
    pub sources: Vec<Source>,
}

/// Images that come from one repository or directory.
pub(super) struct Source {
    pub jobs: Vec<Job>,
    /// The directory they are in.
    pub base: Option<PathBuf>,
    /// How it is reached, where it has ways of its own.
    pub network: Option<Network>,
    /// Whether these are all its tags, so that others at the destination may go.
    pub whole: bool,
}

/// One image.
pub(super) struct Job {
    pub from: Place,
}

/// Which tags are wanted.
#[derive(Default)]
pub(super) struct Filter {
    include: Option<Regex>,
    exclude: Option<Regex>,
}

impl Filter {
    pub(super) fn new(include: Option<&str>, exclude: Option<&str>) -> Result<Filter, Failure> {
        let compile = |text: Option<&str>| text.map(Regex::new).transpose();
        let bad = |error: regex_lite::Error| Failure::usage(format!("regular expression: {error}"));
        Ok(Filter { include: compile(include).map_err(bad)?, exclude: compile(exclude).map_err(bad)? })
    }

    fn takes(&self, tag: &str) -> bool {
        self.include.as_ref().is_none_or(|regex| regex.is_match(tag))
            && !self.exclude.as_ref().is_some_and(|regex| regex.is_match(tag))
    }
}

impl Plan {
    pub(super) fn make(transport: &str, source: &str, network: &Network, filter: &Filter) -> Result<Plan, Failure> {
        let sources = match transport {
            "docker" => vec![repository(source, network, filter)?],
            "registry" => {
                let names = look::catalog(source, network).map_err(|error| access::failure(error).code(1))?;
                let each = names.iter().map(|name| repository(&format!("{source}/{name}"), network, filter));
                each.collect::<Result<_, _>>()?
            }
            "dir" => vec![directory(Path::new(source))?],
            _ => from_yaml(Path::new(source), network, filter)?,
        };
        if sources.iter().all(|source| source.jobs.is_empty()) && transport != "yaml" {
            return Err(Failure::new(format!("No images to sync found in {source:?}")));
        }
        Ok(Plan { sources })
    }
}

/// The tags of a repository that `filter` takes, or one image.
fn repository(text: &str, network: &Network, filter: &Filter) -> Result<Source, Failure> {
    let reference: Reference = text.parse().map_err(|error| {
        let what = "Cannot obtain a valid image reference for transport \"docker\" and reference";
        Failure::new(format!("{what} {text:?}: {error}"))
    })?;
    let named = text.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    let from = match named {
        true => vec![reference],
        false => tags(&reference, network, &|tag| filter.takes(tag))?,
    };
    let jobs = from.into_iter().map(|reference| Job { from: Place::Registry(reference) }).collect();
    Ok(Source { jobs, base: None, network: None, whole: !named })
}

fn tags(reference: &Reference, network: &Network, takes: &dyn Fn(&str) -> bool) -> Result<Vec<Reference>, Failure> {
    let tags = look::list_tags(reference, network).map_err(|error| access::failure(error).code(1))?;
    let wanted = tags.iter().filter(|tag| takes(tag));
    wanted.map(|tag| reference.with_tag(tag).map_err(|error| Failure::new(error.to_string()))).collect()
}

/// Every directory below `base` that holds an image.
fn directory(base: &Path) -> Result<Source, Failure> {
    let mut jobs = Vec::new();
    let invalid = |error| Failure::new(format!("Invalid source directory specified: {}: {error}", base.display()));
    std::fs::metadata(base).map_err(invalid)?;
    find_images(base, 0, &mut jobs).map_err(invalid)?;
    Ok(Source { jobs, base: Some(base.to_owned()), network: None, whole: false })
}

fn find_images(dir: &Path, depth: usize, jobs: &mut Vec<Job>) -> std::io::Result<()> {
    if dir.join("manifest.json").is_file() {
        jobs.push(Job { from: Place::Dir(dir.to_owned()) });
        return Ok(());
    }
    if depth == DEPTH_MAX {
        return Ok(());
    }
    let mut below: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            below.push(entry.path());
        }
    }
    below.sort();
    below.iter().try_for_each(|dir| find_images(dir, depth + 1, jobs))
}

fn from_yaml(file: &Path, network: &Network, filter: &Filter) -> Result<Vec<Source>, Failure> {
    let failed = |error: String| Failure::new(format!("Failed to unmarshal {:?}: {error}", file.display()));
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::new(format!("open {}: {error}", file.display())))?;
    let mut sources = Vec::new();
    for registry in yaml::parse(&text).map_err(failed)? {
        let network = registry.over(network);
        for (image, wanted) in &registry.images {
            let text = format!("{}/{image}", registry.name);
            let reference: Reference = text.parse().map_err(|error| failed(format!("{text:?}: {error}")))?;
            let jobs = match wanted {
                Wanted::Refs(refs) => {
                    let each = refs.iter().map(|name| match name.parse() {
                        Ok(digest) => Ok(reference.with_digest(digest)),
                        Err(_) => reference.with_tag(name).map_err(|error| failed(format!("{name:?}: {error}"))),
                    });
                    each.collect::<Result<Vec<_>, _>>()?
                }
                Wanted::All => tags(&reference, &network, &|tag| filter.takes(tag))?,
                Wanted::Matching(regex) => tags(&reference, &network, &|tag| regex.is_match(tag) && filter.takes(tag))?,
                Wanted::Versions(versions) => {
                    tags(&reference, &network, &|tag| versions.take(tag) && filter.takes(tag))?
                }
            };
            let jobs = jobs.into_iter().map(|reference| Job { from: Place::Registry(reference) }).collect();
            let whole = !matches!(wanted, Wanted::Refs(_));
            sources.push(Source { jobs, base: None, network: Some(network.clone()), whole });
        }
    }
    Ok(sources)
}
