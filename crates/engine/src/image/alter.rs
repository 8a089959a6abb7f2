//! One image of another, on the store or on a layout: `config`, `insert`, `append`, `mutate`, `flatten`, `rebase`, `export`.
//!
//! Law: the image that is changed stays; the new one gets the name that is asked for. Layers that did not change keep their
//! bytes.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use knarr_layer::{Compression, PackOptions, archive, pack, pack_into, pack_one, recompress, whiteout};
use knarr_spec::image::History;
use knarr_spec::{Digest, Platform};
use knarr_sys::Root;

use super::compose::Draft;
use super::edit::Edit;
use super::problem::ImageProblem;
use super::shelf::{Picked, Shelf, add_layer, carry};
use crate::bundle::Unpacking;
use crate::{Error, Result};

/// An image in its place.
pub struct Target<'s> {
    /// The place.
    pub shelf: &'s dyn Shelf,
    /// The image that is changed.
    pub name: &'s str,
    /// What the new one is called.
    pub new_name: &'s str,
}

impl Target<'_> {
    fn draft(&self) -> Result<(Picked, Draft)> {
        let picked = self.shelf.pick(self.name, &Platform::host())?;
        let draft = Draft::of(&picked.manifest, &picked.config);
        Ok((picked, draft))
    }

    /// The new manifest's digest.
    fn put(&self, draft: Draft) -> Result<Digest> {
        let (manifest, config) = draft.seal();
        let digest = manifest.digest();
        self.shelf.put(manifest, config, Some(self.new_name))?;
        Ok(digest)
    }
}

/// Changes the config; `history` notes it.
pub fn configure(target: &Target<'_>, edit: &Edit, history: Option<History>) -> Result<Digest> {
    let (_, mut draft) = target.draft()?;
    edit.apply(&mut draft)?;
    if let Some(history) = history {
        draft.push(None, history);
    }
    target.put(draft)
}

/// What `insert` puts where.
#[derive(Debug, Clone)]
pub enum Insertion {
    /// A file or directory; with `opaque` nothing else of the image shows in the directory.
    Put {
        /// On this machine.
        source: PathBuf,
        /// Hide what the image has there.
        opaque: bool,
    },
    /// Nothing: the path is taken away.
    Whiteout,
}

/// Adds a layer that puts something at `path`.
pub fn insert(
    target: &Target<'_>,
    path: &str,
    insertion: &Insertion,
    options: &PackOptions,
    history: Option<History>,
) -> Result<Digest> {
    let (_, mut draft) = target.draft()?;
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.is_empty() || names.iter().any(|name| *name == ".." || name.starts_with(".wh.")) {
        let why = "must name something in the image".to_owned();
        return Err(ImageProblem::Path { what: path.to_owned(), why }.into());
    }
    let into = names.join("/").into_bytes();
    let (layer, _) = match insertion {
        Insertion::Whiteout => add_layer(target.shelf, options, |out, options| whiteout(&into, out, options))?,
        Insertion::Put { source, opaque } => put(target.shelf, source, *opaque, &into, options)?,
    };
    let kept = draft.config.history.clone();
    draft.push(Some(layer), history.clone().unwrap_or_default());
    if history.is_none() {
        draft.config.history = kept;
    }
    target.put(draft)
}

fn put(
    shelf: &dyn Shelf,
    source: &Path,
    opaque: bool,
    into: &[u8],
    options: &PackOptions,
) -> Result<(super::compose::Layer, knarr_layer::Packed)> {
    let metadata = std::fs::symlink_metadata(source).map_err(Error::io("stat", source))?;
    if metadata.is_dir() {
        let root = Root::open(source).map_err(Error::sys("open the source"))?;
        return add_layer(shelf, options, |out, options| pack_into(&root, into, opaque, out, options));
    }
    // A file hides what stood there by itself, opaque or not.
    let name = source.file_name().unwrap_or_default();
    let name = CString::new(name.as_bytes()).expect("a path of the machine has no NUL");
    let parent = source.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = Root::open(parent).map_err(Error::sys("open the source"))?;
    add_layer(shelf, options, |out, options| pack_one(&root, &name, into, out, options))
}

