//! What the store says and is told: plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use knarr_spec::{DiffId, Digest, ImageConfig, Index, Manifest, Raw, Reference};
use serde::{Deserialize, Serialize};

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRecord {
    /// Its directory is `layers/<number>/fs`.
    pub number: i64,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The blob it was unpacked from.
    pub blob: Digest,
    /// Size of the uncompressed tar.
    pub tar_bytes: u64,
    /// Bytes of file content in the tree.
    pub tree_bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// Whether nothing below this layer is seen through it. Overlayfs does not look at that mark on a root directory, so
    /// mounts leave out what lies below.
    pub opaque_root: bool,
    /// Directories, relative to the root, that entries implied and the layer does not carry itself; `.` for the root.
    pub implied_dirs: Vec<PathBuf>,
}

/// An image to be made visible. Blobs of its layers are in the store already; the documents are stored with it.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The manifest, exactly.
    pub manifest: Raw<Manifest>,
    /// The index it was chosen from, exactly.
    pub index: Option<Raw<Index>>,
    /// The config, exactly.
    pub config: Raw<ImageConfig>,
    /// The unpacked layers from the base upwards, as many as the config's diff ids.
    pub layers: Vec<LayerRecord>,
    /// What it is called. A tag moves here from whatever image has it; a digest (of manifest or index) becomes a
    /// repository digest. A reference may carry both.
    pub names: Vec<Reference>,
}

/// An image in the store.
#[derive(Debug, Clone)]
pub struct ImageRecord {
    /// Digest of the config: docker's image id.
    pub id: Digest,
    /// Digest of the manifest it was last stored with.
    pub manifest_digest: Digest,
    /// Digest of the index the manifest was chosen from, where there was one.
    pub index_digest: Option<Digest>,
    /// Its tags as `registry/repository:tag`.
    pub names: Vec<Reference>,
    /// What it was pulled as, as `registry/repository@digest`.
    pub repo_digests: Vec<Reference>,
    /// When it was made, by its config.
    pub created: Option<String>,
    /// When it was stored here, in nanoseconds since 1970.
    pub stored_ns: i64,
    /// Bytes of file content in its layers, as `docker images` shows.
    pub bytes: u64,
    /// The config.
    pub config: Raw<ImageConfig>,
    /// The unpacked layers from the base upwards. Shorter than the config's list where some were lost or damaged:
    /// pulling the image again mends it.
    pub layers: Vec<LayerRecord>,
    /// The layer that gives implied directories the owner, mode, times and attributes they have further down.
    pub implied: Option<i64>,
}

/// A root file system as mounts to be made: data, nothing is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootMounts {
    /// The directory that `lower` is relative to, so that the names of 60 and more layers fit the page that mount(2)
    /// takes.
    pub base: PathBuf,
    /// Layers, top first.
    pub lower: Vec<PathBuf>,
    /// The writable directory; `None` for a read-only view.
    pub upper: Option<PathBuf>,
    /// Overlay's work directory, with `upper`.
    pub work: Option<PathBuf>,
    /// Whether overlay marks are `user.overlay.*`.
    pub userxattr: bool,
}

/// A container as the database has it. What it does (running, exited) is its monitor's to say.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRecord {
    /// 64 lower-case hex digits.
    pub id: String,
    /// Its name, without docker's leading slash.
    pub name: String,
    /// The image it was made from; `None` for a plain directory.
    pub image_id: Option<Digest>,
    /// The image as the user called it.
    pub image_name: String,
    /// When it was created, in nanoseconds since 1970.
    pub created_ns: i64,
    /// Entrypoint and command.
    pub command: Vec<String>,
    /// Free metadata.
    pub labels: BTreeMap<String, String>,
    /// Named volumes it uses, which cannot be removed before it.
    pub volumes: Vec<String>,
    /// Everything else the engine wants to know again, in the engine's own versioned form.
    pub options: serde_json::Value,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Its name, which is its directory's.
    pub name: String,
    /// When it was created, in nanoseconds since 1970.
    pub created_ns: i64,
    /// Whether nobody named it: it goes with its container's `--rm` and with `rm -v`.
    pub anonymous: bool,
    /// `local`, the only one so far.
    pub driver: String,
    /// Free metadata.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}
