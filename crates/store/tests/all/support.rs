//! Stores, layers and images to test with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use knarr_layer::Unpacked;
use knarr_spec::image::{ContainerConfig, RootFs};
use knarr_spec::{Descriptor, DiffId, Digest, ImageConfig, Manifest, Platform, Raw, Reference, media_type};
use knarr_store::{ContainerRecord, ImageRecord, IngestState, LayerRecord, NewImage, Store, StoreOptions};
use tempfile::TempDir;

/// A store in a directory of its own.
pub struct Fresh {
    pub store: Store,
    dir: TempDir,
}

pub fn fresh() -> Fresh {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("state"));
    Fresh { store, dir }
}

pub fn open(state: &Path) -> Store {
    Store::open(state, &StoreOptions::default()).unwrap()
}

impl Fresh {
    /// Ends the store and its lease; its directory and what keeps it.
    pub fn close(self) -> (PathBuf, TempDir) {
        (self.store.state().to_owned(), self.dir)
    }

    /// A second store on the same directory, as another process has it.
    pub fn again(&self) -> Store {
        open(self.store.state())
    }
}

/// Puts `content` through an ingest.
pub fn put(store: &Store, content: &[u8]) -> Digest {
    store.put_blob(content).unwrap()
}

/// The ingest of a blob nobody has yet.
pub fn partial(store: &Store, digest: &Digest, size: Option<u64>) -> knarr_store::Ingest {
    match store.ingest(digest, size).unwrap() {
        IngestState::Partial(ingest) => ingest,
        IngestState::Present(_) => panic!("{digest} is there already"),
        IngestState::Busy(_) => panic!("{digest} is being written"),
    }
}

pub fn diff_id(text: &str) -> DiffId {
    DiffId(Digest::sha256_of(format!("tar of {text}").as_bytes()))
}

pub fn unpacked(text: &str) -> Unpacked {
    Unpacked {
        diff_id: diff_id(text),
        tar_bytes: 1024,
        entries: 1,
        tree_bytes: text.len() as u64,
        implied_dirs: Vec::new(),
        opaque_root: false,
        skipped: Vec::new(),
    }
}

/// A tar of one file.
pub fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    let size = format!("{:011o}\0", content.len());
    for (at, field) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (124, &size)] {
        header[at..at + field.len()].copy_from_slice(field.as_bytes());
    }
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = [&header, content].concat();
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

/// A layer with one file, named and filled with `text`.
pub fn layer(store: &Store, text: &str) -> LayerRecord {
    let build = store.begin_layer().unwrap();
    std::fs::write(build.path().join(text), text).unwrap();
    let blob = put(store, format!("compressed {text}").as_bytes());
    build.commit(unpacked(text), &blob).unwrap()
}

/// An image of these layers; `mark` makes its config unlike others'.
pub fn new_image(mark: &str, layers: Vec<LayerRecord>, names: &[&str]) -> NewImage {
    let config = Raw::from_document(ImageConfig {
        created: Some("2026-01-02T03:04:05Z".to_owned()),
        author: Some(mark.to_owned()),
        platform: Platform::new("linux", "amd64", None),
        config: ContainerConfig::default(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        },
        history: Vec::new(),
    });
    let describe = |layer: &LayerRecord| Descriptor::new(media_type::OCI_LAYER_GZIP, layer.blob.clone(), 1);
    let manifest = Raw::from_document(Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(media_type::OCI_CONFIG, config.digest(), config.bytes().len() as u64),
        layers: layers.iter().map(describe).collect(),
        subject: None,
        annotations: BTreeMap::new(),
    });
    let names = names.iter().map(|name| name.parse().unwrap()).collect();
    NewImage { manifest, index: None, config, layers, names }
}

/// An image with one layer per text.
pub fn image(store: &Store, texts: &[&str], names: &[&str]) -> ImageRecord {
    let layers = texts.iter().map(|text| layer(store, text)).collect();
    store.put_image(new_image(&texts.join("+"), layers, names)).unwrap()
}

pub fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A container id that begins with `start`.
pub fn id(start: &str) -> String {
    format!("{start:0<64}")
}

pub fn container(start: &str, name: &str, image: Option<&ImageRecord>) -> ContainerRecord {
    ContainerRecord {
        id: id(start),
        name: name.to_owned(),
        image_id: image.map(|image| image.id.clone()),
        image_name: "test".to_owned(),
        created_ns: 1,
        command: vec!["/bin/true".to_owned()],
        labels: BTreeMap::new(),
        volumes: Vec::new(),
        options: serde_json::json!({"version": 1}),
    }
}
