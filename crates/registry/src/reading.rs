//! What strangers send, read as requests read it, and nothing done with it: for fuzzers and the tests of their corpora.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::auth::{jws, scope, shown_user};
use crate::handlers::{Query, requested_part};
use crate::manifest;
use crate::route::{self, Endpoint, ManifestReference};

/// Reads a path; the name of the repository and the reference in it, where it is an endpoint with those.
pub fn path(text: &str) -> Option<(String, Option<String>)> {
    match route::parse(text).ok()? {
        Endpoint::Base | Endpoint::Catalog | Endpoint::Nowhere | Endpoint::Extensions { name: None } => None,
        Endpoint::Extensions { name: Some(name) } | Endpoint::Uploads { name } | Endpoint::Tags { name } => {
            Some((name, None))
        }
        Endpoint::Blob { name, digest } | Endpoint::Referrers { name, digest } => {
            Some((name, Some(digest.to_string())))
        }
        Endpoint::Upload { name, id } => Some((name, Some(id))),
        Endpoint::Manifest { name, reference } => Some((name, Some(reference.as_str().to_owned()))),
    }
}

/// Reads a query; the scopes a token is asked for in it.
pub fn query(text: &str) -> usize {
    let query = Query::parse(text);
    scope::parse(query.all("scope").iter().map(String::as_str)).len()
}

/// Reads a `Range` for a blob of `size` bytes; beginning and length of what is sent in part.
pub fn range(text: &[u8], size: u64) -> Option<(u64, u64)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, HeaderValue::from_bytes(text).ok()?);
    requested_part(&headers, size)
}

/// Reads an `Authorization` header; the user it names, or the issuer of the token that it is.
pub fn authorization(text: &[u8]) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(text).ok()?);
    match shown_user(&headers)? {
        Ok(user) => Some(user),
        Err(token) => jws::Unverified::parse(&token)?.issuer().map(str::to_owned),
    }
}

/// Reads a manifest pushed by tag; its digest and how many descriptors it has.
pub fn manifest(bytes: &[u8]) -> Option<(String, usize)> {
    let parsed = manifest::parse(bytes, None, &ManifestReference::Tag("tag".into())).ok()?;
    Some((parsed.digest.to_string(), parsed.blobs.len() + parsed.children.len()))
}
