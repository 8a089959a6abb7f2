//! Manifests in the other family's words, and with other layers.
//!
//! Spec: image-spec media-types.md, compatibility matrix.
//! Law: pure. Fields that are not ours to change stay, known or not; a config keeps its bytes and so an image its id. What
//! Docker's manifests have no room for (annotations, subject, artifact type) is left out there.

use knarr_spec::media_type::{self, Compression};
use knarr_spec::{Descriptor, DiffId, Manifest};
use serde_json::Value;

use crate::copy::Format;
use crate::{Problem, limits};

/// The family a manifest or index is of.
pub(crate) fn format_of(media_type: &str) -> Format {
    if media_type.starts_with("application/vnd.docker.") { Format::Docker } else { Format::Oci }
}

/// The media type of a manifest in `format`.
pub(crate) fn manifest_type(format: Format) -> &'static str {
    match format {
        Format::Oci => media_type::OCI_MANIFEST,
        Format::Docker => media_type::DOCKER_MANIFEST,
    }
}

/// The media type of an index in `format`.
pub(crate) fn index_type(format: Format) -> &'static str {
    match format {
        Format::Oci => media_type::OCI_INDEX,
        Format::Docker => media_type::DOCKER_LIST,
    }
}

/// Whether this is an image of a file system, and not some other artifact in an image's clothes.
pub(crate) fn is_image(manifest: &Manifest) -> bool {
    matches!(manifest.config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG)
}

/// The media type of a layer in `format`; `None` where it has none. What is no layer of a file system keeps its type.
pub(crate) fn layer_type(media_type: &str, compression: Option<Compression>, format: Format) -> Option<String> {
    let Some(was) = media_type::layer_compression(media_type) else { return Some(media_type.to_owned()) };
    let foreign = is_foreign(media_type);
    Some(
        match (format, compression.unwrap_or(was), foreign) {
            (Format::Oci, Compression::None, false) => media_type::OCI_LAYER,
            (Format::Oci, Compression::Gzip, false) => media_type::OCI_LAYER_GZIP,
            (Format::Oci, Compression::Zstd, false) => media_type::OCI_LAYER_ZSTD,
            (Format::Oci, Compression::None, true) => "application/vnd.oci.image.layer.nondistributable.v1.tar",
            (Format::Oci, Compression::Gzip, true) => "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            (Format::Oci, Compression::Zstd, true) => "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            (Format::Docker, Compression::None, false) => media_type::DOCKER_LAYER,
            (Format::Docker, Compression::Gzip, false) => media_type::DOCKER_LAYER_GZIP,
            (Format::Docker, Compression::Gzip, true) => "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            (Format::Docker, ..) => return None,
        }
        .to_owned(),
    )
}

/// Whether the layer stays where it is: it may not be distributed.
pub(crate) fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

/// The manifest `bytes` in `format` with these layers, and with this config if it is another one.
pub(crate) fn rewritten(
    bytes: &[u8],
    format: Format,
    layers: &[Descriptor],
    other_config: Option<&Descriptor>,
) -> Result<Vec<u8>, Problem> {
    let malformed = |source| Problem::Malformed { what: "manifest", source };
    let mut document: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    document["mediaType"] = manifest_type(format).into();
    let config = match format {
        Format::Oci => media_type::OCI_CONFIG,
        Format::Docker => media_type::DOCKER_CONFIG,
    };
    document["config"]["mediaType"] = config.into();
    if let (Some(config), Some(entry)) = (other_config, document["config"].as_object_mut()) {
        entry.remove("data");
        entry.insert("digest".to_owned(), config.digest.as_str().into());
        entry.insert("size".to_owned(), config.size.into());
    }
    for (at, layer) in layers.iter().enumerate() {
        let entry = &mut document["layers"][at];
        entry["mediaType"] = layer.media_type.clone().into();
        entry["digest"] = layer.digest.as_str().into();
        entry["size"] = layer.size.into();
        if layer.annotations.is_empty() {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("annotations");
            }
        } else {
            entry["annotations"] = serde_json::to_value(&layer.annotations).map_err(malformed)?;
        }
    }
    if let (Format::Docker, Some(fields)) = (format, document.as_object_mut()) {
        ["annotations", "subject", "artifactType"].iter().for_each(|field| drop(fields.remove(*field)));
    }
    bounded(&document)
}

