//! Images made on the spot, and a shelf that serves them as a registry would.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use knarr_spec::{Descriptor, DiffId, Digest, Index, Manifest, Raw, media_type};

use crate::server::{Reply, Request, Sending};

/// A layer tar with `files`, owned by root.
pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut entry = |kind, name: &str, mode, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    entry(tar::EntryType::Directory, "./", 0o755, b"");
    for (name, content) in files {
        entry(tar::EntryType::Regular, name, 0o644, content);
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).unwrap()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut noise: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next()).collect();
    noise.truncate(bytes);
    noise
}

/// A layer: media type, blob, and the digest of its tar.
#[derive(Debug, Clone)]
pub struct Layer {
    pub media_type: &'static str,
    pub blob: Vec<u8>,
    pub diff_id: DiffId,
}

impl Layer {
    pub fn plain(files: &[(&str, &[u8])]) -> Layer {
        let tar = tar_of(files);
        Layer { media_type: media_type::OCI_LAYER, diff_id: DiffId(Digest::sha256_of(&tar)), blob: tar }
    }

    pub fn gzip(files: &[(&str, &[u8])]) -> Layer {
        let tar = tar_of(files);
        Layer { media_type: media_type::OCI_LAYER_GZIP, diff_id: DiffId(Digest::sha256_of(&tar)), blob: gzip(&tar) }
    }

    pub fn zstd(files: &[(&str, &[u8])]) -> Layer {
        let tar = tar_of(files);
        Layer { media_type: media_type::OCI_LAYER_ZSTD, diff_id: DiffId(Digest::sha256_of(&tar)), blob: zstd(&tar) }
    }

    /// With 3 MB of noise, so that it takes several pieces to arrive.
    pub fn big() -> Layer {
        Layer::gzip(&[("noise", &noise(3 << 20, 7))])
    }

    pub fn digest(&self) -> Digest {
        Digest::sha256_of(&self.blob)
    }

    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type, self.digest(), self.blob.len() as u64)
    }
}

/// Everything a registry, a layout or an archive would hold.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    pub blobs: HashMap<String, Vec<u8>>,
    /// By tag and by digest: media type and bytes.
    pub manifests: HashMap<String, (String, Vec<u8>)>,
}

pub fn config(layers: &[Layer], architecture: &str) -> Vec<u8> {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.0.as_str()).collect();
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/hello"], "Env": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "x-unknown": 1,
    });
    serde_json::to_vec_pretty(&config).unwrap()
}

pub fn manifest_of(config: &[u8], layers: Vec<Descriptor>) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(media_type::OCI_CONFIG, Digest::sha256_of(config), config.len() as u64),
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    }
}

impl Shelf {
    pub fn add_blob(&mut self, blob: &[u8]) -> Digest {
        let digest = Digest::sha256_of(blob);
        self.blobs.insert(digest.to_string(), blob.to_vec());
        digest
    }

    /// Serves `document` under its digest and `tag`.
    pub fn add_document(&mut self, tag: &str, media_type: &str, document: &[u8]) -> Descriptor {
        let digest = Digest::sha256_of(document);
        for name in [tag, digest.as_str()] {
            self.manifests.insert(name.to_owned(), (media_type.to_owned(), document.to_vec()));
        }
        Descriptor::new(media_type, digest, document.len() as u64)
    }

    /// An image of `layers` called `tag`.
    pub fn add_image(&mut self, tag: &str, layers: &[Layer], architecture: &str) -> Descriptor {
        let config = config(layers, architecture);
        self.add_blob(&config);
        layers.iter().for_each(|layer| drop(self.add_blob(&layer.blob)));
        let manifest = manifest_of(&config, layers.iter().map(Layer::descriptor).collect());
        self.add_document(tag, media_type::OCI_MANIFEST, Raw::from_document(manifest).bytes())
    }

    /// An index of `entries` (platform and manifest) called `tag`.
    pub fn add_index(&mut self, tag: &str, entries: &[(&str, Descriptor)]) -> Descriptor {
        let with_platform = |(platform, descriptor): &(&str, Descriptor)| Descriptor {
            platform: Some(platform.parse().unwrap()),
            ..descriptor.clone()
        };
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: entries.iter().map(with_platform).collect(),
            subject: None,
            annotations: BTreeMap::new(),
        };
        self.add_document(tag, media_type::OCI_INDEX, Raw::from_document(index).bytes())
    }

    /// With one image of `layers` called `v1`.
    pub fn of(layers: &[Layer]) -> Shelf {
        let mut shelf = Shelf::default();
        shelf.add_image("v1", layers, architecture());
        shelf
    }

    /// As a well-behaved registry answers for the repository `app`.
    pub fn answer(&self, request: &Request) -> Reply {
        if let Some(reference) = request.path.strip_prefix("/v2/app/manifests/") {
            return match self.manifests.get(reference) {
                Some((media_type, bytes)) => Reply::new(200, bytes.clone())
                    .with("Content-Type", media_type)
                    .with("Docker-Content-Digest", Digest::sha256_of(bytes).to_string()),
                None => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            };
        }
        match request.path.strip_prefix("/v2/app/blobs/").and_then(|digest| self.blobs.get(digest)) {
            Some(blob) => ranged(request, blob),
            None => Reply::error(404, "BLOB_UNKNOWN", "blob unknown"),
        }
    }

    pub fn into_handler(self) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
        let shelf = Arc::new(self);
        move |request| shelf.answer(request)
    }
}

/// The blob, or the part of it that is asked for.
pub fn ranged(request: &Request, blob: &[u8]) -> Reply {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let first: Option<usize> = range.and_then(|(first, _)| first.parse().ok());
    match first {
        None => Reply::new(200, blob),
        Some(first) if first >= blob.len() => {
            Reply::new(416, "").with("Content-Range", format!("bytes */{}", blob.len())).sent(Sending::Whole)
        }
        Some(first) => {
            let last = range.and_then(|(_, last)| last.parse().ok()).unwrap_or(blob.len() - 1).min(blob.len() - 1);
            let range = format!("bytes {first}-{last}/{}", blob.len());
            Reply::new(206, &blob[first..=last]).with("Content-Range", range)
        }
    }
}

/// Of the machine the test runs on.
pub fn architecture() -> &'static str {
    Box::leak(knarr_spec::Platform::host().architecture.into_boxed_str())
}
