//! `image append`, `mutate`, `flatten`, `rebase`, `export`: crane's jobs, on the store's images and on layouts (`oci:DIR:TAG`).

use std::io::{BufWriter, IsTerminal};

use knarr_engine::bundle::Unpacking;
use knarr_engine::image::alter::{Target, TemporaryTree, append, export, flatten, rebase, unpack_beside};
use knarr_engine::image::edit::Edit;
use knarr_engine::image::shelf::{self, Layout, Shelf};
use knarr_engine::image::tree;
use knarr_engine::{Context, PackOptions};
use knarr_spec::Platform;

use super::layout::CompressFlags;
use super::save::written_whole;
use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// Where the new image goes: a name for the store, or a tag of the old one's layout.
fn placed<'c>(
    context: &'c Context,
    source: &str,
    target: Option<&str>,
) -> Result<(Box<dyn Shelf + 'c>, String, String), Failure> {
    let (shelf, name) = shelf::find(context, source)?;
    let Some(target) = target else { return Ok((shelf, name.clone(), name)) };
    let new = match (source.strip_prefix("oci:"), target.strip_prefix("oci:")) {
        (Some(old), Some(new)) if shelf::split(old).0 == shelf::split(new).0 => shelf::split(new).1,
        (Some(_), None) if !target.contains('/') && !target.contains(':') => target.to_owned(),
        (None, None) => target.to_owned(),
        _ => {
            let failure = Failure::usage(format!("{target}: the new image goes where the old one is"));
            return Err(failure.hint("copy it there first with `knarr image copy`"));
        }
    };
    Ok((shelf, name, new))
}

/// Add tars to an image as layers.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageAppend {
    /// The image to add to; without it the new one begins with nothing
    #[arg(long, short = 'b', value_name = "IMAGE")]
    base: Option<String>,
    /// A tar, plain or compressed
    #[arg(long, short = 'f', required = true, value_name = "FILE")]
    new_layer: Vec<String>,
    /// The new image
    #[arg(long, short = 't', value_name = "IMAGE")]
    new_tag: String,
}

impl Verb for ImageAppend {
    const NAMES: &'static [&'static str] = &["image append"];
    const ABOUT: &'static str = "Add tars to an image as layers";
    const EXAMPLE: &'static str = "knarr image append -b app:v1 -f layer.tar -t app:v2";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let source = self.base.as_deref().unwrap_or(&self.new_tag);
        let (shelf, name, new) = placed(&context, source, Some(&self.new_tag))?;
        let tars: Vec<_> = self.new_layer.iter().map(|path| current_dir().join(path)).collect();
        let target = Target { shelf: &*shelf, name: &name, new_name: &new };
        let digest = append(&target, self.base.is_none(), &tars, &Edit::default(), "knarr image append")?;
        print(&format!("{digest}\n"))?;
        Ok(0)
    }
}

/// Change an image's config, and add tars to it as layers.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageMutate {
    /// NAME=VALUE of the manifest
    #[arg(long, short = 'a', value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// NAME=VALUE
    #[arg(long, short = 'l', value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// NAME=VALUE
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The words of the entrypoint, separated by commas
    #[arg(long, value_name = "WORDS", value_delimiter = ',', allow_hyphen_values = true)]
    entrypoint: Option<Vec<String>>,
    /// The words of the command, separated by commas
    #[arg(long, value_name = "WORDS", value_delimiter = ',', allow_hyphen_values = true)]
    cmd: Option<Vec<String>>,
    /// A tar to add
    #[arg(long, value_name = "FILE")]
    append: Vec<String>,
    /// user[:group]
    #[arg(long, short = 'u', value_name = "USER")]
    user: Option<String>,
    /// Current directory of the process
    #[arg(long, short = 'w', value_name = "PATH")]
    workdir: Option<String>,
    /// A port, as 80/tcp
    #[arg(long, value_name = "PORT")]
    exposed_ports: Vec<String>,
    /// os/arch[/variant]
    #[arg(long, value_name = "PLATFORM")]
    set_platform: Option<String>,
    /// The new image; without it the old name moves
    #[arg(long, short = 't', value_name = "IMAGE")]
    tag: Option<String>,
    /// Name or id, or oci:DIR[:TAG]
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for ImageMutate {
    const NAMES: &'static [&'static str] = &["image mutate"];
    const ABOUT: &'static str = "Change an image's config, and add tars to it as layers";
    const EXAMPLE: &'static str = "knarr image mutate --label stage=test -t app:test app";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let platform = self.set_platform.as_deref().map(str::parse::<Platform>).transpose();
        let platform = platform.map_err(|error| Failure::usage(error.to_string()))?;
        let edit = Edit {
            annotations: self.annotation,
            labels: self.label,
            env: self.env,
            entrypoint: self.entrypoint,
            cmd: self.cmd,
            user: self.user,
            workdir: self.workdir,
            exposed_ports: self.exposed_ports,
            os: platform.as_ref().map(|platform| platform.os.clone()),
            architecture: platform.as_ref().map(|platform| platform.architecture.clone()),
            variant: platform.and_then(|platform| platform.variant),
            ..Edit::default()
        };
        let context = world.rooted()?;
        let (shelf, name, new) = placed(&context, &self.image, self.tag.as_deref())?;
        let tars: Vec<_> = self.append.iter().map(|path| current_dir().join(path)).collect();
        let target = Target { shelf: &*shelf, name: &name, new_name: &new };
        let digest = append(&target, false, &tars, &edit, "knarr image mutate")?;
        print(&format!("{digest}\n"))?;
        Ok(0)
    }
}

