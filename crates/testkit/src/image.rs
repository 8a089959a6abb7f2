//! Images from layers and a config: manifests, OCI layouts, docker archives.
//!
//! Spec: image-spec manifest.md, config.md, image-layout.md; Docker's image/spec v1.2 (`docker save`), manifest v2 schema 2.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::archive;
use crate::blob::{Blob, sha256};
use crate::layer::Compression;

/// Which family of media types a manifest speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/vnd.oci.image.…`
    Oci,
    /// `application/vnd.docker.…`, version 2 schema 2.
    Docker,
}

/// What an image is made from.
#[derive(Debug, Clone)]
pub struct ImageMaker {
    /// The `config` object of the image config: Env, Cmd, User, ….
    pub config: Value,
    /// Plain tars, bottom first, each with how it is to be packed.
    pub layers: Vec<(Vec<u8>, Compression)>,
    /// Media types.
    pub format: Format,
    /// `amd64`, `arm64`, …: what the config claims.
    pub architecture: String,
}

/// A finished image. Its parts are public, so that a test can damage them.
#[derive(Debug, Clone)]
pub struct Image {
    /// The image config.
    pub config: Blob,
    /// Packed layers, bottom first.
    pub layers: Vec<Blob>,
    /// Digests of the plain tars.
    pub diff_ids: Vec<String>,
    /// The manifest over config and layers.
    pub manifest: Blob,
}

impl ImageMaker {
    /// An OCI image for this machine with `config` and one gzip layer per tar.
    pub fn new(config: Value, tars: Vec<Vec<u8>>) -> ImageMaker {
        let layers = tars.into_iter().map(|tar| (tar, Compression::Gzip)).collect();
        ImageMaker { config, layers, format: Format::Oci, architecture: architecture().to_string() }
    }

    /// Packs, digests, writes config and manifest.
    pub fn make(&self) -> Image {
        let diff_ids: Vec<String> = self.layers.iter().map(|(tar, _)| sha256(tar)).collect();
        let layers: Vec<Blob> =
            self.layers.iter().map(|(tar, how)| Blob::new(self.layer_type(*how), how.pack(tar))).collect();
        let config = Blob::new(self.config_type(), self.config_bytes(&diff_ids));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.manifest_type(),
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let manifest = Blob::new(self.manifest_type(), manifest.to_string().into_bytes());
        Image { config, layers, diff_ids, manifest }
    }

