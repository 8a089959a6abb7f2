//! `image unpack`, `repack`, `config`, `insert`, `new`, `init`: umoci's jobs on OCI layouts.

use std::path::{Path, PathBuf};

use knarr_engine::bundle::{self, RepackWanted, Unpacking};
use knarr_engine::image::alter::{self, Insertion, Target};
use knarr_engine::image::compose::Draft;
use knarr_engine::image::edit::Edit;
use knarr_engine::image::shelf::{self, Layout, Shelf};
use knarr_engine::{Compression, PackOptions, time};
use knarr_spec::image::History;
use knarr_spec::{Platform, is_ref_name};

use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// `DIR[:TAG]`, with or without `oci:` before it.
fn open(image: &str) -> Result<(Layout, String), Failure> {
    let image = image.strip_prefix("oci:").unwrap_or(image);
    let (dir, tag) = split(image, |dir| dir.join("oci-layout").exists());
    if dir.as_os_str().is_empty() {
        return Err(Failure::usage("invalid --image: path is empty"));
    }
    check_tag("--image", &tag)?;
    Ok((Layout::open(&current_dir().join(dir))?, tag))
}

/// A tag may hold colons and slashes, and so may a directory: the first that is a layout is meant, else the last colon.
fn split(image: &str, is_layout: impl Fn(&Path) -> bool) -> (PathBuf, String) {
    let here = |dir: &str| !dir.is_empty() && is_layout(&current_dir().join(dir));
    let parts = image.match_indices(':').map(|(at, _)| (&image[..at], &image[at + 1..]));
    match parts.into_iter().find(|(dir, _)| here(dir)).or_else(|| image.strip_suffix(':').map(|dir| (dir, ""))) {
        Some((dir, tag)) => (dir.into(), tag.to_owned()),
        None => shelf::split(image),
    }
}

/// umoci's words for what is no `ref.name`.
fn check_tag(flag: &str, tag: &str) -> Result<(), Failure> {
    match tag {
        "" => Err(Failure::usage(format!("invalid {flag}: tag is empty"))),
        tag if !is_ref_name(tag) => {
            Err(Failure::usage(format!("invalid {flag}: tag contains invalid characters: {tag:?}")))
        }
        _ => Ok(()),
    }
}

/// What the new image is called: `new` where it was said, else as the old one.
fn new_tag(new: Option<String>, old: &str) -> Result<String, Failure> {
    new.as_deref().map_or(Ok(()), |new| check_tag("--tag", new))?;
    Ok(new.unwrap_or_else(|| old.to_owned()))
}

/// What the history says of the step.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HistoryFlags {
    /// Who did it
    #[arg(long = "history.author", value_name = "NAME")]
    step_author: Option<String>,
    /// A remark
    #[arg(long = "history.comment", value_name = "TEXT")]
    step_comment: Option<String>,
    /// When, RFC 3339; now without it
    #[arg(long = "history.created", value_name = "TIME")]
    step_created: Option<String>,
    /// How
    #[arg(long = "history.created_by", value_name = "TEXT")]
    step_created_by: Option<String>,
    /// Note nothing
    #[arg(long, conflicts_with_all = ["step_author", "step_comment", "step_created", "step_created_by"])]
    no_history: bool,
}

impl HistoryFlags {
    /// `author` is who made the image, where nobody is named for the step.
    fn step(self, verb: &str, author: Option<&String>) -> Result<Option<History>, Failure> {
        let created = moment(self.step_created)?;
        let step = History {
            created: Some(created),
            created_by: Some(self.step_created_by.unwrap_or_else(|| format!("knarr image {verb}"))),
            author: self.step_author.or_else(|| author.cloned()),
            comment: self.step_comment,
            empty_layer: false,
        };
        Ok(Some(step).filter(|_| !self.no_history))
    }
}

fn moment(given: Option<String>) -> Result<String, Failure> {
    match given {
        Some(text) if time::parse_rfc3339(&text).is_none() => {
            Err(Failure::usage(format!("{text:?} is no RFC 3339 time")).hint("as 2026-01-02T15:04:05Z"))
        }
        Some(text) => Ok(text),
        None => Ok(time::rfc3339(time::now_ns())),
    }
}