/// The image config `bytes` with these diff ids, where they are others.
pub(crate) fn config_with(bytes: &[u8], diff_ids: &[Option<DiffId>]) -> Result<Vec<u8>, Problem> {
    let malformed = |source| Problem::Malformed { what: "image config", source };
    let mut document: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    let list = document["rootfs"]["diff_ids"].as_array_mut().filter(|list| list.len() == diff_ids.len());
    let list = list.ok_or_else(|| Problem::Unsupported("its config does not name its layers".to_owned()))?;
    for (entry, diff_id) in list.iter_mut().zip(diff_ids) {
        if let Some(diff_id) = diff_id {
            *entry = diff_id.0.as_str().into();
        }
    }
    Ok(serde_json::to_vec(&document).expect("it was JSON before"))
}

/// The index `bytes` in `format` with these entries.
pub(crate) fn rewritten_index(bytes: &[u8], format: Format, entries: &[Descriptor]) -> Result<Vec<u8>, Problem> {
    let malformed = |source| Problem::Malformed { what: "index", source };
    let mut document: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    document["mediaType"] = index_type(format).into();
    for (at, entry) in entries.iter().enumerate() {
        let old = &mut document["manifests"][at];
        old["mediaType"] = entry.media_type.clone().into();
        old["digest"] = entry.digest.as_str().into();
        old["size"] = entry.size.into();
    }
    if let (Format::Docker, Some(fields)) = (format, document.as_object_mut()) {
        ["annotations", "subject", "artifactType"].iter().for_each(|field| drop(fields.remove(*field)));
    }
    bounded(&document)
}

fn bounded(document: &Value) -> Result<Vec<u8>, Problem> {
    let bytes = serde_json::to_vec(document).expect("it was JSON before");
    if bytes.len() as u64 > limits::MANIFEST_BYTES_MAX {
        return Err(Problem::TooLarge { bytes_max: limits::MANIFEST_BYTES_MAX });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use knarr_spec::Digest;

    use super::*;

    fn check(from: &str, compression: Option<Compression>, format: Format, expect: Option<&str>) {
        assert_eq!(layer_type(from, compression, format).as_deref(), expect, "{from}");
    }

    #[test]
    fn layers_have_a_type_in_either_family() {
        check(media_type::OCI_LAYER_GZIP, None, Format::Docker, Some(media_type::DOCKER_LAYER_GZIP));
        check(media_type::DOCKER_LAYER_GZIP, None, Format::Oci, Some(media_type::OCI_LAYER_GZIP));
        check(media_type::OCI_LAYER, Some(Compression::Zstd), Format::Oci, Some(media_type::OCI_LAYER_ZSTD));
        check(media_type::OCI_LAYER_ZSTD, None, Format::Docker, None);
        check("application/x-thing", None, Format::Docker, Some("application/x-thing"));
    }

    #[test]
    fn a_rewritten_manifest_keeps_what_is_not_ours() {
        let digest = Digest::sha256_of(b"x");
        let json = format!(
            r#"{{"schemaVersion":2,"x-own":{{"a":1}},"annotations":{{"k":"v"}},
            "config":{{"mediaType":"{}","digest":"{digest}","size":1,"x":2}},
            "layers":[{{"mediaType":"{}","digest":"{digest}","size":1,"y":3}}]}}"#,
            media_type::OCI_CONFIG,
            media_type::OCI_LAYER_GZIP
        );
        let layer = Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, 1);
        let docker: Value =
            serde_json::from_slice(&rewritten(json.as_bytes(), Format::Docker, &[layer], None).unwrap()).unwrap();
        assert_eq!(docker["mediaType"], media_type::DOCKER_MANIFEST);
        assert_eq!(docker["config"]["mediaType"], media_type::DOCKER_CONFIG);
        assert_eq!(
            (&docker["x-own"]["a"], &docker["config"]["x"], &docker["layers"][0]["y"]),
            (&1.into(), &2.into(), &3.into())
        );
        assert!(docker.get("annotations").is_none());
    }
    #[test]
    fn a_config_gets_other_diff_ids_and_keeps_the_rest() {
        let diff_id = DiffId(Digest::sha256_of(b"x"));
        let config = br#"{"x-own":1,"rootfs":{"type":"layers","diff_ids":["sha256:aa","sha256:bb"]}}"#;
        let new: Value = serde_json::from_slice(&config_with(config, &[None, Some(diff_id.clone())]).unwrap()).unwrap();
        assert_eq!((&new["x-own"], &new["rootfs"]["diff_ids"][0]), (&1.into(), &"sha256:aa".into()));
        assert_eq!(new["rootfs"]["diff_ids"][1], diff_id.0.as_str());
        assert!(config_with(config, &[None]).is_err());
        assert!(config_with(b"{}", &[]).is_err());
    }
}
