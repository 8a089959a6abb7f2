//! Lists: tags (end-8), referrers (end-12), the catalog and the extensions.

use axum::body::Body;
use axum::http::{HeaderName, StatusCode, header};
use knarr_spec::{Digest, media_type};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Answer, Call, answer};
use crate::body::blocking;
use crate::error::{Code, Failure};
use crate::limits::PAGE_ENTRIES_MAX;
use crate::metadata::{Page, Referrer};
use crate::mirror;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// end-8: `GET /v2/<name>/tags/list?n=&last=`
pub async fn tags(call: Call, name: String) -> Answer {
    let unknown = Failure::name_unknown(&name);
    let (limit, last) = (limit(&call)?, call.query.get("last").unwrap_or_default().to_owned());
    let page = match mirror::tags(&call.registry, &name).await {
        Some(tags) => {
            let behind = tags.partition_point(|tag| *tag <= last);
            Page::of(tags[behind..].iter().take(limit + 1).cloned().collect(), limit)
        }
        None => {
            let (registry, repository) = (call.registry.clone(), name.clone());
            let page = blocking(move || registry.meta().tags(&repository, &last, limit));
            page.await.map_err(Failure::from)?.ok_or(unknown)?
        }
    };
    let next = page.entries.last().filter(|_| page.more);
    let link = next.map(|last| format!("/v2/{name}/tags/list?n={limit}&last={}", encoded(last)));
    paged(json!({"name": name, "tags": page.entries}), "application/json", link, &[])
}

/// `GET /v2/_catalog?n=&last=`
pub async fn catalog(call: Call) -> Answer {
    let (limit, last) = (limit(&call)?, call.query.get("last").unwrap_or_default().to_owned());
    let registry = call.registry.clone();
    let mut page = blocking(move || registry.meta().repositories(&last, limit)).await.map_err(Failure::from)?;
    let next = page.entries.last().filter(|_| page.more);
    let link = next.map(|last| format!("/v2/_catalog?n={limit}&last={}", encoded(last)));
    // A page may hold fewer names than was asked for; the link leads on all the same.
    page.entries.retain(|name| call.caller.may_list(name));
    paged(json!({"repositories": page.entries}), "application/json", link, &[])
}

/// end-12: `GET /v2/<name>/referrers/<digest>?artifactType=`, an index that is always there.
pub async fn referrers(call: Call, name: String, subject: Digest) -> Answer {
    let artifact_type = call.query.get("artifactType").filter(|text| !text.is_empty()).map(str::to_owned);
    let last = call.query.get("last").unwrap_or_default().to_owned();
    let (registry, repository, digest, filter) =
        (call.registry.clone(), name.clone(), subject.clone(), artifact_type.clone());
    let page =
        blocking(move || registry.meta().referrers(&repository, &digest, filter.as_deref(), &last, PAGE_ENTRIES_MAX));
    let page = page.await.map_err(Failure::from)?;
    let next = page.entries.last().filter(|_| page.more);
    let link = next.map(|last| {
        let filter = artifact_type.as_deref().map_or(String::new(), |text| format!("artifactType={}&", encoded(text)));
        format!("/v2/{name}/referrers/{subject}?{filter}last={}", encoded(&last.digest))
    });
    let manifests: Vec<Value> = page.entries.iter().map(descriptor).collect();
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
    let filters: &[_] = if artifact_type.is_some() { &[(FILTERS_APPLIED, "artifactType")] } else { &[] };
    paged(index, media_type::OCI_INDEX, link, filters)
}

/// A referrer as an entry of an index.
pub fn descriptor(referrer: &Referrer) -> Value {
    let mut descriptor = json!({"mediaType": referrer.media_type, "digest": referrer.digest, "size": referrer.size});
    if let Some(artifact_type) = &referrer.artifact_type {
        descriptor["artifactType"] = json!(artifact_type);
    }
    if let Some(annotations) = referrer.annotations.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok())
    {
        descriptor["annotations"] = annotations;
    }
    descriptor
}

/// `GET /v2/_oci/ext/discover` and its form per repository: none beyond the catalog.
pub fn extensions(_name: Option<String>) -> Answer {
    let catalog = json!({"name": "_catalog", "url": "https://distribution.github.io/distribution/spec/api/#catalog",
                         "description": "lists the repositories", "endpoints": ["/v2/_catalog"]});
    paged(json!({"extensions": [catalog]}), "application/json", None, &[])
}

/// The `n` parameter: absent means a full page, and more than a full page is never given.
fn limit(call: &Call) -> Result<usize, Failure> {
    match call.query.get("n") {
        None => Ok(PAGE_ENTRIES_MAX),
        Some(text) => match text.parse::<usize>() {
            Ok(number) => Ok(number.min(PAGE_ENTRIES_MAX)),
            Err(_) => Err(Failure::new(Code::Unsupported, format!("n must be a number, not {text:?}"))
                .with_status(StatusCode::BAD_REQUEST)),
        },
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn paged(document: Value, content_type: &str, next: Option<String>, more: &[(HeaderName, &str)]) -> Answer {
    let link = next.map(|next| format!("<{next}>; rel=\"next\""));
    let mut headers = vec![(header::CONTENT_TYPE, content_type)];
    headers.extend(link.iter().map(|link| (header::LINK, link.as_str())));
    headers.extend(more.iter().cloned());
    answer(StatusCode::OK, &headers, Body::from(document.to_string()))
}
