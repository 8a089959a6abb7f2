//! Uploads: end-4, end-5, end-6, end-11, end-13, end-14.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderName, StatusCode, header};
use knarr_spec::{Algorithm, Digest};
use serde_json::json;

use super::{Answer, CONTENT_DIGEST, Call, answer};
use crate::auth::policy::Action;
use crate::body::{Received, blocking, receive};
use crate::error::{Code, Failure};
use crate::manifest::upload_algorithm;
use crate::mirror;
use crate::route;
use crate::server::Registry;
use crate::upload::Session;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST /v2/<name>/blobs/uploads/`: mounts (end-11), takes a whole blob (end-4b), or begins an upload (end-4a, end-4c).
pub async fn post(call: Call, name: String) -> Answer {
    mirror::check_writable(&call.registry.settings(), &name)?;
    if let Some(mount) = call.query.get("mount") {
        let digest = route::digest(mount)?;
        let from = call.query.get("from").map(route::name).transpose()?;
        // Who may not read the source learns nothing from trying, not even whether it is there.
        let readable = match &from {
            Some(from) => call.caller.may(Action::Pull, from),
            None => call.caller.may_everywhere(Action::Pull),
        };
        let (registry, to, wanted) = (call.registry.clone(), name.clone(), digest.clone());
        if readable && blocking(move || mounted(&registry, &to, &wanted, from.as_deref())).await? {
            return created(&name, &digest);
        }
    } else if let Some(digest) = call.query.get("digest") {
        let digest = route::digest(digest)?;
        let (registry, to, algorithm) = (call.registry.clone(), name.clone(), digest.algorithm());
        if !algorithm.hasher_known() {
            return Err(Failure::new(Code::DigestInvalid, format!("cannot compute {} digests", algorithm.as_str())));
        }
        let session = blocking(move || registry.uploads().whole(&to, algorithm)).await.map_err(Failure::from)?;
        let id = session.id().to_owned();
        // Stored or not, it is forgotten: a whole blob in one request cannot be resumed.
        let silence = silence(&call.registry);
        let kept = match receive(call.body, session, silence).await {
            Ok(received) => finish(&call.registry, &name, received, &digest).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = kept {
            let registry = call.registry.clone();
            blocking(move || {
                registry.uploads().forget(&id);
                Ok::<_, Failure>(())
            })
            .await?;
            return Err(failure);
        }
        return created(&name, &digest);
    }
    let algorithm = upload_algorithm(call.query.get("digest-algorithm"))?;
    let id = begin(&call.registry, &name, algorithm).await?;
    progress(StatusCode::ACCEPTED, &name, &id, 0)
}

/// end-13: how far an upload has come.
pub async fn status(call: Call, name: String, id: String) -> Answer {
    let (registry, of, asked) = (call.registry.clone(), name.clone(), id.clone());
    let offset = blocking(move || registry.uploads().offset(&of, &asked)).await?;
    progress(StatusCode::NO_CONTENT, &name, &id, offset)
}

/// end-5: the next chunk, or with no `Content-Range` whatever follows.
pub async fn patch(call: Call, name: String, id: String) -> Answer {
    let session = find(&call.registry, &name, &id).await?;
    check_offset(&call, &name, &id, session.offset())?;
    let received = receive(call.body, session, silence(&call.registry)).await?;
    let session = blocking(move || {
        let mut session = received.complete()?;
        session.acknowledge().map(|()| session)
    })
    .await?;
    progress(StatusCode::ACCEPTED, &name, &id, session.offset())
}

/// end-6: the last chunk, or none, and the digest of the whole.
pub async fn put(call: Call, name: String, id: String) -> Answer {
    let digest =
        call.query.get("digest").ok_or_else(|| Failure::new(Code::DigestInvalid, "the digest parameter is missing"))?;
    let digest = route::digest(digest)?;
    let session = find(&call.registry, &name, &id).await?;
    check_offset(&call, &name, &id, session.offset())?;
    let received = receive(call.body, session, silence(&call.registry)).await?;
    finish(&call.registry, &name, received, &digest).await?;
    created(&name, &digest)
}

/// end-14: forget the upload.
pub async fn cancel(call: Call, name: String, id: String) -> Answer {
    let registry = call.registry.clone();
    blocking(move || {
        let held = registry.uploads().find(&name, &id)?;
        registry.uploads().forget(held.id());
        Ok::<_, Failure>(())
    })
    .await?;
    answer(StatusCode::NO_CONTENT, &[], Body::empty())
}

fn silence(registry: &Registry) -> Duration {
    registry.settings().limits.silence.0
}

async fn begin(registry: &Registry, name: &str, algorithm: Algorithm) -> Result<String, Failure> {
    if let Some(begun) = registry.uploads().begin_at_once(name, &algorithm) {
        return Ok(begun?);
    }
    let (registry, name) = (registry.clone(), name.to_owned());
    Ok(blocking(move || registry.uploads().begin(&name, algorithm)).await?)
}

async fn find(registry: &Registry, name: &str, id: &str) -> Result<Box<dyn Session>, Failure> {
    if let Some(found) = registry.uploads().find_at_once(name, id) {
        return found;
    }
    let (registry, name, id) = (registry.clone(), name.to_owned(), id.to_owned());
    blocking(move || registry.uploads().find(&name, &id)).await
}

/// Verifies a complete upload and keeps it as a blob. Either way the upload is at its end, unless its last bytes could not be
/// written: then it can go on from those before.
async fn finish(registry: &Registry, name: &str, received: Received, digest: &Digest) -> Result<(), Failure> {
    let (registry, name, digest) = (registry.clone(), name.to_owned(), digest.clone());
    blocking(move || {
        let mut session = received.complete()?;
        let kept = session.verify(&digest).and_then(|()| registry.keep_blob(&name, &digest, &mut *session));
        registry.uploads().forget(session.id());
        kept
    })
    .await
}

fn mounted(registry: &Registry, to: &str, digest: &Digest, from: Option<&str>) -> Result<bool, Failure> {
    let bytes_max = registry.settings().quota_of(to);
    registry.meta().mount_blob(to, digest, from, bytes_max)?.map_err(|refusal| refusal.explained(to))
}

fn check_offset(call: &Call, name: &str, id: &str, offset: u64) -> Result<(), Failure> {
    let Some(range) = call.headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let text = range.to_str().unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let bounds = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let Some((first, last)) = bounds.filter(|(first, last)| first <= last) else {
        return Err(Failure::new(Code::BlobUploadInvalid, format!("Content-Range {text:?} is not <first>-<last>")));
    };
    let length = HttpBody::size_hint(&call.body).exact();
    if length.is_some_and(|length| last - first + 1 != length) {
        return Err(Failure::new(Code::SizeInvalid, format!("Content-Range {text} does not fit the body's length")));
    }
    if first == offset {
        return Ok(());
    }
    Err(Failure::new(
        Code::BlobUploadInvalid,
        format!("chunk begins at byte {first}, {offset} bytes have been received"),
    )
    .with_detail(json!({"first": first, "received": offset}))
    .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
    .with_header(header::LOCATION, location(name, id))
    .with_header(header::RANGE, range_text(offset)))
}

fn location(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// `0-<last byte>`; `0-0` before the first byte, as distribution says it.
fn range_text(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn progress(status: StatusCode, name: &str, id: &str, offset: u64) -> Answer {
    let (location, range) = (location(name, id), range_text(offset));
    let mut headers = vec![(header::LOCATION, location.as_str()), (header::RANGE, range.as_str()), (UPLOAD_UUID, id)];
    if status != StatusCode::NO_CONTENT {
        headers.push((header::CONTENT_LENGTH, "0"));
    }
    answer(status, &headers, Body::empty())
}

fn created(name: &str, digest: &Digest) -> Answer {
    let location = format!("/v2/{name}/blobs/{digest}");
    let headers =
        [(header::LOCATION, location.as_str()), (CONTENT_DIGEST, digest.as_str()), (header::CONTENT_LENGTH, "0")];
    answer(StatusCode::CREATED, &headers, Body::empty())
}
