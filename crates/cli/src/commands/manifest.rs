//! `manifest create`, `add`, `annotate`, `remove`, `inspect`, `exists`, `push`, `rm`: lists of images.

use knarr_distribution::{CopyOptions, MultiArch};
use knarr_engine::image::manifest::{Entry, add, annotate, create, find, forget, inspect, push, remove};
use knarr_spec::Reference;

use super::image_copy::{manifest_format, write_digest};
use crate::access::{self, OneSide};
use crate::failure::Failure;
use crate::output::{each, inspected, print};
use crate::progress::PushLines;
use crate::verb::Verb;
use crate::world::World;

fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse().map_err(|error: knarr_spec::ReferenceError| Failure::usage(error.to_string()))
}

/// Make a list of images for several platforms.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestCreate {
    /// Add to a list that is there
    #[arg(long, short = 'a')]
    amend: bool,
    /// NAME=VALUE of the list
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// The list's name
    #[arg(value_name = "LIST")]
    list: String,
    /// Images that are here
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for ManifestCreate {
    const NAMES: &'static [&'static str] = &["manifest create"];
    const ABOUT: &'static str = "Make a list of images for several platforms";
    const EXAMPLE: &'static str = "knarr manifest create app:v1 app:v1-amd64 app:v1-arm64";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let list = reference(&self.list)?;
        create(&world.rooted()?, &list, &self.images, self.amend, &self.annotation)?;
        print(&format!("Created manifest list {list}\n"))?;
        Ok(0)
    }
}

/// What is said of an entry of the list.
#[derive(Debug, clap::Args)]
pub(crate) struct EntryFlags {
    /// amd64, arm64, …
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// linux, windows, …
    #[arg(long, value_name = "NAME")]
    os: Option<String>,
    /// v7, v8, …
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// 10.0.17763, …
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// win32k, …
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    os_features: Vec<String>,
    /// NAME=VALUE of the entry
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
}

impl EntryFlags {
    fn entry(self) -> Entry {
        Entry {
            architecture: self.arch,
            os: self.os,
            variant: self.variant,
            os_version: self.os_version,
            os_features: self.os_features,
            annotations: self.annotation,
        }
    }
}

/// Add an image to a list.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestAdd {
    #[command(flatten)]
    entry: EntryFlags,
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
    /// An image that is here
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for ManifestAdd {
    const NAMES: &'static [&'static str] = &["manifest add"];
    const ABOUT: &'static str = "Add an image to a list";
    const EXAMPLE: &'static str = "knarr manifest add --arch arm64 app:v1 app:v1-arm64";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let digest = add(&world.rooted()?, &reference(&self.list)?, &self.image, &self.entry.entry())?;
        print(&format!("{digest}\n"))?;
        Ok(0)
    }
}

/// Change what a list says of an image.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestAnnotate {
    #[command(flatten)]
    entry: EntryFlags,
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
    /// An image of it, by name or by digest
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for ManifestAnnotate {
    const NAMES: &'static [&'static str] = &["manifest annotate"];
    const ABOUT: &'static str = "Change what a list says of an image";
    const EXAMPLE: &'static str = "knarr manifest annotate --arch arm --variant v7 app:v1 app:v1-arm";

    fn run(self, world: &World) -> Result<u8, Failure> {
        annotate(&world.rooted()?, &reference(&self.list)?, &self.image, &self.entry.entry())?;
        Ok(0)
    }
}

/// Take an image out of a list.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestRemove {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
    /// An image of it, by name or by digest
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for ManifestRemove {
    const NAMES: &'static [&'static str] = &["manifest remove"];
    const ABOUT: &'static str = "Take an image out of a list";
    const EXAMPLE: &'static str = "knarr manifest remove app:v1 app:v1-arm";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let digest = remove(&world.rooted()?, &reference(&self.list)?, &self.image)?;
        print(&format!("{digest}\n"))?;
        Ok(0)
    }
}

/// Show a list, or an image's manifest.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestInspect {
    /// A Go template or `json`
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// The list or image
    #[arg(value_name = "LIST")]
    list: String,
}

impl Verb for ManifestInspect {
    const NAMES: &'static [&'static str] = &["manifest inspect"];
    const ABOUT: &'static str = "Show a list, or an image's manifest";
    const EXAMPLE: &'static str = "knarr manifest inspect app:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let bytes = inspect(&world.reading()?, &self.list)?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| Failure::new(format!("{}: {error}", self.list)))?;
        match self.format.as_deref() {
            None | Some("") => print(&format!("{value:#}\n"))?,
            format => print(&inspected(&[value], format)?)?,
        }
        Ok(0)
    }
}

/// Whether there is such a list.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestExists {
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
}

impl Verb for ManifestExists {
    const NAMES: &'static [&'static str] = &["manifest exists"];
    const ABOUT: &'static str = "Say by the exit code whether there is such a list";
    const EXAMPLE: &'static str = "knarr manifest exists app:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        Ok(u8::from(find(&world.reading()?, &reference(&self.list)?)?.is_none()))
    }
}

/// Upload a list and its images to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestPush {
    /// The images of the list too; `false` where they are there already
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    all: bool,
    /// Write manifests so: oci or v2s2
    #[arg(long, short = 'f', value_name = "TYPE")]
    format: Option<String>,
    /// Forget the list afterwards
    #[arg(long, visible_alias = "purge", short = 'p')]
    rm: bool,
    /// Print only the digest
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Write the digest of what was pushed to this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<std::path::PathBuf>,
    #[command(flatten)]
    side: OneSide,
    /// The list
    #[arg(value_name = "LIST")]
    list: String,
    /// Where it is to go, if not where its name says
    #[arg(value_name = "[docker://]NAME")]
    destination: Option<String>,
}

impl Verb for ManifestPush {
    const NAMES: &'static [&'static str] = &["manifest push"];
    const ABOUT: &'static str = "Upload a list and its images to a registry";
    const EXAMPLE: &'static str = "knarr manifest push app:v1 registry.example/app:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let list = reference(&self.list)?;
        let target = self.destination.as_deref().map(|text| text.strip_prefix("docker://").unwrap_or(text));
        let target = target.map(reference).transpose()?.unwrap_or_else(|| list.clone());
        let context = if self.rm { world.rooted()? } else { world.reading()? };
        let lines = PushLines::new(self.quiet);
        let options = CopyOptions {
            multi: if self.all { MultiArch::All } else { MultiArch::IndexOnly },
            format: manifest_format(self.format.as_deref())?,
            keep_plain: true,
            destination: access::network(&self.side.access()).map_err(access::failure)?,
            progress: &lines,
            ..CopyOptions::new(context.store.state())
        };
        let pushed = push(&context, &list, &target, &options)?;
        write_digest(self.digestfile.as_deref(), &pushed.digest)?;
        print(&format!("{}\n", pushed.digest))?;
        if self.rm {
            forget(&context, &list)?;
        }
        Ok(0)
    }
}

/// Forget lists; their images stay.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestRm {
    /// The lists
    #[arg(required = true, value_name = "LIST")]
    lists: Vec<String>,
}

impl Verb for ManifestRm {
    const NAMES: &'static [&'static str] = &["manifest rm"];
    const ABOUT: &'static str = "Forget lists; their images stay";
    const EXAMPLE: &'static str = "knarr manifest rm app:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        each("manifest rm", &self.lists, |name| {
            let list = reference(name)?;
            forget(&context, &list)?;
            Ok(format!("Untagged: {}", list.familiar()))
        })
    }
}
