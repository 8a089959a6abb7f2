//! `image sync`, and skopeo's `sync`.
//!
//! Law: what is to be copied is decided first, as a list; then it is copied one by one; tags that the source no longer has
//! are removed last, and only from repositories that were listed whole.

mod plan;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use knarr_distribution::{CopyOptions, MultiArch, Network, Place, look};
use knarr_spec::Reference;

use super::image_copy::{How, Sides};
use crate::access::{self, Tool};
use crate::failure::{Failure, log_line};
use crate::progress::CopyLines;
use crate::verb::Verb;
use crate::world::World;

use plan::{Filter, Job, Plan};

/// Copy many images at once.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageSync {
    /// What SOURCE is: docker (a repository or image), registry (a whole registry), dir or yaml
    #[arg(long, short = 's', value_name = "TRANSPORT")]
    src: Option<String>,
    /// What DESTINATION is: docker or dir
    #[arg(long, short = 'd', value_name = "TRANSPORT")]
    dest: Option<String>,
    /// Copy all images of an index
    #[arg(long, short = 'a')]
    all: bool,
    /// Put the whole name of the source behind DESTINATION
    #[arg(long)]
    scoped: bool,
    /// Put this behind the tags at DESTINATION
    #[arg(long, value_name = "SUFFIX", default_value = "")]
    append_suffix: String,
    /// Only tags that match this regular expression
    #[arg(long, value_name = "REGEX")]
    include: Option<String>,
    /// No tags that match this regular expression
    #[arg(long, value_name = "REGEX")]
    exclude: Option<String>,
    /// Remove tags from DESTINATION that SOURCE does not have
    #[arg(long)]
    delete: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Go on after an image failed
    #[arg(long)]
    keep_going: bool,
    /// Write digests and names of what was copied to this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    sides: Sides,
    #[command(flatten)]
    tool: Tool,
    /// A repository, image, registry, directory or YAML file
    #[arg(value_name = "SOURCE")]
    source: String,
    /// A registry with a path, or a directory
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

fn log(level: &str, message: &str, fields: &[(&str, &str)]) {
    let mut line = log_line(level, &quoted(message));
    fields.iter().for_each(|(name, value)| line += &format!(" {name}={}", quoted(value)));
    anstream::eprintln!("{line}");
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

/// A place as skopeo shows it.
fn shown(place: &Place) -> String {
    match place {
        Place::Registry(reference) => format!("docker://{}", reference),
        other => other.to_string(),
    }
}

impl Verb for ImageSync {
    const NAMES: &'static [&'static str] = &["image sync"];
    const ABOUT: &'static str = "Copy many images at once";
    const EXAMPLE: &'static str = "knarr image sync --src docker --dest dir registry.example/app /media/usb";

    fn run(self, _: &World) -> Result<u8, Failure> {
        self.check()?;
        let filter = Filter::new(self.include.as_deref(), self.exclude.as_deref())?;
        let source = self.tool.network(&self.sides.source())?;
        let destination = self.tool.network(&self.sides.destination())?;
        let plan = Plan::make(self.src.as_deref().unwrap_or_default(), &self.source, &source, &filter)?;
        if self.dry_run {
            log("warning", "Running in dry-run mode", &[]);
        }
        let mut digests = self.digest_file()?;
        let lines = CopyLines::new(false);
        let options = match self.dry_run {
            true => None,
            false => Some(self.options(&source, &destination, &lines)?),
        };
        let (mut done, mut failed) = (0, false);
        let mut kept: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for sources in &plan.sources {
            for (at, job) in sources.jobs.iter().enumerate() {
                let to = self.target(job, sources.base.as_deref())?;
                if let (Place::Registry(to), true) = (&to, sources.whole) {
                    let tags = kept.entry(to.name()).or_default();
                    tags.extend(to.tag().map(str::to_owned));
                }
                let (from, to_text) = (shown(&job.from), shown(&to));
                let fields = [("from", from.as_str()), ("to", to_text.as_str())];
                let verb = if self.dry_run { "Would have copied" } else { "Copying" };
                log("info", &format!("{verb} image ref {}/{}", at + 1, sources.jobs.len()), &fields);
                if let Some(options) = &options {
                    let network = sources.network.as_ref().unwrap_or(&source).clone();
                    match self.copy(&job.from, &to, CopyOptions { source: network, ..options.clone() }, &lines) {
                        Ok(digest) => write_line(&mut digests, &format!("{digest} {to_text}"))?,
                        Err(failure) if self.keep_going => {
                            failed = true;
                            log("error", &format!("Error copying ref {from:?}: {}", failure.message()), &[]);
                            continue;
                        }
                        Err(failure) => return Err(failure.within(&format!("Error copying ref {from:?}"))),
                    }
                }
                done += 1;
            }
        }
        if self.delete && !failed {
            self.delete_others(&kept, &destination)?;
        }
        let verb = if self.dry_run { "Would have synced" } else { "Synced" };
        log("info", &format!("{verb} {done} images from {} sources", plan.sources.len()), &[]);
        match failed {
            true => Err(Failure::new("Sync failed due to previous reported error(s) for one or more images")),
            false => Ok(0),
        }
    }
}

