//! `artifact add`, `pull`, `push`, `ls`, `inspect`, `extract`, `rm`: podman's artifacts.

use knarr_distribution::CopyOptions;
use knarr_engine::image::artifact::{Artifact, ArtifactWanted, add, existing, extract, list, pull, push, remove};
use knarr_engine::time;
use knarr_spec::Reference;
use serde_json::json;

use super::image_copy::write_digest;
use crate::access::{self, OneSide};
use crate::failure::Failure;
use crate::listing::{Columns, render};
use crate::output::{each, inspected, print};
use crate::progress::{CopyLines, PushLines};
use crate::rows::ago;
use crate::units::size;
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// podman's columns.
const COLUMNS: Columns = Columns {
    titles: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("Created", "CREATED"),
        ("Size", "SIZE"),
    ],
    default: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.Created}}\t{{.Size}}",
    quiet: "Digest",
    raw: "",
    texts: &[],
};

/// Keep files as an artifact.
#[derive(Debug, clap::Args)]
pub(crate) struct ArtifactAdd {
    /// Add to an artifact that is there
    #[arg(long, short = 'a')]
    append: bool,
    /// NAME=VALUE of each file
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// The artifact's type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// The media type of the files
    #[arg(long, value_name = "TYPE")]
    file_type: Option<String>,
    /// The artifact's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
}

impl Verb for ArtifactAdd {
    const NAMES: &'static [&'static str] = &["artifact add"];
    const ABOUT: &'static str = "Keep files as an artifact";
    const EXAMPLE: &'static str = "knarr artifact add --type application/vnd.me.model team/model:v1 weights.bin";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let name = reference(&self.name)?;
        let files: Vec<_> = self.files.iter().map(|path| current_dir().join(path)).collect();
        if self.append && self.kind.is_some() {
            return Err(Failure::usage("--append and --type exclude each other: an artifact keeps its type"));
        }
        let wanted = ArtifactWanted {
            kind: self.kind,
            file_type: self.file_type,
            annotations: self.annotation,
            append: self.append,
        };
        print(&format!("{}\n", add(&world.rooted()?, &name, &files, &wanted)?))?;
        Ok(0)
    }
}

/// Fetch an artifact from a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct ArtifactPull {
    /// Print only the digest
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    side: OneSide,
    /// The artifact's name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Verb for ArtifactPull {
    const NAMES: &'static [&'static str] = &["artifact pull"];
    const ABOUT: &'static str = "Fetch an artifact from a registry";
    const EXAMPLE: &'static str = "knarr artifact pull registry.example/team/model:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let name = reference(&self.name)?;
        let context = world.rooted()?;
        let lines = CopyLines::new(self.quiet);
        let options = CopyOptions {
            source: access::network(&self.side.access()).map_err(access::failure)?,
            policy: access::default_policy().map_err(access::failure)?,
            progress: &lines,
            ..CopyOptions::new(context.store.state())
        };
        print(&format!("{}\n", pull(&context, &name, &options)?))?;
        Ok(0)
    }
}

/// Upload an artifact to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct ArtifactPush {
    /// Print only the digest
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Write the digest of what was pushed to this file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<std::path::PathBuf>,
    #[command(flatten)]
    side: OneSide,
    /// The artifact's name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Verb for ArtifactPush {
    const NAMES: &'static [&'static str] = &["artifact push"];
    const ABOUT: &'static str = "Upload an artifact to a registry";
    const EXAMPLE: &'static str = "knarr artifact push registry.example/team/model:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let name = reference(&self.name)?;
        let context = world.reading()?;
        let lines = PushLines::new(self.quiet);
        let options = CopyOptions {
            destination: access::network(&self.side.access()).map_err(access::failure)?,
            progress: &lines,
            ..CopyOptions::new(context.store.state())
        };
        let pushed = push(&context, &self.name, &name, &options)?;
        write_digest(self.digestfile.as_deref(), &pushed.digest)?;
        print(&format!("{}\n", pushed.digest))?;
        Ok(0)
    }
}

fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse().map_err(|error: knarr_spec::ReferenceError| Failure::usage(error.to_string()))
}

/// List artifacts.
#[derive(Debug, clap::Args)]
pub(crate) struct ArtifactLs {
    /// A Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Digests only
    #[arg(long, short = 'q')]
    quiet: bool,
}

impl Verb for ArtifactLs {
    const NAMES: &'static [&'static str] = &["artifact ls", "artifact list"];
    const ABOUT: &'static str = "List artifacts";
    const EXAMPLE: &'static str = "knarr artifact ls";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let now = time::now_ns();
        let row = |artifact: &Artifact| {
            let digest = &artifact.record.digest;
            json!({
                "Repository": artifact.record.name.name(),
                "Tag": artifact.record.name.tag().unwrap_or_default(),
                "Digest": if self.no_trunc { digest.as_str() } else { digest.short() },
                "Created": ago(now, u64::try_from(artifact.record.stored_ns).unwrap_or(0)),
                "Size": size(artifact.bytes(), 3),
            })
        };
        let rows: Vec<_> = list(&world.reading()?)?.iter().map(row).collect();
        print(&render(&COLUMNS, self.format.as_deref(), self.quiet, &rows, None)?)?;
        Ok(0)
    }
}

/// Show an artifact's manifest.
#[derive(Debug, clap::Args)]
pub(crate) struct ArtifactInspect {
    /// A Go template or `json`
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    /// Name or digest
    #[arg(value_name = "NAME")]
    name: String,
}

impl Verb for ArtifactInspect {
    const NAMES: &'static [&'static str] = &["artifact inspect"];
    const ABOUT: &'static str = "Show an artifact's manifest";
    const EXAMPLE: &'static str = "knarr artifact inspect team/model:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let artifact = existing(&world.reading()?, &self.name)?;
        let value = json!({
            "Manifest": artifact.manifest.document(),
            "Name": artifact.record.name.to_string(),
            "Digest": artifact.record.digest.to_string(),
        });
        match self.format.as_deref() {
            None | Some("") => print(&format!("{value:#}\n"))?,
            format => print(&inspected(&[value], format)?)?,
        }
        Ok(0)
    }
}

/// Copy an artifact's files out.
#[derive(Debug, clap::Args)]
pub(crate) struct ArtifactExtract {
    /// Only the file with this digest
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// Only the file with this title
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    /// Name or digest
    #[arg(value_name = "NAME")]
    name: String,
    /// A directory, or the file to write
    #[arg(value_name = "PATH")]
    path: String,
}

impl Verb for ArtifactExtract {
    const NAMES: &'static [&'static str] = &["artifact extract"];
    const ABOUT: &'static str = "Copy an artifact's files out";
    const EXAMPLE: &'static str = "knarr artifact extract team/model:v1 models/";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let path = current_dir().join(&self.path);
        extract(&world.rooted()?, &self.name, &path, self.title.as_deref(), self.digest.as_deref())?;
        Ok(0)
    }
}

/// Forget artifacts.
#[derive(Debug, clap::Args)]
pub(crate) struct ArtifactRm {
    /// All of them
    #[arg(long, short = 'a')]
    all: bool,
    /// Name or digest
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NAME")]
    names: Vec<String>,
}

impl Verb for ArtifactRm {
    const NAMES: &'static [&'static str] = &["artifact rm"];
    const ABOUT: &'static str = "Forget artifacts";
    const EXAMPLE: &'static str = "knarr artifact rm team/model:v1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let names = match self.all {
            true => list(&context)?.iter().map(|artifact| artifact.record.name.to_string()).collect(),
            false => self.names,
        };
        let code = each("artifact rm", &names, |name| Ok(remove(&context, name)?.to_string()))?;
        knarr_engine::image::prune::collect(&context);
        Ok(code)
    }
}
