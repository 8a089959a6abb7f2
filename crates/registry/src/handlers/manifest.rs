//! Manifests: end-3, end-7, end-9.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, Method, StatusCode, header};

use super::{Answer, CONTENT_DIGEST, Call, answer};
use crate::body::{blocking, collect};
use crate::cache::Entry;
use crate::error::{Code, Failure};
use crate::limits::{MANIFEST_BYTES_MAX, TAGS_PER_PUSH_MAX};
use crate::manifest;
use crate::metadata::NewManifest;
use crate::mirror;
use crate::route::{self, ManifestReference};
use crate::server::Registry;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// end-3: the exact bytes that were pushed.
pub async fn get(call: Call, name: String, reference: ManifestReference) -> Answer {
    let key = (name, reference);
    mirror::want_manifest(&call.registry, &key).await?;
    let entry = match call.registry.manifests().get(&key) {
        Some(entry) => entry,
        None => load(&call.registry, &key).await?,
    };
    if call.method == Method::GET {
        entry.pulled.pulled();
    }
    let etag = format!("\"{}\"", entry.digest);
    let headers = [
        (header::CONTENT_TYPE, entry.media_type.as_str()),
        (CONTENT_DIGEST, entry.digest.as_str()),
        (header::ETAG, etag.as_str()),
    ];
    if call.headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes()) {
        return answer(StatusCode::NOT_MODIFIED, &headers, Body::empty());
    }
    answer(StatusCode::OK, &headers, Body::from(entry.bytes))
}

async fn load(registry: &Registry, key: &(String, ManifestReference)) -> Result<Entry, Failure> {
    let epoch = registry.manifests().epoch();
    let (reader, (name, reference)) = (registry.clone(), key.clone());
    let stored = blocking(move || reader.meta().manifest(&name, &reference)).await.map_err(Failure::from)?;
    let stored = stored.ok_or_else(|| Failure::manifest_unknown(&key.0, key.1.as_str()))?;
    let (pulled, write) = registry.pulls().watch(&key.0, &key.1);
    if write {
        let registry = registry.clone();
        blocking(move || registry.note_pulls()).await.map_err(Failure::from)?;
    }
    let bytes = Bytes::from(stored.bytes);
    let entry = Entry { digest: stored.digest, media_type: stored.media_type, bytes, pulled };
    registry.manifests().insert(key.clone(), entry.clone(), epoch);
    Ok(entry)
}

/// end-7a and end-7b: a manifest, by tag, by digest, or by digest with tags beside it.
pub async fn put(call: Call, name: String, reference: ManifestReference) -> Answer {
    mirror::check_writable(&call.registry.settings(), &name)?;
    let tags = pushed_tags(&call, &reference)?;
    let content_type = call.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(|text| text.split(';').next().unwrap_or(text).trim().to_owned());
    let bytes = collect(call.body, MANIFEST_BYTES_MAX, call.registry.settings().limits.silence.0).await?;
    let parsed = manifest::parse(&bytes, content_type.as_deref(), &reference)?;
    let (digest, subject) = (parsed.digest.clone(), parsed.subject.clone());
    let (registry, to, names) = (call.registry.clone(), name.clone(), tags.clone());
    blocking(move || {
        let settings = registry.settings();
        let new = NewManifest {
            repository: &to,
            manifest: &parsed,
            bytes: &bytes,
            tags: &names,
            blobs_required: !settings.manifests.sparse,
            immutable: &|tag| settings.is_immutable(&to, tag),
            bytes_max: settings.quota_of(&to),
        };
        registry.keep_manifest(&new)
    })
    .await?;
    let location = format!("/v2/{name}/manifests/{digest}");
    let mut headers =
        vec![(header::LOCATION, location.as_str()), (CONTENT_DIGEST, digest.as_str()), (header::CONTENT_LENGTH, "0")];
    if let Some(subject) = &subject {
        headers.push((OCI_SUBJECT, subject.as_str()));
    }
    if matches!(reference, ManifestReference::Digest(_)) {
        headers.extend(tags.iter().map(|tag| (OCI_TAG, tag.as_str())));
    }
    answer(StatusCode::CREATED, &headers, Body::empty())
}

fn pushed_tags(call: &Call, reference: &ManifestReference) -> Result<Vec<String>, Failure> {
    if let ManifestReference::Tag(tag) = reference {
        return Ok(vec![tag.clone()]);
    }
    let tags = call.query.all("tag");
    if tags.len() > TAGS_PER_PUSH_MAX {
        return Err(Failure::new(Code::SizeInvalid, format!("at most {TAGS_PER_PUSH_MAX} tags may be set at once"))
            .with_status(StatusCode::URI_TOO_LONG));
    }
    tags.iter().map(|tag| route::tag(tag)).collect()
}

/// end-9: by tag the tag goes, by digest the manifest with all its tags.
pub async fn delete(call: Call, name: String, reference: ManifestReference) -> Answer {
    remove(&call.registry, &name, reference).await?;
    answer(StatusCode::ACCEPTED, &[(header::CONTENT_LENGTH, "0")], Body::empty())
}

/// Takes a tag, or a manifest with its tags, out of a repository.
pub async fn remove(registry: &Registry, name: &str, reference: ManifestReference) -> Result<(), Failure> {
    let unknown = Failure::manifest_unknown(name, reference.as_str());
    let (registry, name) = (registry.clone(), name.to_owned());
    let removed = blocking(move || {
        let settings = registry.settings();
        let immutable = |tag: &str| settings.is_immutable(&name, tag);
        let removed = registry.meta().delete_manifest(&name, &reference, &immutable)?;
        let removed = removed.map_err(|refusal| refusal.explained(&name))?;
        registry.manifests().invalidate(&name);
        registry.write_records()?;
        Ok::<bool, Failure>(removed)
    });
    if removed.await? { Ok(()) } else { Err(unknown) }
}
