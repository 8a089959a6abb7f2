//! Where the bytes on disk are, as `du` counts them.
//!
//! Law: blocks, not lengths; an inode with several names counts once. The parts add up to what `du` says of the state
//! directory, the engine's `containers/` left aside.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use knarr_spec::Digest;

use crate::error::{IoContext, Result};
use crate::gc::{self, Doomed, Facts, Policy, PruneImages};
use crate::gc_facts::entries;
use crate::store::Store;

/// The unit of `st_blocks`, whatever the file system's own.
const BLOCK_BYTES: u64 = 512;

/// Bytes of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// The image.
    pub id: Digest,
    /// Layers it has alone.
    pub unique_bytes: u64,
    /// Layers it shares with other images.
    pub shared_bytes: u64,
    /// Its documents and compressed layers, shared or not.
    pub blob_bytes: u64,
    /// Whether a container was made from it.
    pub used: bool,
}

/// Bytes of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Each image.
    pub images: Vec<ImageUsage>,
    /// All layers, each once.
    pub layer_bytes: u64,
    /// All finished blobs, and the recipes of those that were dropped.
    pub blob_bytes: u64,
    /// Partial blobs.
    pub partial_bytes: u64,
    /// What each container wrote, by id.
    pub snapshots: BTreeMap<String, u64>,
    /// Each volume, by name.
    pub volumes: BTreeMap<String, u64>,
    /// The database, its log, the reserve, and directories.
    pub other_bytes: u64,
    /// Layers and blobs that would go with the images that no container uses.
    pub reclaimable_bytes: u64,
}

impl DiskUsage {
    /// All parts together.
    pub fn total_bytes(&self) -> u64 {
        let parts = [self.layer_bytes, self.blob_bytes, self.partial_bytes, self.other_bytes];
        parts.into_iter().chain(self.snapshots.values().copied()).chain(self.volumes.values().copied()).sum()
    }
}

/// Counts trees, each inode once.
#[derive(Default)]
struct Meter {
    seen: BTreeSet<(u64, u64)>,
}

impl Meter {
    /// Bytes of `path` and everything below it on the same file system; 0 where it is gone.
    fn tree(&mut self, path: &Path) -> Result<u64> {
        let metadata = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error).doing("stat", path),
        };
        let shared = !metadata.is_dir() && metadata.nlink() > 1;
        if shared && !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(0);
        }
        let mut bytes = metadata.blocks() * BLOCK_BYTES;
        if metadata.is_dir() {
            for entry in entries(path)? {
                bytes += self.tree(&entry.path())?;
            }
        }
        Ok(bytes)
    }

    /// Bytes of each entry of a directory, by name, and of the directory alone.
    fn entries(&mut self, dir: &Path) -> Result<(BTreeMap<String, u64>, u64)> {
        let mut found = BTreeMap::new();
        for entry in entries(dir)? {
            found.insert(entry.file_name().to_string_lossy().into_owned(), self.tree(&entry.path())?);
        }
        let alone = std::fs::symlink_metadata(dir).map_or(0, |metadata| metadata.blocks() * BLOCK_BYTES);
        Ok((found, alone))
    }
}

/// Bytes of `path` and everything below it, as `du` counts: for what others keep beside the store.
pub fn tree_bytes(path: &Path) -> Result<u64> {
    Meter::default().tree(path)
}

impl Store {
    /// Measures everything. Walks every layer: as long as `du` takes.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let state = &self.inner.state;
        let mut meter = Meter::default();
        let (layers, layers_alone) = meter.entries(&state.join("layers"))?;
        let (snapshots, snapshots_alone) = meter.entries(&state.join("snapshots"))?;
        let (volumes, volumes_alone) = meter.entries(&state.join("volumes"))?;
        let mut usage = DiskUsage {
            layer_bytes: layers.values().sum(),
            blob_bytes: meter.tree(&state.join("blobs"))? + meter.tree(&state.join("recipes"))?,
            partial_bytes: meter.tree(&state.join("ingest"))?,
            snapshots,
            volumes,
            other_bytes: layers_alone + snapshots_alone + volumes_alone,
            ..DiskUsage::default()
        };
        let counted = ["layers", "snapshots", "volumes", "blobs", "recipes", "ingest", "containers"];
        for entry in entries(state)? {
            if !counted.iter().any(|name| entry.file_name() == *name) {
                usage.other_bytes += meter.tree(&entry.path())?;
            }
        }
        usage.other_bytes += std::fs::symlink_metadata(state).doing("stat", state)?.blocks() * BLOCK_BYTES;
        let on_disk = |number: i64| layers.get(&number.to_string()).copied().unwrap_or_default();
        attribute(&mut usage, &self.facts()?, on_disk);
        Ok(usage)
    }
}

/// Says which bytes are whose.
fn attribute(usage: &mut DiskUsage, facts: &Facts, on_disk: impl Fn(i64) -> u64) {
    let sizes: BTreeMap<&Digest, u64> = facts.blobs.iter().map(|blob| (&blob.digest, blob.bytes)).collect();
    for image in &facts.images {
        let others = || facts.images.iter().filter(|other| other.id != image.id);
        let (shared, own): (Vec<i64>, Vec<i64>) =
            image.layers.iter().partition(|number| others().any(|other| other.layers.contains(number)));
        usage.images.push(ImageUsage {
            id: image.id.clone(),
            unique_bytes: own.into_iter().map(&on_disk).sum(),
            shared_bytes: shared.into_iter().map(&on_disk).sum(),
            blob_bytes: image.blobs.iter().filter_map(|digest| sizes.get(digest)).sum(),
            used: image.used,
        });
    }
    let everything_unused = Policy { images: PruneImages::Unused, ..Policy::default() };
    for (doomed, _) in gc::plan(facts, &everything_unused).doomed {
        usage.reclaimable_bytes += match doomed {
            Doomed::Layer(layer) => on_disk(layer.number),
            Doomed::Blob(blob) => blob.bytes,
            _ => 0,
        };
    }
}