/// Adds tars as layers, and changes the config. `base` may be absent: then the image begins with nothing.
pub fn append(target: &Target<'_>, from_scratch: bool, tars: &[PathBuf], edit: &Edit, step: &str) -> Result<Digest> {
    let mut draft = if from_scratch { Draft::scratch(Platform::host()) } else { target.draft()?.1 };
    for path in tars {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let (layer, _) =
            add_layer(target.shelf, &PackOptions::default(), |out, options| recompress(file, out, options))?;
        let comment = path.file_name().map(|name| name.to_string_lossy().into_owned());
        draft.push(Some(layer), History { created_by: Some(step.to_owned()), comment, ..History::default() });
    }
    edit.apply(&mut draft)?;
    target.put(draft)
}

/// Makes one layer of all.
pub fn flatten(target: &Target<'_>, tree: &Root, options: &PackOptions) -> Result<Digest> {
    let (picked, mut draft) = target.draft()?;
    draft.manifest.layers.clear();
    draft.config.rootfs.diff_ids.clear();
    draft.config.history.clear();
    let (layer, _) = add_layer(target.shelf, options, |out, options| pack(tree, out, options))?;
    let comment = Some(format!("flattened from {} layers", picked.manifest.layers.len()));
    let created = Some(crate::clock::now_text());
    draft.push(
        Some(layer),
        History { created, created_by: Some("knarr image flatten".to_owned()), comment, ..History::default() },
    );
    target.put(draft)
}

/// Puts the image on another base: its own layers, those above `old`, come on top of `new`'s.
pub fn rebase(target: &Target<'_>, old: &Picked, new: (&dyn Shelf, &Picked)) -> Result<Digest> {
    let (picked, draft) = target.draft()?;
    let (new_shelf, new) = new;
    let (below, ours) = (&old.config.rootfs.diff_ids, &picked.config.rootfs.diff_ids);
    if !ours.starts_with(below) {
        return Err(ImageProblem::Mismatch(format!("{} does not stand on the old base", target.name)).into());
    }
    if picked.manifest.config.media_type != new.manifest.config.media_type {
        return Err(ImageProblem::Mismatch("the new base is of another family of media types".to_owned()).into());
    }
    for layer in &new.manifest.layers {
        carry(new_shelf, target.shelf, &layer.digest, layer.size)?;
    }
    let mut moved = Draft::of(&new.manifest, &new.config);
    moved.config.config = draft.config.config;
    (moved.config.created, moved.config.author) = (draft.config.created, draft.config.author);
    moved.manifest.annotations = draft.manifest.annotations;
    moved.manifest.subject = None;
    moved.manifest.layers.extend_from_slice(&picked.manifest.layers[below.len()..]);
    moved.config.rootfs.diff_ids.extend_from_slice(&ours[below.len()..]);
    let steps = picked.config.history.get(old.config.history.len()..).unwrap_or_default();
    moved.config.history.extend_from_slice(steps);
    target.put(moved)
}

/// Writes an image's tree as a tar.
pub fn export(tree: &Root, ids: knarr_layer::IdMap, out: impl Write) -> Result<()> {
    let options = PackOptions { compression: Compression::None, ids, ..PackOptions::default() };
    let packed = archive(tree, out, &options);
    packed.map(drop).map_err(|source| Error::Layer { what: "export the image".to_owned(), source })
}

/// The tree of an image on disk, removed with this value.
pub struct TemporaryTree {
    dir: PathBuf,
    /// The tree.
    pub root: Root,
}

impl Drop for TemporaryTree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Unpacks an image beside `beside`, which has the room.
pub fn unpack_beside(shelf: &dyn Shelf, picked: &Picked, beside: &Path, how: &Unpacking) -> Result<TemporaryTree> {
    let dir = beside.join(format!(".knarr-tree-{}", token()?));
    std::fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
    let root = Root::open(&dir).map_err(Error::sys("open a temporary tree"));
    let root = root.inspect_err(|_| drop(std::fs::remove_dir_all(&dir)))?;
    let tree = TemporaryTree { dir, root };
    crate::bundle::layers(shelf, picked, &tree.root, how)?;
    Ok(tree)
}

fn token() -> Result<String> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 8];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::io("read", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