impl ImageSync {
    fn check(&self) -> Result<(), Failure> {
        match self.src.as_deref() {
            None => return Err(Failure::usage("A source transport must be specified")),
            Some("docker" | "registry" | "dir" | "yaml") => {}
            Some(other) => return Err(Failure::usage(format!("{other:?} is not a valid source transport"))),
        }
        match (self.src.as_deref(), self.dest.as_deref()) {
            (_, None) => Err(Failure::usage("A destination transport must be specified")),
            (Some("dir"), Some("dir")) => {
                Err(Failure::usage("sync from 'dir' to 'dir' not implemented, consider using rsync instead"))
            }
            (_, Some("dir")) if self.delete => {
                Err(Failure::usage("--delete is not supported for directories").hint("remove them by hand"))
            }
            (_, Some("docker" | "dir")) => Ok(()),
            (_, Some(other)) => Err(Failure::usage(format!("{other:?} is not a valid destination transport"))),
        }
    }

    fn digest_file(&self) -> Result<Option<std::fs::File>, Failure> {
        let path = self.digestfile.as_ref().filter(|_| !self.dry_run);
        let created = path.map(std::fs::File::create).transpose();
        created.map_err(|error| Failure::new(format!("Error creating digest file: {error}")))
    }

    /// Where an image goes.
    fn target(&self, job: &Job, base: Option<&std::path::Path>) -> Result<Place, Failure> {
        let name = match &job.from {
            Place::Registry(reference) => reference.to_string(),
            Place::Dir(path) => {
                let below =
                    base.and_then(|base| path.strip_prefix(base).ok()).filter(|below| !below.as_os_str().is_empty());
                let below = below.map(std::path::Path::to_owned).or_else(|| path.file_name().map(PathBuf::from));
                below.unwrap_or_default().display().to_string()
            }
            _ => unreachable!("sources are registries and directories"),
        };
        let name = if self.scoped { name.as_str() } else { name.rsplit('/').next().unwrap_or(&name) };
        let text = format!("{}/{name}{}", self.destination.trim_end_matches('/'), self.append_suffix);
        match self.dest.as_deref() {
            Some("docker") => text.parse::<Reference>().map(Place::Registry).map_err(|error| {
                let what = "Cannot obtain a valid image reference for transport \"docker\" and reference";
                Failure::new(format!("{what} {text:?}: {error}"))
            }),
            _ if !self.dry_run && std::path::Path::new(&text).exists() => {
                Err(Failure::new(format!("Refusing to overwrite destination directory {text:?}")))
            }
            _ => Ok(Place::Dir(text.into())),
        }
    }

    /// How every image is copied: whatever has to be asked for, a passphrase for one, is asked for once.
    fn options<'a>(
        &self,
        source: &Network,
        destination: &Network,
        lines: &'a CopyLines,
    ) -> Result<CopyOptions<'a>, Failure> {
        self.how.apply(CopyOptions {
            platform: self.tool.platform()?,
            multi: if self.all { MultiArch::All } else { MultiArch::System },
            source: source.clone(),
            destination: destination.clone(),
            policy: self.tool.policy()?,
            progress: lines,
            ..CopyOptions::new(&self.tool.spool())
        })
    }

    fn copy(&self, from: &Place, to: &Place, options: CopyOptions<'_>, lines: &CopyLines) -> Result<String, Failure> {
        if let (Place::Registry(source_name), Place::Registry(name), false) =
            (from, to, self.how.changes_what_is_there())
            && let (Ok(here), Ok(there)) =
                (look::digest(source_name, &options.source), look::digest(name, &options.destination))
            && here == there
        {
            lines.line(&format!("{to} is up to date"));
            return Ok(here.to_string());
        }
        let copied = knarr_distribution::copy(None, from, to, &options);
        Ok(copied.map_err(|error| access::failure(error).code(1))?.digest.to_string())
    }

    /// Removes tags that are not among those kept, repository by repository.
    fn delete_others(&self, kept: &BTreeMap<String, BTreeSet<String>>, network: &Network) -> Result<(), Failure> {
        let failure = |error| access::failure(error).code(1);
        for (name, tags) in kept {
            let repository: Reference = name.parse().expect("it was a name before");
            let there = look::list_tags(&repository, network).map_err(failure)?;
            let at = |tag: &str| repository.with_tag(tag).map_err(|error| Failure::new(error.to_string()));
            for tag in there.iter().filter(|tag| !tags.contains(*tag)) {
                let verb = if self.dry_run { "Would have deleted" } else { "Deleting" };
                log("info", &format!("{verb} {name}:{tag}"), &[]);
                if self.dry_run || look::delete_tag(&repository, tag, network).is_ok() {
                    continue;
                }
                // The registry deletes manifests only, and with one all its tags.
                let stale = match look::digest(&at(tag)?, network) {
                    Ok(digest) => digest,
                    Err(error) if error.kind() == knarr_distribution::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failure(error)),
                };
                for keep in tags {
                    if look::digest(&at(keep)?, network).map_err(failure)? == stale {
                        let what = format!(
                            "cannot delete {name}:{tag}: the registry deletes whole manifests only, and {keep} is the same one"
                        );
                        return Err(Failure::new(what));
                    }
                }
                look::delete(&repository.with_digest(stale), network).map_err(failure)?;
            }
        }
        Ok(())
    }
}

fn write_line(file: &mut Option<std::fs::File>, line: &str) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    writeln!(file, "{line}").map_err(|error| Failure::new(format!("Failed to write digest to file: {error}")))
}
