//! Manifests as a registry sees them: what they are, and what they point to.
//!
//! Spec: image-spec manifest.md and image-index.md; distribution-spec "Pushing Manifests".
//! Law: pure. Unknown media types are accepted; only what contradicts itself is refused.

use std::collections::BTreeMap;

use knarr_spec::{Algorithm, Digest, media_type};
use serde::Deserialize;

use crate::error::{Code, Failure};
use crate::hasher;
use crate::limits::DESCRIPTORS_MAX;
use crate::route::ManifestReference;

/// What the registry needs to know of a pushed manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    pub digest: Digest,
    pub media_type: String,
    /// Blobs that must be there.
    pub blobs: Vec<Digest>,
    /// Manifests an index names; they may be absent (sparse indexes).
    pub children: Vec<Digest>,
    pub subject: Option<Digest>,
    pub artifact_type: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Target>,
    #[serde(default)]
    layers: Option<Vec<Target>>,
    #[serde(default)]
    blobs: Option<Vec<Target>>,
    #[serde(default)]
    manifests: Option<Vec<Target>>,
    subject: Option<Target>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

/// Reads a manifest pushed as `reference` with the given `Content-Type` (parameters already cut off).
pub fn parse(bytes: &[u8], content_type: Option<&str>, reference: &ManifestReference) -> Result<Parsed, Failure> {
    let digest = checked_digest(bytes, reference)?;
    let invalid = |why: String| Failure::new(Code::ManifestInvalid, why);
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("manifest is not valid: {error}")))?;
    if document.schema_version == Some(1) {
        return Err(invalid("manifest schema 1 is not supported".into()));
    }
    let media_type = declared_media_type(&document, content_type)?;
    let layers = document.layers.unwrap_or_default().into_iter().chain(document.blobs.unwrap_or_default());
    let children: Vec<Digest> =
        document.manifests.unwrap_or_default().into_iter().map(|target| target.digest).collect();
    let blobs: Vec<Digest> = layers
        .filter(must_be_here)
        .map(|target| target.digest)
        .chain(document.config.iter().map(|c| c.digest.clone()))
        .collect();
    if blobs.len() + children.len() > DESCRIPTORS_MAX {
        return Err(invalid(format!("manifest names more than {DESCRIPTORS_MAX} descriptors")));
    }
    let config_type = document.config.map(|config| config.media_type);
    let artifact_type =
        document.artifact_type.filter(|text| !text.is_empty()).or(config_type).filter(|text| !text.is_empty());
    Ok(Parsed {
        digest,
        media_type,
        blobs,
        children,
        subject: document.subject.map(|target| target.digest),
        artifact_type,
        annotations: document.annotations.unwrap_or_default(),
    })
}

fn checked_digest(bytes: &[u8], reference: &ManifestReference) -> Result<Digest, Failure> {
    let ManifestReference::Digest(wanted) = reference else { return Ok(Digest::sha256_of(bytes)) };
    match hasher::matches(bytes, wanted) {
        Some(true) => Ok(wanted.clone()),
        Some(false) => {
            Err(Failure::new(Code::DigestInvalid, format!("the manifest sent does not have the digest {wanted}")))
        }
        None => {
            Err(Failure::new(Code::DigestInvalid, format!("cannot compute {} digests", wanted.algorithm().as_str())))
        }
    }
}

fn declared_media_type(document: &Document, content_type: Option<&str>) -> Result<String, Failure> {
    match (document.media_type.as_deref().filter(|text| !text.is_empty()), content_type) {
        (Some(inner), Some(outer)) if inner != outer => Err(Failure::new(
            Code::ManifestInvalid,
            format!("manifest says mediaType {inner:?}, the request's Content-Type says {outer:?}"),
        )),
        (Some(inner), _) => Ok(inner.to_owned()),
        (None, Some(outer)) => Ok(outer.to_owned()),
        (None, None) if document.manifests.is_some() => Ok(media_type::OCI_INDEX.to_owned()),
        (None, None) => Ok(media_type::OCI_MANIFEST.to_owned()),
    }
}

/// Layers that may be served from elsewhere need not be pushed.
fn must_be_here(layer: &Target) -> bool {
    let foreign = layer.media_type.contains(".nondistributable.") || layer.media_type.contains(".foreign.");
    !foreign && layer.urls.as_ref().is_none_or(Vec::is_empty)
}

/// The algorithm a client asked an upload to be hashed with.
pub fn upload_algorithm(text: Option<&str>) -> Result<Algorithm, Failure> {
    match text {
        None | Some("sha256") => Ok(Algorithm::Sha256),
        Some("sha512") => Ok(Algorithm::Sha512),
        Some("blake3") => Ok(Algorithm::Blake3),
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            Err(Failure::new(Code::DigestInvalid, format!("digest algorithm {shown:?} is not supported")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse_tagged(text: &str, content_type: Option<&str>) -> Result<Parsed, Failure> {
        parse(text.as_bytes(), content_type, &ManifestReference::Tag("t".into()))
    }

    #[test]
    fn an_artifact_without_type_takes_the_type_of_its_config() {
        let text =
            format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{DIGEST}","size":0}},"layers":[]}}"#);
        assert_eq!(parse_tagged(&text, None).unwrap().artifact_type.as_deref(), Some("a/b"));
    }

    #[test]
    fn an_index_without_type_has_none() {
        let text = r#"{"schemaVersion":2,"manifests":[]}"#;
        let parsed = parse_tagged(text, None).unwrap();
        assert_eq!((parsed.artifact_type, parsed.media_type.as_str()), (None, media_type::OCI_INDEX));
    }

    #[test]
    fn layers_from_elsewhere_need_not_be_here() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{DIGEST}","size":0}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{DIGEST}","size":0}}]}}"#
        );
        assert_eq!(parse_tagged(&text, None).unwrap().blobs.len(), 1);
    }

    #[test]
    fn a_content_type_that_contradicts_the_document_is_refused() {
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::OCI_INDEX);
        assert!(parse_tagged(&text, Some(media_type::OCI_MANIFEST)).is_err());
        assert!(parse_tagged(&text, Some(media_type::OCI_INDEX)).is_ok());
    }

    #[test]
    fn a_wrong_digest_is_refused() {
        let reference = ManifestReference::Digest(DIGEST.parse().unwrap());
        assert!(parse(br#"{"schemaVersion":2,"manifests":[]}"#, None, &reference).is_err());
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for text in ["", "[]", "null", "{", r#"{"schemaVersion":1}"#] {
            assert!(parse_tagged(text, None).is_err(), "{text:?}");
        }
    }
}
