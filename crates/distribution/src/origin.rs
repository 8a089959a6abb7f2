//! What every source of images can do: give documents and byte streams.
//!
//! Law: an origin promises nothing. Sizes and digests of what it gives are checked by whoever asked (`fetch`), except that
//! documents are already bounded in size.

use bytes::Bytes;
use knarr_spec::{Descriptor, Digest, image, media_type};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Problem;

/// A manifest or index, exactly as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
}

/// A source of images.
pub(crate) trait Origin: Sync {
    /// The document the source's name means.
    fn root(&self) -> Result<Document, Problem>;

    /// A manifest or index by its descriptor.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Problem>;

    /// A blob from byte `offset` on.
    fn open<'a>(&'a self, descriptor: &'a Descriptor, offset: u64) -> Result<Box<dyn Stream + 'a>, Problem>;

    /// The bytes of a blob from `offset` to `end`, independent of other parts; `None` where parts are of no use.
    fn open_part<'a>(&'a self, descriptor: &'a Descriptor, offset: u64, end: u64) -> Option<Box<dyn Stream + 'a>> {
        let _ = (descriptor, offset, end);
        None
    }

    /// The registry and repository it is, where it is one: blobs can be mounted from there.
    fn repository(&self) -> Option<(&str, &str)> {
        None
    }

    /// What refers to the manifest `digest`: signatures, attestations, bills of material.
    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Problem> {
        let _ = digest;
        Ok(Vec::new())
    }

    /// OpenPGP signatures of the manifest `digest`, wherever those of this place are kept.
    fn signatures(&self, digest: &Digest) -> Result<Vec<Vec<u8>>, Problem> {
        let _ = digest;
        Ok(Vec::new())
    }

    /// The document under another tag of the same repository or layout; `None` where there is no such tag or no tags.
    fn tagged(&self, tag: &str) -> Result<Option<Document>, Problem> {
        let _ = tag;
        Ok(None)
    }

    /// Who it is, in errors: `registry` or `archive`.
    fn who(&self) -> &'static str;

    /// Makes every wait of other threads end with [`Problem::Interrupted`].
    fn interrupt(&self) {}
}

/// Bytes on their way.
pub(crate) trait Stream {
    /// The next piece, not empty; `None` at the end.
    fn chunk(&mut self) -> Result<Option<Bytes>, Problem>;
}

/// Bytes that are here, from an offset on.
pub(crate) struct Carried(pub(crate) Option<Bytes>, pub(crate) u64);

impl Stream for Carried {
    fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let rest = self.0.take().map(|bytes| bytes.slice((self.1 as usize).min(bytes.len())..));
        Ok(rest.filter(|rest| !rest.is_empty()))
    }
}

/// The whole of a small stream.
pub(crate) fn read_all(stream: &mut dyn Stream, bytes_max: u64) -> Result<Vec<u8>, Problem> {
    let mut content = Vec::new();
    while let Some(chunk) = stream.chunk()? {
        content.extend_from_slice(&chunk);
        if content.len() as u64 > bytes_max {
            return Err(Problem::TooLarge { bytes_max });
        }
    }
    Ok(content)
}

impl Document {
    /// Finds out what `bytes` are: by what they say of themselves, else by their shape, else by `declared`.
    pub(crate) fn new(bytes: Vec<u8>, declared: Option<&str>) -> Result<Document, Problem> {
        let media_type = image::document_media_type(&bytes).or_else(|| declared.map(str::to_owned));
        let media_type = media_type.unwrap_or_else(|| "unknown".to_owned());
        if !media_type::is_manifest(&media_type) && !media_type::is_index(&media_type) {
            return Err(Problem::MediaType { what: "manifest", media_type });
        }
        check_unambiguous(&bytes)?;
        Ok(Document { bytes, media_type })
    }
}

/// A document that is a manifest to one reader and an index to another names two images with one digest (CVE-2021-41190).
fn check_unambiguous(bytes: &[u8]) -> Result<(), Problem> {
    #[derive(Deserialize)]
    struct Shape {
        manifests: Option<IgnoredAny>,
        config: Option<IgnoredAny>,
        layers: Option<IgnoredAny>,
    }
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|source| Problem::Malformed { what: "manifest", source })?;
    match (shape.manifests, shape.config.is_some() || shape.layers.is_some()) {
        (Some(_), true) => Err(Problem::Inconsistent(crate::error::Inconsistency::Ambiguous)),
        _ => Ok(()),
    }
}

