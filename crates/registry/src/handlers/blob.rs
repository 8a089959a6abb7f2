//! Blobs: end-2 and end-10.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, header};
use knarr_spec::Digest;
use serde_json::json;

use super::{Answer, CONTENT_DIGEST, Call, answer};
use crate::blobs::Content as Stored;
use crate::body::blocking;
use crate::error::{Code, Failure, IoContext};
use crate::limits::SMALL_BLOB_BYTES_MAX;
use crate::mirror;
use crate::server::Registry;

/// Where a blob's bytes come from.
enum Content {
    Small(Bytes),
    Stored(Box<dyn Stored>),
    /// The client fetches them itself.
    Elsewhere(String),
    /// Still being fetched, whole.
    Coming(Body),
}

/// end-2: `GET` and `HEAD /v2/<name>/blobs/<digest>`, with single ranges (RFC 9110 section 14).
pub async fn get(call: Call, name: String, digest: Digest) -> Answer {
    let (size, content) = match mirror::want_blob(&call.registry, &name, &digest).await? {
        Some(fetch) if call.method == Method::HEAD => (fetch.size, Content::Coming(Body::empty())),
        Some(fetch) if call.headers.contains_key(header::RANGE) => {
            fetch.stored().await?;
            find(&call.registry, name, &digest).await?
        }
        Some(fetch) => {
            let size = fetch.size;
            match fetch.clone().follow().await? {
                Some(body) => (size, Content::Coming(body)),
                None => {
                    fetch.stored().await?;
                    find(&call.registry, name, &digest).await?
                }
            }
        }
        None => find(&call.registry, name, &digest).await?,
    };
    let etag = format!("\"{digest}\"");
    if call.headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes()) {
        return answer(StatusCode::NOT_MODIFIED, &[(header::ETAG, &etag)], Body::empty());
    }
    let (status, start, length) = match requested_range(&call.headers, &etag, size) {
        Requested::Whole => (StatusCode::OK, 0, size),
        Requested::Part { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Requested::Outside => {
            return Err(Failure::new(Code::SizeInvalid, format!("the blob has {size} bytes"))
                .with_detail(json!({"size": size}))
                .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
                .with_header(header::CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    if let (Content::Elsewhere(address), &Method::GET) = (&content, &call.method) {
        let headers =
            [(header::LOCATION, address.as_str()), (CONTENT_DIGEST, digest.as_str()), (header::CONTENT_LENGTH, "0")];
        return answer(StatusCode::TEMPORARY_REDIRECT, &headers, Body::empty());
    }
    let content_range = format!("bytes {start}-{}/{size}", (start + length).saturating_sub(1));
    let length_text = length.to_string();
    let mut headers = vec![
        (header::CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_DIGEST, digest.as_str()),
        (header::ETAG, etag.as_str()),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "max-age=31536000, immutable"),
        (header::CONTENT_LENGTH, length_text.as_str()),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        headers.push((header::CONTENT_RANGE, content_range.as_str()));
    }
    let body = match content {
        _ if call.method == Method::HEAD => Body::empty(),
        Content::Elsewhere(_) => Body::empty(),
        Content::Small(bytes) => Body::from(bytes.slice(start as usize..(start + length) as usize)),
        Content::Coming(body) => body,
        Content::Stored(content) => content.body(start, length, call.outlet),
    };
    answer(status, &headers, body)
}

/// A visible blob: small ones (configs, mostly) from memory.
async fn find(registry: &Registry, name: String, digest: &Digest) -> Result<(u64, Content), Failure> {
    let key = (name, digest.clone());
    if let Some(bytes) = registry.small_blobs().get(&key) {
        return Ok((bytes.len() as u64, Content::Small(bytes)));
    }
    let unknown = Failure::blob_unknown(&key.0, digest);
    let registry = registry.clone();
    let load = blocking(move || {
        let epoch = registry.small_blobs().epoch();
        let Some(size) = registry.meta().blob_size(&key.0, &key.1)? else { return Ok(None) };
        if size > SMALL_BLOB_BYTES_MAX
            && let Some(address) = registry.blobs().address(&key.1)?
        {
            return Ok(Some((size, Content::Elsewhere(address))));
        }
        let Some(content) = registry.blobs().open(&key.1)? else { return Ok(None) };
        if content.size() != size {
            let why = format!("blob {}: {} bytes of {size} are left on the disk", key.1, content.size());
            return Err(Failure::new(Code::Unknown, why));
        }
        if size > SMALL_BLOB_BYTES_MAX {
            return Ok::<_, Failure>(Some((size, Content::Stored(content))));
        }
        let mut bytes = vec![0; size as usize];
        content.read_at(&mut bytes, 0).what(|| format!("read blob {}", key.1))?;
        let bytes = Bytes::from(bytes);
        registry.small_blobs().insert(key, bytes.clone(), epoch);
        Ok(Some((bytes.len() as u64, Content::Small(bytes))))
    });
    load.await?.ok_or(unknown)
}

/// end-10: `DELETE /v2/<name>/blobs/<digest>` takes the blob out of this repository at once; its file is garbage when no
/// repository has it any more.
pub async fn delete(call: Call, name: String, digest: Digest) -> Answer {
    let unknown = Failure::blob_unknown(&name, &digest);
    let removed = blocking(move || {
        let removed = call.registry.meta().unlink_blob(&name, &digest)?;
        call.registry.small_blobs().invalidate(&name);
        Ok::<bool, Failure>(removed)
    });
    if removed.await? {
        answer(StatusCode::ACCEPTED, &[(header::CONTENT_LENGTH, "0")], Body::empty())
    } else {
        Err(unknown)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Requested {
    Whole,
    Part { start: u64, length: u64 },
    Outside,
}

/// Beginning and length of the part of a blob that is asked for.
pub fn requested_part(headers: &HeaderMap, size: u64) -> Option<(u64, u64)> {
    match requested_range(headers, "", size) {
        Requested::Part { start, length } => Some((start, length)),
        Requested::Whole | Requested::Outside => None,
    }
}

/// What the `Range` header asks for. Several ranges, other units and malformed headers mean the whole blob, as RFC 9110
/// allows; so does an `If-Range` that names other content.
fn requested_range(headers: &HeaderMap, etag: &str, size: u64) -> Requested {
    if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Requested::Whole;
    }
    let text = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = text.and_then(|text| text.strip_prefix("bytes=")).and_then(|text| text.split_once('-'))
    else {
        return Requested::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (start, end) = match (number(first), number(last)) {
        (Some(start), Some(end)) if start > end => return Requested::Whole,
        (Some(start), Some(end)) => (start, end.saturating_add(1).min(size)),
        (Some(start), None) if last.trim().is_empty() => (start, size),
        (None, Some(suffix)) if first.trim().is_empty() => {
            (if suffix == 0 { size } else { size.saturating_sub(suffix) }, size)
        }
        _ => return Requested::Whole,
    };
    if start >= size { Requested::Outside } else { Requested::Part { start, length: end - start } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(range: &str, size: u64, expect: Requested) {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        assert_eq!(requested_range(&headers, "\"e\"", size), expect, "{range}");
    }

    #[test]
    fn ranges_are_inclusive_and_cut_at_the_end() {
        check("bytes=0-0", 10, Requested::Part { start: 0, length: 1 });
        check("bytes=5-", 10, Requested::Part { start: 5, length: 5 });
        check("bytes=5-99", 10, Requested::Part { start: 5, length: 5 });
        check("bytes=-3", 10, Requested::Part { start: 7, length: 3 });
        check("bytes=-99", 10, Requested::Part { start: 0, length: 10 });
    }

    #[test]
    fn a_range_behind_the_end_cannot_be_satisfied() {
        check("bytes=10-", 10, Requested::Outside);
        check("bytes=-0", 10, Requested::Outside);
        check("bytes=0-", 0, Requested::Outside);
    }

    #[test]
    fn what_is_no_single_byte_range_means_the_whole_blob() {
        for range in
            ["bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=", "bytes=a-b", "bytes=99999999999999999999999-"]
        {
            check(range, 10, Requested::Whole);
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_within_the_blob(range in "bytes=[0-9]{0,21}-[0-9]{0,21}|[ -~]{0,40}", size in any::<u64>()) {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().unwrap());
            if let Requested::Part { start, length } = requested_range(&headers, "\"e\"", size) {
                prop_assert!(length > 0 && start < size && length <= size - start);
            }
        }
    }
}
