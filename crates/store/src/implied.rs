//! Directories that entries imply, as they look further down.
//!
//! A layer that has `usr/bin/tool` but no entry for `usr/bin` was unpacked alone, with a made-up `usr/bin`; overlayfs would
//! show the made-up owner, mode and time, because the topmost directory wins. So an image whose layers do that gets one
//! more layer on top, of directories only, that look like the topmost ones somebody wrote down. It is keyed by chain:
//! what lies further down is another image's matter in another stack.
//!
//! Spec: image-spec layer.md, "Applying Changesets": an existing directory keeps its attributes unless an entry changes
//! them. Law: [`plan`] reads, `build` writes; no link is followed, because each component is looked at before the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, FileTimes, Metadata};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use knarr_spec::{ChainId, DiffId};
use knarr_sys::xattr::Holder;
use rusqlite::{Connection, OptionalExtension};

use crate::database::{Durability, Fault};
use crate::error::{Error, IoContext, Result};
use crate::records::LayerRecord;
use crate::store::{Store, now_ns};
use crate::{layer, lease};

/// One layer of a stack as the planner looks at it.
struct Below<'a> {
    fs: PathBuf,
    implied: BTreeSet<&'a Path>,
}

/// What a layer has at a path.
enum Seen {
    /// Nothing; the layers below show through.
    Nothing,
    /// Nothing, and nothing below shows through.
    Hidden,
    /// A directory. `sealed` where the layers below do not show through at this path any more.
    Directory { sealed: bool },
}

impl Store {
    /// The layer of implied directories for this stack (base first), made where it is needed and missing.
    pub(crate) fn implied_layer(&self, layers: &[LayerRecord]) -> Result<Option<i64>> {
        let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let Some(chain) = ChainId::of(&diff_ids) else { return Ok(None) };
        if layers.iter().all(|layer| layer.implied_dirs.is_empty()) {
            return Ok(None);
        }
        if let Some(number) = self.database().read("find layer", |c| find(c, &chain))?
            && self.layer_fs(number).is_dir()
        {
            self.hold_layer(number)?;
            return Ok(Some(number));
        }
        let plan = plan(&self.stack(layers))?;
        if plan.is_empty() {
            return Ok(None);
        }
        let mut build = self.begin_layer()?;
        make(&build.path(), &plan)?;
        let number = build.number();
        // One that an image stands on will not be synced with an image again.
        let lost = self.database().read("find layer", |c| Ok(number_of(c, &chain)?))?;
        let boot = if lost.is_some() { None } else { layer::boot() };
        let record = |c: &Connection| match (find(c, &chain)?, number_of(c, &chain)?) {
            (Some(there), _) if self.layer_fs(there).is_dir() => Ok((there, there)),
            (_, Some(lost)) => Ok(layer::relocate(c, lost, number, boot.as_deref()).map(|()| (number, number))?),
            (_, None) => insert(c, &chain, number, boot.as_deref()).map(|()| (number, number)),
        };
        build.make_visible(boot.clone(), record).map(Some)
    }

    fn hold_layer(&self, number: i64) -> Result<()> {
        let token = self.lease()?;
        self.database().write("hold layer", Durability::Normal, |c| lease::hold_layer(c, &token, number))
    }

    /// The layers that show, top first.
    fn stack<'a>(&self, layers: &'a [LayerRecord]) -> Vec<Below<'a>> {
        let mut stack = Vec::new();
        for layer in layers.iter().rev() {
            let implied = layer.implied_dirs.iter().map(|path| clean(path)).collect();
            stack.push(Below { fs: self.layer_fs(layer.number), implied });
            if layer.opaque_root {
                break;
            }
        }
        stack
    }
}

/// `.` is the root, which is the empty path here.
fn clean(path: &Path) -> &Path {
    if path == Path::new(".") { Path::new("") } else { path }
}