    fn config_bytes(&self, diff_ids: &[String]) -> Vec<u8> {
        let history: Vec<Value> =
            diff_ids.iter().map(|_| json!({"created": "2024-01-01T00:00:00Z", "created_by": "testkit"})).collect();
        let config = json!({
            "created": "2024-01-01T00:00:00Z",
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        config.to_string().into_bytes()
    }

    fn manifest_type(&self) -> &'static str {
        match self.format {
            Format::Oci => "application/vnd.oci.image.manifest.v1+json",
            Format::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn config_type(&self) -> &'static str {
        match self.format {
            Format::Oci => "application/vnd.oci.image.config.v1+json",
            Format::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer_type(&self, how: Compression) -> &'static str {
        match (self.format, how) {
            (Format::Oci, Compression::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Format::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Format::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Format::Docker, Compression::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Format::Docker, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Format::Docker, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}

impl Image {
    /// All content a registry or a layout must hold besides the manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config])
    }

    /// Writes an OCI image layout with this image under `tag`.
    pub fn write_layout(&self, directory: &Path, tag: &str) -> io::Result<()> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        for blob in self.blobs().chain([&self.manifest]) {
            fs::write(blobs.join(blob.hex()), &blob.bytes)?;
        }
        let mut descriptor = self.manifest.descriptor();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": index_type(Format::Oci), "manifests": [descriptor]});
        fs::write(directory.join("index.json"), index.to_string())?;
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// Reads back the first image of a layout that [`Image::write_layout`] wrote.
    pub fn read_layout(directory: &Path) -> io::Result<Image> {
        let read = |descriptor: &Value| {
            let hex = descriptor["digest"].as_str().unwrap_or("").trim_start_matches("sha256:");
            let bytes = fs::read(directory.join("blobs/sha256").join(hex))?;
            Ok::<Blob, io::Error>(Blob::new(descriptor["mediaType"].as_str().unwrap_or(""), bytes))
        };
        let index: Value = serde_json::from_slice(&fs::read(directory.join("index.json"))?)?;
        let manifest = read(&index["manifests"][0])?;
        let parts: Value = serde_json::from_slice(&manifest.bytes)?;
        let config = read(&parts["config"])?;
        let layers = parts["layers"].as_array().into_iter().flatten().map(read).collect::<io::Result<_>>()?;
        let document: Value = serde_json::from_slice(&config.bytes)?;
        let diff_ids = serde_json::from_value(document["rootfs"]["diff_ids"].clone())?;
        Ok(Image { config, layers, diff_ids, manifest })
    }

    /// Writes the layout as one tar.
    pub fn write_oci_archive(&self, path: &Path, tag: &str) -> io::Result<()> {
        let layout = tempfile::tempdir()?;
        self.write_layout(layout.path(), tag)?;
        archive::of_directory(layout.path(), path)
    }

    /// Writes what `docker save NAME` wrote before it wrote OCI layouts: `manifest.json`, the config and layer tars.
    pub fn write_docker_archive(&self, path: &Path, name: &str, plain: &[Vec<u8>]) -> io::Result<()> {
        let config = format!("{}.json", self.config.hex());
        let layers: Vec<String> =
            self.diff_ids.iter().map(|id| format!("{}/layer.tar", id.trim_start_matches("sha256:"))).collect();
        let manifest = json!([{"Config": config, "RepoTags": [name], "Layers": layers}]);
        let mut files: Vec<(String, &[u8])> = layers.into_iter().zip(plain.iter().map(Vec::as_slice)).collect();
        let manifest = manifest.to_string();
        files.push((config, &self.config.bytes));
        files.push(("manifest.json".to_string(), manifest.as_bytes()));
        archive::of_files(&files, path)
    }
}

impl ImageMaker {
    /// Makes the image and writes it as a docker archive called `name`.
    pub fn save(&self, path: &Path, name: &str) -> io::Result<Image> {
        let plain: Vec<Vec<u8>> = self.layers.iter().map(|(tar, _)| tar.clone()).collect();
        let image = self.make();
        image.write_docker_archive(path, name, &plain)?;
        Ok(image)
    }
}

/// An index over images, each with the platform it is for: `(architecture, image)`.
pub fn index(format: Format, images: &[(&str, &Image)]) -> Blob {
    let manifest = |(architecture, image): &(&str, &Image)| {
        let mut descriptor = image.manifest.descriptor();
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    };
    let manifests: Vec<Value> = images.iter().map(manifest).collect();
    let index = json!({"schemaVersion": 2, "mediaType": index_type(format), "manifests": manifests});
    Blob::new(index_type(format), index.to_string().into_bytes())
}

fn index_type(format: Format) -> &'static str {
    match format {
        Format::Oci => "application/vnd.oci.image.index.v1+json",
        Format::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
    }
}

/// This machine in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerTar;

    fn maker() -> ImageMaker {
        ImageMaker::new(json!({"Cmd": ["/a"]}), vec![LayerTar::new().file("a", 0o755, "x").finish()])
    }

    #[test]
    fn a_diff_id_is_of_the_plain_tar_and_a_digest_of_the_packed_one() {
        let image = maker().make();
        assert_ne!(image.diff_ids[0], image.layers[0].digest);
        assert_eq!(image.diff_ids[0], sha256(&maker().layers[0].0));
    }

    #[test]
    fn a_layout_has_a_file_for_each_digest() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let image = maker().make();
        image.write_layout(directory.path(), "v1").expect("a writable directory");
        let manifest =
            fs::read(directory.path().join("blobs/sha256").join(image.manifest.hex())).expect("the manifest");
        assert_eq!(sha256(&manifest), image.manifest.digest);
        let again = Image::read_layout(directory.path()).expect("what was written");
        assert_eq!((again.manifest, again.layers, again.diff_ids), (image.manifest, image.layers, image.diff_ids));
    }

    #[test]
    fn the_same_recipe_makes_the_same_image() {
        assert_eq!(maker().make().manifest, maker().make().manifest);
    }
}
