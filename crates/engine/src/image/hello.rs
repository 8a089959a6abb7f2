//! `knarr/hello`: an image made from the running binary itself, so that the first container needs no network.
//!
//! It goes the way of every other image: a layer's tree, its tar by the packer, a blob, documents, a name.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use knarr_layer::{Compression, PackOptions, Unpacked, pack};
use knarr_spec::image::{Annotations, ContainerConfig, Descriptor, ImageConfig, Manifest, RootFs};
use knarr_spec::{Platform, Raw, Reference, media_type};
use knarr_store::{ImageRecord, LayerRecord, NewImage};
use knarr_sys::{InRoot, Mode, OFlags, Root};

use crate::{Context, Error, Result};

/// Its name.
pub const NAME: &str = "knarr/hello";

/// Which binary it was made from, so that a new one makes a new image.
const LABEL: &str = "dev.knarr.binary";

const EXE: &str = "/proc/self/exe";

/// Whether `name` means this image.
pub fn is_hello(name: &str) -> bool {
    name.parse::<Reference>().is_ok_and(|reference| reference.to_string() == "docker.io/knarr/hello:latest")
}

/// The page the container prints about itself.
pub fn page(colour: bool, width: usize) -> String {
    knarr_probe::hello(&knarr_probe::collect(), colour, width)
}

/// The image, made anew where it is missing or was made from another binary.
pub fn ensure(context: &Context, here: Option<ImageRecord>) -> Result<ImageRecord> {
    let exe = File::open(EXE).map_err(Error::io("open", Path::new(EXE)))?;
    let metadata = exe.metadata().map_err(Error::io("stat", Path::new(EXE)))?;
    let stamp = format!("{}-{}-{}", metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    match here {
        Some(image) if image.config.config.labels.get(LABEL) == Some(&stamp) => Ok(image),
        old => {
            let made = make(context, exe, &stamp)?;
            // The image of a former binary goes, unless it has another name or a container.
            if let Some(old) = old.filter(|old| old.id != made.id && old.names.len() == 1) {
                let _ = context.store.remove_image(old.id.as_str(), false);
            }
            Ok(made)
        }
    }
}

fn make(context: &Context, exe: File, stamp: &str) -> Result<ImageRecord> {
    let (layer, blob_bytes) = make_layer(context, exe)?;
    let config = ImageConfig {
        created: None,
        author: None,
        platform: Platform::host(),
        config: ContainerConfig {
            entrypoint: Some(vec!["/knarr".to_owned(), "hello".to_owned()]),
            labels: [(LABEL.to_owned(), stamp.to_owned())].into(),
            ..ContainerConfig::default()
        },
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.diff_id.clone()] },
        history: Vec::new(),
    };
    let config = Raw::from_document(config);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(media_type::OCI_CONFIG, config.digest(), config.bytes().len() as u64),
        layers: vec![Descriptor::new(media_type::OCI_LAYER, layer.blob.clone(), blob_bytes)],
        subject: None,
        annotations: Annotations::new(),
    };
    let manifest = Raw::from_document(manifest);
    let image = NewImage { manifest, index: None, config, layers: vec![layer], names: vec![NAME.parse()?] };
    Ok(context.store.put_image(image)?)
}

/// The layer, and the size of its blob.
fn make_layer(context: &Context, exe: File) -> Result<(LayerRecord, u64)> {
    let build = context.store.begin_layer()?;
    let bytes = copy_binary(build.root(), exe, &build.path())?;
    let mut tar = Vec::new();
    let options = PackOptions { compression: Compression::None, time_max: Some(0), ..PackOptions::default() };
    let packed = pack(build.root(), &mut tar, &options);
    let packed = packed.map_err(|source| Error::Layer { what: format!("pack {NAME}"), source })?;
    let blob = context.store.put_blob(&tar)?;
    let unpacked = Unpacked {
        diff_id: packed.diff_id,
        tar_bytes: packed.tar_bytes,
        entries: packed.entries,
        tree_bytes: bytes,
        implied_dirs: Vec::new(),
        opaque_root: false,
        skipped: Vec::new(),
    };
    Ok((build.commit(unpacked, &blob)?, packed.blob_bytes))
}

fn copy_binary(root: &Root, mut exe: File, path: &Path) -> Result<u64> {
    let name = InRoot::parse("knarr").expect("a constant without NUL");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file =
        root.open_file(&name, flags, Mode::from_raw_mode(0o755)).map_err(Error::sys("create the layer's file"))?;
    let mut file = File::from(file);
    let bytes = io::copy(&mut exe, &mut file).map_err(Error::io("write", path))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).map_err(Error::io("chmod", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(Error::io("chmod", path))?;
    Ok(bytes)
}