/// How layers are compressed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CompressFlags {
    /// gzip, zstd or none; auto is as the image's last compressed layer
    #[arg(long, value_name = "FORM", default_value = "auto")]
    compress: String,
}

impl CompressFlags {
    /// The form; `None` is `auto`.
    fn form(&self) -> Result<Option<Compression>, Failure> {
        match (self.compress.as_str(), shelf::compression(&self.compress)) {
            ("auto", _) => Ok(None),
            (_, Some(form)) => Ok(Some(form)),
            (word, None) => {
                let words = format!("invalid --compress: unknown layer compression type {word:?}");
                Err(Failure::usage(words).hint("expected gzip, zstd, none or auto"))
            }
        }
    }

    /// How a layer of the image `name` is packed.
    pub(crate) fn options(&self, shelf: &dyn Shelf, name: &str) -> Result<PackOptions, Failure> {
        let compression = match self.form()? {
            Some(form) => form,
            None => shelf::compression_like(&shelf.pick(name, &Platform::host())?.manifest),
        };
        Ok(PackOptions { compression, ..PackOptions::default() })
    }
}

/// Make a bundle of an image: its files and a runtime document.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageUnpack {
    /// The layout and a tag of it
    #[arg(long, value_name = "DIR[:TAG]")]
    image: String,
    /// Own everything, and note in attributes who should
    #[arg(long)]
    rootless: bool,
    /// The bundle's directory
    #[arg(value_name = "BUNDLE")]
    bundle: String,
}

impl Verb for ImageUnpack {
    const NAMES: &'static [&'static str] = &["image unpack"];
    const ABOUT: &'static str = "Make a bundle of an image: its files and a runtime document";
    const EXAMPLE: &'static str = "knarr image unpack --image layout:v1 bundle";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let bundle = current_dir().join(&self.bundle);
        let (layout, tag) = open(&self.image)?;
        let how = unpacking(world, self.rootless)?;
        let skipped = bundle::unpack(&layout, &tag, &bundle, &how)?;
        for skipped in &skipped {
            world.note(&format!("{}: {} cannot be made here", skipped.path.display(), skipped.what));
        }
        Ok(0)
    }
}

/// An ordinary user can own files only, and becomes root of a namespace in which nothing else exists.
fn unpacking(world: &World, rootless: bool) -> Result<Unpacking, Failure> {
    if !rootless && !world.is_root() {
        let failure = Failure::new("only root can give files to others");
        return Err(failure.hint("use --rootless: owners are then noted in attributes"));
    }
    let outside = world.ids();
    let nested = world.enter_alone()?;
    Ok(Unpacking { ids: world.id_map(), nested, rootless, outside })
}

/// Add what changed in a bundle to its image as a layer.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageRepack {
    /// The layout, and the tag of the new image
    #[arg(long, value_name = "DIR[:TAG]")]
    image: String,
    /// Leave changes of this path out
    #[arg(long, value_name = "PATH")]
    mask_path: Vec<String>,
    /// Changes in the image's volumes count too
    #[arg(long)]
    no_mask_volumes: bool,
    /// The bundle is afterwards one of the new image
    #[arg(long)]
    refresh_bundle: bool,
    #[command(flatten)]
    compress: CompressFlags,
    #[command(flatten)]
    history: HistoryFlags,
    /// The bundle's directory
    #[arg(value_name = "BUNDLE")]
    bundle: String,
}

impl Verb for ImageRepack {
    const NAMES: &'static [&'static str] = &["image repack"];
    const ABOUT: &'static str = "Add what changed in a bundle to its image as a layer";
    const EXAMPLE: &'static str = "knarr image repack --image layout:v2 bundle";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let bundle = current_dir().join(&self.bundle);
        let (layout, tag) = open(&self.image)?;
        let compression = self.compress.form()?;
        let history = self.history.step("repack", None)?;
        world.enter_alone()?;
        let wanted = RepackWanted {
            ids: world.id_map(),
            history,
            masked: self.mask_path,
            volumes: self.no_mask_volumes,
            refresh: self.refresh_bundle,
            compression,
        };
        bundle::repack(&layout, &tag, &bundle, &wanted)?;
        Ok(0)
    }
}