/// Compares `bytes` with the digest and, where it is known, the size that a descriptor promises.
pub(crate) fn check_content(
    bytes: &[u8],
    promised: &Digest,
    size: Option<u64>,
    by: &'static str,
) -> Result<(), Problem> {
    let got = bytes.len() as u64;
    if let Some(promised) = size.filter(|size| *size != got) {
        return Err(Problem::Size { by, got, more: false, promised });
    }
    match digest_as(promised, bytes)? {
        got if got == *promised => Ok(()),
        got => Err(Problem::DigestMismatch { got, promised: promised.clone() }),
    }
}

/// The digest of `bytes` by the algorithm of `like`.
pub(crate) fn digest_as(like: &Digest, bytes: &[u8]) -> Result<Digest, Problem> {
    use knarr_spec::Algorithm;
    use sha2::Digest as _;
    match like.algorithm() {
        Algorithm::Sha256 => Ok(Digest::sha256_of(bytes)),
        Algorithm::Sha512 => Ok(Digest::from_hash(&Algorithm::Sha512, &sha2::Sha512::digest(bytes))),
        other => Err(Problem::UnknownAlgorithm { digest: like.clone(), algorithm: other.as_str().to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, declared: Option<&str>, expect: Result<&str, &str>) {
        match (Document::new(json.as_bytes().to_vec(), declared), expect) {
            (Ok(document), Ok(expect)) => assert_eq!(document.media_type, expect),
            (Err(problem), Err(expect)) => assert!(problem.to_string().contains(expect), "{problem}"),
            (found, _) => panic!("{json}: {found:?}"),
        }
    }

    #[test]
    fn a_document_without_media_type_is_known_by_its_shape() {
        check(r#"{"schemaVersion":2,"manifests":[]}"#, None, Ok(media_type::OCI_INDEX));
        check(r#"{"schemaVersion":2,"config":{},"layers":[]}"#, Some("text/plain"), Ok(media_type::OCI_MANIFEST));
    }

    #[test]
    fn schema_1_and_html_are_refused_by_name() {
        check(r#"{"schemaVersion":1}"#, Some(media_type::DOCKER_SCHEMA1), Err("v1+json"));
        check("<html>", Some("text/html"), Err("text/html"));
    }

    #[test]
    fn a_manifest_that_is_an_index_too_is_refused() {
        check(
            r#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#,
            Some(media_type::OCI_INDEX),
            Err("both"),
        );
    }

    #[test]
    fn content_is_checked_by_size_and_digest() {
        let digest = Digest::sha256_of(b"abc");
        assert!(check_content(b"abc", &digest, Some(3), "registry").is_ok());
        let error = check_content(b"abcd", &digest, Some(3), "registry").unwrap_err();
        assert_eq!(error.to_string(), "registry sent 4 bytes, manifest promised 3");
        assert!(matches!(check_content(b"abd", &digest, None, "x"), Err(Problem::DigestMismatch { .. })));
        let unknown: Digest = "crc32:00".parse().unwrap();
        assert!(matches!(check_content(b"", &unknown, None, "x"), Err(Problem::UnknownAlgorithm { .. })));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_document_or_an_error(bytes in proptest::collection::vec(0u8.., 0..300)) {
            let _ = Document::new(bytes, Some(media_type::OCI_MANIFEST));
        }

        #[test]
        fn a_document_keeps_its_bytes(
            version in 0u32..4, manifests: bool, config: bool, kind in "[a-z/+.]{0,20}", depth in 0usize..200,
        ) {
            let mut json = format!("{{\"schemaVersion\":{version},\"mediaType\":\"{kind}\",\"x\":{}1{}", "[".repeat(depth), "]".repeat(depth));
            json += if manifests { ",\"manifests\":[]" } else { "" };
            json += if config { ",\"config\":{},\"layers\":[]" } else { "" };
            json.push('}');
            if let Ok(document) = Document::new(json.clone().into_bytes(), None) {
                proptest::prop_assert_eq!(document.bytes, json.into_bytes());
                proptest::prop_assert!(!(manifests && config));
            }
        }
    }
}
