//! Paths to endpoints.
//!
//! Spec: distribution-spec, "Endpoints". Repository names contain slashes, so a path is read from both ends.
//! Law: pure. A path is an endpoint with checked parts, or the refusal the specification names.

use knarr_spec::Digest;
use knarr_spec::reference::{NAME_BYTES_MAX, is_repository, is_tag};

use crate::error::{Code, Failure};

/// A request's target.
#[derive(Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// end-1: `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/_oci/ext/discover` and `/v2/<name>/_oci/ext/discover`
    Extensions { name: Option<String> },
    /// end-2, end-10: `/v2/<name>/blobs/<digest>`
    Blob { name: String, digest: Digest },
    /// end-4, end-11: `/v2/<name>/blobs/uploads/`
    Uploads { name: String },
    /// end-5, end-6, end-13, end-14: `/v2/<name>/blobs/uploads/<id>`
    Upload { name: String, id: String },
    /// end-3, end-7, end-9: `/v2/<name>/manifests/<reference>`
    Manifest { name: String, reference: ManifestReference },
    /// end-8: `/v2/<name>/tags/list`
    Tags { name: String },
    /// end-12: `/v2/<name>/referrers/<digest>`
    Referrers { name: String, digest: Digest },
    /// No endpoint at all.
    Nowhere,
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ManifestReference {
    Tag(String),
    Digest(Digest),
}

impl ManifestReference {
    pub fn as_str(&self) -> &str {
        match self {
            ManifestReference::Tag(tag) => tag,
            ManifestReference::Digest(digest) => digest.as_str(),
        }
    }
}

/// Reads a request path.
pub fn parse(path: &str) -> Result<Endpoint, Failure> {
    let Some(rest) = path.strip_prefix("/v2") else { return Ok(Endpoint::Nowhere) };
    match rest {
        "" | "/" => return Ok(Endpoint::Base),
        "/_catalog" => return Ok(Endpoint::Catalog),
        "/_oci/ext/discover" => return Ok(Endpoint::Extensions { name: None }),
        _ => {}
    }
    let Some(rest) = rest.strip_prefix('/') else { return Ok(Endpoint::Nowhere) };
    if let Some(rest) = rest.strip_suffix("/_oci/ext/discover") {
        return Ok(Endpoint::Extensions { name: Some(name(rest)?) });
    }
    if let Some(rest) = rest.strip_suffix("/tags/list") {
        return Ok(Endpoint::Tags { name: name(rest)? });
    }
    if let Some(rest) = rest.strip_suffix("/blobs/uploads").or_else(|| rest.strip_suffix("/blobs/uploads/")) {
        return Ok(Endpoint::Uploads { name: name(rest)? });
    }
    let Some((head, last)) = rest.rsplit_once('/') else { return Ok(Endpoint::Nowhere) };
    if let Some(head) = head.strip_suffix("/blobs/uploads") {
        return Ok(Endpoint::Upload { name: name(head)?, id: upload_id(last)? });
    }
    if let Some(head) = head.strip_suffix("/blobs") {
        return Ok(Endpoint::Blob { name: name(head)?, digest: digest(last)? });
    }
    if let Some(head) = head.strip_suffix("/manifests") {
        return Ok(Endpoint::Manifest { name: name(head)?, reference: manifest_reference(last)? });
    }
    if let Some(head) = head.strip_suffix("/referrers") {
        return Ok(Endpoint::Referrers { name: name(head)?, digest: digest(last)? });
    }
    Ok(Endpoint::Nowhere)
}

/// Checks a repository name.
pub fn name(text: &str) -> Result<String, Failure> {
    if text.len() > NAME_BYTES_MAX || !is_repository(text) {
        let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
        return Err(Failure::new(Code::NameInvalid, format!("invalid repository name {shown:?}")));
    }
    Ok(text.to_owned())
}

/// Checks a digest; the colon may come percent-encoded.
pub fn digest(text: &str) -> Result<Digest, Failure> {
    decoded(text).parse().map_err(|error| Failure::new(Code::DigestInvalid, format!("{error}")))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Reads a tag or a digest.
pub fn manifest_reference(text: &str) -> Result<ManifestReference, Failure> {
    let text = decoded(text);
    if text.contains(':') {
        return Ok(ManifestReference::Digest(digest(&text)?));
    }
    tag(&text).map(ManifestReference::Tag)
}

/// Checks a tag.
pub fn tag(text: &str) -> Result<String, Failure> {
    if !is_tag(text) {
        let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
        return Err(Failure::new(Code::ManifestInvalid, format!("invalid tag {shown:?}")));
    }
    Ok(text.to_owned())
}

/// Upload ids are our own: 32 lower-case hex digits, which are safe as file names.
fn upload_id(text: &str) -> Result<String, Failure> {
    let ours = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if ours { Ok(text.to_owned()) } else { Err(Failure::new(Code::BlobUploadUnknown, "no such upload")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(path: &str, expect: Endpoint) {
        assert_eq!(parse(path).expect(path), expect);
    }

    #[test]
    fn the_base_answers_with_and_without_slash() {
        check("/v2", Endpoint::Base);
        check("/v2/", Endpoint::Base);
    }

    #[test]
    fn names_may_contain_the_words_of_endpoints() {
        check(
            &format!("/v2/a/blobs/manifests/blobs/{DIGEST}"),
            Endpoint::Blob { name: "a/blobs/manifests".into(), digest: DIGEST.parse().unwrap() },
        );
        check("/v2/tags/list/tags/list", Endpoint::Tags { name: "tags/list".into() });
    }

    #[test]
    fn a_percent_encoded_colon_is_a_digest() {
        let encoded = DIGEST.replace(':', "%3A");
        check(
            &format!("/v2/a/manifests/{encoded}"),
            Endpoint::Manifest { name: "a".into(), reference: ManifestReference::Digest(DIGEST.parse().unwrap()) },
        );
    }

    #[test]
    fn uploads_answer_with_and_without_slash() {
        check("/v2/a/b/blobs/uploads", Endpoint::Uploads { name: "a/b".into() });
        check("/v2/a/b/blobs/uploads/", Endpoint::Uploads { name: "a/b".into() });
    }

    #[test]
    fn paths_outside_the_grammar_are_refused() {
        for path in ["/v2/A/tags/list", "/v2/../etc/tags/list", "/v2/a/blobs/sha256:12", "/v2/a/manifests/-x"] {
            assert!(parse(path).is_err(), "{path} was accepted");
        }
        check("/", Endpoint::Nowhere);
        check("/v2/a", Endpoint::Nowhere);
        check("/v2/a/blobs/uploads/../x", Endpoint::Nowhere);
    }

    proptest! {
        #[test]
        fn no_path_brings_the_reader_down_or_leads_out(
            path in "/v2(/[a-z0-9._%:-]{0,12}){0,3}(/(blobs|uploads|manifests|referrers|tags|list|_oci|ext)){0,3}(/\\PC{0,12})?|\\PC{0,80}"
        ) {
            let name = match parse(&path) {
                Ok(
                    Endpoint::Blob { name, .. }
                    | Endpoint::Uploads { name }
                    | Endpoint::Upload { name, .. }
                    | Endpoint::Manifest { name, .. }
                    | Endpoint::Tags { name }
                    | Endpoint::Referrers { name, .. },
                ) => name,
                _ => return Ok(()),
            };
            prop_assert!(is_repository(&name) && !name.contains("..") && !name.contains('%'), "{name}");
        }
    }
}