/// Directories to make, parents first, each with the one it is to look like.
fn plan(stack: &[Below<'_>]) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut wanted = BTreeMap::new();
    let implied: BTreeSet<&Path> = stack.iter().flat_map(|layer| layer.implied.iter().copied()).collect();
    for path in implied {
        let Some((model, mended)) = model(stack, path)? else { continue };
        if mended {
            wanted.insert(path.to_owned(), model);
        }
    }
    let paths: Vec<PathBuf> = wanted.keys().cloned().collect();
    for parent in paths.iter().flat_map(|path| path.ancestors().skip(1)) {
        if !wanted.contains_key(parent)
            && let Some((model, _)) = model(stack, parent)?
        {
            wanted.insert(parent.to_owned(), model);
        }
    }
    Ok(wanted)
}

/// The directory that `path` is to look like, and whether it is another than the one that shows. `None` where no
/// directory shows.
fn model(stack: &[Below<'_>], path: &Path) -> Result<Option<(PathBuf, bool)>> {
    let mut shows = None;
    for layer in stack {
        match look(&layer.fs, path)? {
            Seen::Nothing => continue,
            Seen::Hidden => break,
            Seen::Directory { sealed } => {
                let here = layer.fs.join(path);
                if !layer.implied.contains(path) {
                    return Ok(Some((here, shows.is_some())));
                }
                shows.get_or_insert(here);
                if sealed {
                    break;
                }
            }
        }
    }
    Ok(shows.map(|here| (here, false)))
}

fn look(fs: &Path, path: &Path) -> Result<Seen> {
    let mut here = fs.to_owned();
    let mut sealed = false;
    for component in path.components() {
        sealed |= is_opaque(&here)?;
        here.push(component);
        match std::fs::symlink_metadata(&here) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Ok(Seen::Hidden),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(if sealed { Seen::Hidden } else { Seen::Nothing });
            }
            Err(error) => return Err(error).doing("stat", here),
        }
    }
    Ok(Seen::Directory { sealed })
}

/// Whether overlayfs shows nothing of the layers below inside this directory. The directory's own looks are kept then.
fn is_opaque(dir: &Path) -> Result<bool> {
    let file = Holder::File(File::open(dir).doing("open", dir)?);
    let mark = |name| file.get(name).map_err(|source| Error::Sys { action: "read overlay mark", source });
    let is_set = |value: Option<Vec<u8>>| value.as_deref() == Some(b"y");
    Ok(is_set(mark(c"trusted.overlay.opaque")?) || is_set(mark(c"user.overlay.opaque")?))
}

/// Makes the planned directories below `fs`, which is there.
fn make(fs: &Path, plan: &BTreeMap<PathBuf, PathBuf>) -> Result<()> {
    for path in plan.keys().filter(|path| !path.as_os_str().is_empty()) {
        std::fs::create_dir(fs.join(path)).doing("create", fs.join(path))?;
    }
    // Children first: making a child changes its parent's time.
    plan.iter().rev().try_for_each(|(path, model)| dress(&fs.join(path), model))
}

/// Gives `dir` owner, mode, attributes and times of `model`.
fn dress(dir: &Path, model: &Path) -> Result<()> {
    let from = File::open(model).doing("open", model)?;
    let to = File::open(dir).doing("open", dir)?;
    let metadata = from.metadata().doing("stat", model)?;
    fchown(&to, Some(metadata.uid()), Some(metadata.gid())).doing("chown", dir)?;
    to.set_permissions(metadata.permissions()).doing("chmod", dir)?;
    copy_attributes(&Holder::File(&from), &Holder::File(&to))
        .map_err(|source| Error::Sys { action: "copy attributes", source })?;
    to.set_times(times(&metadata).doing("stat", model)?).doing("set times of", dir)
}

fn copy_attributes(from: &Holder<&File>, to: &Holder<&File>) -> knarr_sys::Result<()> {
    for name in from.list()? {
        let bytes = name.to_bytes();
        let is_mark = bytes.starts_with(b"trusted.overlay.") || bytes.starts_with(b"user.overlay.");
        if !is_mark && let Some(value) = from.get(&name)? {
            to.set(&name, &value)?;
        }
    }
    Ok(())
}

fn times(metadata: &Metadata) -> std::io::Result<FileTimes> {
    Ok(FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?))
}

fn find(c: &Connection, chain: &ChainId) -> Result<Option<i64>, Fault> {
    let sql = "SELECT number FROM layers WHERE chain = ?1 AND (boot IS NULL OR boot = ?2)";
    Ok(c.prepare_cached(sql)?.query_row((chain.0.as_str(), layer::boot()), |row| row.get(0)).optional()?)
}

/// The number of the row, whether it counts or not.
fn number_of(c: &Connection, chain: &ChainId) -> rusqlite::Result<Option<i64>> {
    let mut query = c.prepare_cached("SELECT number FROM layers WHERE chain = ?1")?;
    query.query_row([chain.0.as_str()], |row| row.get(0)).optional()
}

fn insert(c: &Connection, chain: &ChainId, number: i64, boot: Option<&str>) -> Result<(), Fault> {
    let sql = "INSERT INTO layers (number, chain, tar_bytes, tree_bytes, entries, opaque, stored_ns, boot)
               VALUES (?1, ?2, 0, 0, 0, 0, ?3, ?4)";
    c.prepare_cached(sql)?.execute((number, chain.0.as_str(), now_ns(), boot))?;
    Ok(())
}