/// Change an image's config.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageConfig {
    /// The layout and a tag of it
    #[arg(long, value_name = "DIR[:TAG]")]
    image: String,
    /// The tag of the new image; without it the old one's moves
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// user[:group]
    #[arg(long = "config.user", value_name = "USER")]
    user: Option<String>,
    /// A port, as 80/tcp
    #[arg(long = "config.exposedports", value_name = "PORT")]
    exposed_ports: Vec<String>,
    /// NAME=VALUE
    #[arg(long = "config.env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The words of the entrypoint, one by one
    #[arg(long = "config.entrypoint", value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// The words of the command, one by one
    #[arg(long = "config.cmd", value_name = "WORD", allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// A directory that gets a volume
    #[arg(long = "config.volume", value_name = "PATH")]
    volume: Vec<String>,
    /// NAME=VALUE
    #[arg(long = "config.label", value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Current directory of the process
    #[arg(long = "config.workingdir", value_name = "PATH")]
    workdir: Option<String>,
    /// The signal that asks it to end
    #[arg(long = "config.stopsignal", value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// When the image was made, RFC 3339
    #[arg(long, value_name = "TIME")]
    created: Option<String>,
    /// Who made the image
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// amd64, arm64, …
    #[arg(long, visible_alias = "platform.arch", value_name = "NAME")]
    architecture: Option<String>,
    /// v7, v8, …
    #[arg(long = "platform.variant", value_name = "NAME")]
    variant: Option<String>,
    /// linux
    #[arg(long, visible_alias = "platform.os", value_name = "NAME")]
    os: Option<String>,
    /// NAME=VALUE of the manifest
    #[arg(long = "manifest.annotation", value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Empty a field first: config.labels, config.env, config.cmd, config.entrypoint, config.exposedports, config.volume, manifest.annotations
    #[arg(long, value_name = "FIELD")]
    clear: Vec<String>,
    #[command(flatten)]
    history: HistoryFlags,
}

impl Verb for ImageConfig {
    const NAMES: &'static [&'static str] = &["image config"];
    const ABOUT: &'static str = "Change an image's config";
    const EXAMPLE: &'static str = "knarr image config --image layout:v1 --config.cmd sh --tag v2";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let (layout, tag) = open(&self.image)?;
        let some = |words: Vec<String>| (!words.is_empty()).then_some(words);
        let edit = Edit {
            user: self.user,
            workdir: self.workdir,
            stop_signal: self.stop_signal,
            env: self.env,
            labels: self.label,
            exposed_ports: self.exposed_ports,
            volumes: self.volume,
            entrypoint: some(self.entrypoint),
            cmd: some(self.cmd),
            author: self.author,
            created: self.created.map(|text| moment(Some(text))).transpose()?,
            architecture: self.architecture,
            os: self.os,
            variant: self.variant,
            annotations: self.annotation,
            clear: self.clear,
        };
        let history = self.history.step("config", edit.author.as_ref())?;
        let new = new_tag(self.tag, &tag)?;
        alter::configure(&Target { shelf: &layout, name: &tag, new_name: &new }, &edit, history)?;
        Ok(0)
    }
}

/// Put a file or directory into an image, as a layer.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageInsert {
    /// The layout and a tag of it
    #[arg(long, value_name = "DIR[:TAG]")]
    image: String,
    /// The tag of the new image; without it the old one's moves
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Nothing else of the image shows in the directory
    #[arg(long)]
    opaque: bool,
    /// Take the path away; there is no source then
    #[arg(long)]
    whiteout: bool,
    /// Owners of the source are root's in the image, unless attributes say otherwise
    #[arg(long)]
    rootless: bool,
    #[command(flatten)]
    compress: CompressFlags,
    #[command(flatten)]
    history: HistoryFlags,
    /// SOURCE TARGET, or TARGET alone with --whiteout
    #[arg(required = true, num_args = 1..=2, value_name = "PATH")]
    paths: Vec<String>,
}