/// The tree of an image: of the store's as its layers show it, of a layout's unpacked beside it.
enum Tree {
    View(knarr_engine::Root),
    Unpacked(TemporaryTree),
}

impl Tree {
    fn of(context: &Context, world: &World, image: &str) -> Result<Tree, Failure> {
        let Some(layout) = image.strip_prefix("oci:") else { return Ok(Tree::View(tree::view(context, image)?)) };
        let (dir, tag) = shelf::split(layout);
        let layout = Layout::open(&current_dir().join(dir))?;
        let how = Unpacking { ids: world.id_map(), nested: context.rootless(), rootless: false, outside: (0, 0) };
        let picked = layout.pick(&tag, &Platform::host())?;
        Ok(Tree::Unpacked(unpack_beside(&layout, &picked, layout.dir(), &how)?))
    }

    fn root(&self) -> &knarr_engine::Root {
        match self {
            Tree::View(root) => root,
            Tree::Unpacked(tree) => &tree.root,
        }
    }
}

/// Make one layer of all layers of an image.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageFlatten {
    /// The new image; without it the old name moves
    #[arg(long, short = 't', value_name = "IMAGE")]
    tag: Option<String>,
    #[command(flatten)]
    compress: CompressFlags,
    /// Name or id, or oci:DIR[:TAG]
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for ImageFlatten {
    const NAMES: &'static [&'static str] = &["image flatten"];
    const ABOUT: &'static str = "Make one layer of all layers of an image";
    const EXAMPLE: &'static str = "knarr image flatten -t app:flat app";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let (shelf, name, new) = placed(&context, &self.image, self.tag.as_deref())?;
        let pack = self.compress.options(&*shelf, &name)?;
        let tree = Tree::of(&context, world, &self.image)?;
        let pack = PackOptions { ids: world.id_map(), ..pack };
        let digest = flatten(&Target { shelf: &*shelf, name: &name, new_name: &new }, tree.root(), &pack)?;
        print(&format!("{digest}\n"))?;
        Ok(0)
    }
}

/// Put an image on another base.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageRebase {
    /// The base it stands on now
    #[arg(long, alias = "old_base", value_name = "IMAGE")]
    old_base: String,
    /// The base it is to stand on
    #[arg(long, alias = "new_base", value_name = "IMAGE")]
    new_base: String,
    /// The new image; without it the old name moves
    #[arg(long, short = 't', value_name = "IMAGE")]
    tag: Option<String>,
    /// Name or id, or oci:DIR[:TAG]
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for ImageRebase {
    const NAMES: &'static [&'static str] = &["image rebase"];
    const ABOUT: &'static str = "Put an image on another base";
    const EXAMPLE: &'static str = "knarr image rebase --old-base base:v1 --new-base base:v2 -t app:v2 app";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let (shelf, name, new) = placed(&context, &self.image, self.tag.as_deref())?;
        let (old_shelf, old) = shelf::find(&context, &self.old_base)?;
        let (new_shelf, base) = shelf::find(&context, &self.new_base)?;
        let platform = Platform::host();
        let (old, base) = (old_shelf.pick(&old, &platform)?, new_shelf.pick(&base, &platform)?);
        let target = Target { shelf: &*shelf, name: &name, new_name: &new };
        let digest = rebase(&target, &old, (&*new_shelf, &base))?;
        print(&format!("{digest}\n"))?;
        Ok(0)
    }
}

/// Write an image's files as a tar.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageExport {
    /// Name or id, or oci:DIR[:TAG]
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The tar; `-` or nothing is standard output
    #[arg(value_name = "FILE")]
    file: Option<String>,
}

impl Verb for ImageExport {
    const NAMES: &'static [&'static str] = &["image export"];
    const ABOUT: &'static str = "Write an image's files as a tar";
    const EXAMPLE: &'static str = "knarr image export app app.tar";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let file = self.file.as_deref().filter(|file| *file != "-");
        if file.is_none() && std::io::stdout().is_terminal() {
            let failure = Failure::new("cowardly refusing to save to a terminal");
            return Err(failure.hint("name a file, or redirect"));
        }
        let context = world.rooted()?;
        let tree = Tree::of(&context, world, &self.image)?;
        match file {
            None => export(tree.root(), world.id_map(), BufWriter::new(std::io::stdout()))?,
            Some(path) => written_whole(path, |out| Ok(export(tree.root(), world.id_map(), out)?))?,
        }
        Ok(0)
    }
}
