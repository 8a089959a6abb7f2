//! One image becomes another: layers and history are added, documents made.
//!
//! Spec: image-spec manifest.md, config.md; an image stays in its family of media types, OCI's or Docker's.
//! Law: pure. Layers are in the shelf before a draft knows them.

use knarr_layer::{Compression, Packed};
use knarr_spec::image::{Annotations, ContainerConfig, Descriptor, History, ImageConfig, Manifest, RootFs};
use knarr_spec::{DiffId, Digest, Platform, Raw, media_type};

/// Documents under construction.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its layers are set; its config is set at the end.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
}

/// A layer as documents name it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// How it is compressed.
    pub compression: Compression,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub bytes: u64,
    /// Digest of the tar.
    pub diff_id: DiffId,
}

impl Layer {
    /// What was packed with this compression.
    pub fn of(packed: &Packed, compression: Compression) -> Layer {
        let Packed { digest, blob_bytes, diff_id, .. } = packed.clone();
        Layer { compression, digest, bytes: blob_bytes, diff_id }
    }

    fn media_type(&self, docker: bool) -> &'static str {
        match (self.compression, docker) {
            (Compression::None, false) => media_type::OCI_LAYER,
            (Compression::Gzip, false) => media_type::OCI_LAYER_GZIP,
            (Compression::Zstd, false) => media_type::OCI_LAYER_ZSTD,
            (Compression::None, true) => media_type::DOCKER_LAYER,
            (Compression::Gzip, true) => media_type::DOCKER_LAYER_GZIP,
            (Compression::Zstd, true) => media_type::DOCKER_LAYER_ZSTD,
        }
    }
}

impl Draft {
    /// An image of nothing.
    pub fn scratch(platform: Platform) -> Draft {
        let config = ImageConfig {
            created: None,
            author: None,
            platform,
            config: ContainerConfig::default(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
            history: Vec::new(),
        };
        let nothing = Descriptor::new(media_type::OCI_CONFIG, Digest::sha256_of(b""), 0);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: nothing,
            layers: Vec::new(),
            subject: None,
            annotations: Annotations::new(),
        };
        Draft { manifest, config }
    }

    /// The documents of an image, to be changed.
    pub fn of(manifest: &Manifest, config: &ImageConfig) -> Draft {
        Draft { manifest: manifest.clone(), config: config.clone() }
    }

    /// Puts a layer on top, or notes a step that made none.
    pub fn push(&mut self, layer: Option<Layer>, history: History) {
        if let Some(layer) = &layer {
            let docker = self.manifest.config.media_type == media_type::DOCKER_CONFIG;
            let descriptor = Descriptor::new(layer.media_type(docker), layer.digest.clone(), layer.bytes);
            self.manifest.layers.push(descriptor);
            self.config.rootfs.diff_ids.push(layer.diff_id.clone());
        }
        self.config.history.push(History { empty_layer: layer.is_none(), ..history });
    }

    /// The finished documents.
    pub fn seal(self) -> (Raw<Manifest>, Raw<ImageConfig>) {
        let config = Raw::from_document(self.config);
        let (digest, bytes) = (config.digest(), config.bytes().len() as u64);
        let descriptor = Descriptor::new(&self.manifest.config.media_type, digest, bytes);
        let manifest = Raw::from_document(Manifest { config: descriptor, ..self.manifest });
        (manifest, config)
    }
}

/// The steps of an image, each with the layer it made.
pub fn steps(config: &ImageConfig, layers: usize) -> Vec<(History, Option<usize>)> {
    let mut next = 0;
    let mut steps = Vec::new();
    for history in &config.history {
        let layer = (!history.empty_layer && next < layers).then_some(next);
        next += usize::from(layer.is_some());
        steps.push((history.clone(), layer));
    }
    // Layers that nobody described.
    steps.extend((next..layers).map(|layer| (History::default(), Some(layer))));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Layer {
        let digest = Digest::sha256_of(text.as_bytes());
        Layer { compression: Compression::Gzip, bytes: 1, diff_id: DiffId(digest.clone()), digest }
    }

    #[test]
    fn documents_agree_when_they_are_sealed() {
        let mut draft = Draft::scratch(Platform::host());
        draft.push(Some(layer("a")), History::default());
        draft.push(None, History { comment: Some("only words".to_owned()), ..History::default() });
        let (manifest, config) = draft.seal();
        assert_eq!(manifest.config.digest, config.digest());
        assert_eq!((manifest.layers.len(), config.rootfs.diff_ids.len(), config.history.len()), (1, 1, 2));
        assert_eq!(manifest.layers[0].media_type, media_type::OCI_LAYER_GZIP);
        assert!(config.history[1].empty_layer);
    }

    #[test]
    fn an_image_of_dockers_family_stays_one() {
        let mut draft = Draft::scratch(Platform::host());
        draft.manifest.config.media_type = media_type::DOCKER_CONFIG.to_owned();
        draft.push(Some(layer("a")), History::default());
        assert_eq!(draft.seal().0.layers[0].media_type, media_type::DOCKER_LAYER_GZIP);
    }

    #[test]
    fn steps_find_their_layers_and_layers_without_a_step_get_one() {
        let mut draft = Draft::scratch(Platform::host());
        draft.push(None, History::default());
        draft.push(Some(layer("a")), History::default());
        let steps = steps(&draft.config, 2);
        assert_eq!(steps.iter().map(|(_, layer)| *layer).collect::<Vec<_>>(), [None, Some(0), Some(1)]);
    }
}