impl Verb for ImageInsert {
    const NAMES: &'static [&'static str] = &["image insert"];
    const ABOUT: &'static str = "Put a file or directory into an image, as a layer";
    const EXAMPLE: &'static str = "knarr image insert --image layout:v1 ./site /srv/www";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let (layout, tag) = open(&self.image)?;
        let (insertion, path) = match (&self.paths[..], self.whiteout) {
            ([path], true) => (Insertion::Whiteout, path),
            ([source, _], false) if source.is_empty() => return Err(Failure::usage("SOURCE is empty")),
            ([source, path], false) => {
                (Insertion::Put { source: current_dir().join(source), opaque: self.opaque }, path)
            }
            _ => return Err(Failure::usage("requires SOURCE and TARGET, or TARGET with --whiteout")),
        };
        let new = new_tag(self.tag.clone(), &tag)?;
        let pack = self.compress.options(&layout, &tag)?;
        if self.rootless {
            world.enter_alone()?;
        }
        let pack = PackOptions { ids: world.id_map(), recorded_owners: self.rootless, ..pack };
        let history = self.history.step("insert", None)?;
        alter::insert(&Target { shelf: &layout, name: &tag, new_name: &new }, path, &insertion, &pack, history)?;
        Ok(0)
    }
}

/// Make an image of nothing in a layout.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageNew {
    /// The layout and the new tag
    #[arg(long, value_name = "DIR[:TAG]")]
    image: String,
}

impl Verb for ImageNew {
    const NAMES: &'static [&'static str] = &["image new"];
    const ABOUT: &'static str = "Make an image of nothing in a layout";
    const EXAMPLE: &'static str = "knarr image new --image layout:v1";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let (layout, tag) = open(&self.image)?;
        if layout.has(&tag)? {
            return Err(Failure::new(format!("{}: there is an image called {tag:?} already", layout.dir().display())));
        }
        let mut draft = Draft::scratch(Platform::host());
        draft.config.created = Some(time::rfc3339(time::now_ns()));
        let (manifest, config) = draft.seal();
        layout.put(manifest, config, Some(&tag))?;
        Ok(0)
    }
}

/// Make an empty layout.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageInit {
    /// The directory, which must be new or empty
    #[arg(long, value_name = "DIR")]
    layout: String,
}

impl Verb for ImageInit {
    const NAMES: &'static [&'static str] = &["image init"];
    const ABOUT: &'static str = "Make an empty layout";
    const EXAMPLE: &'static str = "knarr image init --layout layout";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let dir = self.layout.strip_prefix("oci:").unwrap_or(&self.layout);
        if dir.is_empty() || dir.contains(':') {
            let words = format!("invalid --layout: path contains ':' character: {dir:?}");
            return Err(Failure::usage(if dir.is_empty() {
                "invalid --layout: path is empty".to_owned()
            } else {
                words
            }));
        }
        Layout::create(&current_dir().join(Path::new(dir)))?;
        print("")?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_split(image: &str, expect: (&str, &str)) {
        let (dir, tag) = split(image, |dir| dir.ends_with("layout") || dir.ends_with("a:layout"));
        assert_eq!((dir.to_str(), tag.as_str()), (Some(expect.0), expect.1), "{image}");
    }

    #[test]
    fn a_tag_may_hold_colons_and_slashes_and_so_may_a_directory() {
        check_split("layout:v1", ("layout", "v1"));
        check_split("layout:team/app:v1", ("layout", "team/app:v1"));
        check_split("./a:layout:v1", ("./a:layout", "v1"));
        check_split("layout:", ("layout", ""));
        check_split("elsewhere:v1", ("elsewhere", "v1"));
        check_split("elsewhere", ("elsewhere", "latest"));
        check_split(":v1", ("", "v1"));
    }

    fn check_new(new: Option<&str>, expect: Result<&str, &str>) {
        let found = new_tag(new.map(str::to_owned), "old").map_err(|failure| failure.message().to_owned());
        assert_eq!(found.as_deref().map_err(String::as_str), expect);
    }

    #[test]
    fn a_tag_that_is_no_name_is_refused_in_umocis_words() {
        check_new(None, Ok("old"));
        check_new(Some("v2"), Ok("v2"));
        check_new(Some(""), Err("invalid --tag: tag is empty"));
        check_new(Some("a b"), Err("invalid --tag: tag contains invalid characters: \"a b\""));
    }
}
