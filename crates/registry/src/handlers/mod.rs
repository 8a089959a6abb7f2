//! Endpoints: decode, act, encode. One file per noun.

mod blob;
mod listing;
mod manifest;
mod upload;

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

pub use blob::requested_part;
pub use listing::descriptor;
pub use manifest::remove as remove_manifest;

use crate::auth::Caller;
use crate::error::{Code, Failure};
use crate::outlet::Outlet;
use crate::route::Endpoint;
use crate::server::Registry;

/// Every answer of a handler.
pub type Answer = Result<Response<Body>, Failure>;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// One request, its path already read.
pub struct Call {
    pub registry: Registry,
    pub caller: Caller,
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Query,
    pub body: Body,
    /// Where files can be sent from.
    pub outlet: Option<Outlet>,
}

/// Answers a request that was let in, for an endpoint that was read from its path.
pub async fn handle(
    registry: Registry,
    caller: Caller,
    outlet: Option<Outlet>,
    endpoint: Endpoint,
    request: Request<Body>,
) -> Response<Body> {
    let method = request.method().clone();
    let response = dispatch(registry, caller, outlet, endpoint, request).await.unwrap_or_else(Failure::into_response);
    finish(response, &method)
}

/// What every answer of the API has in common.
pub fn finish(mut response: Response<Body>, method: &Method) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    // Content is what strangers pushed, under a media type they chose: a browser must neither run nor guess it, since our
    // own page has the same origin.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    if *method == Method::HEAD {
        let body = std::mem::take(response.body_mut());
        if !response.headers().contains_key(header::CONTENT_LENGTH)
            && let Some(length) = axum::body::HttpBody::size_hint(&body).exact()
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    response
}

async fn dispatch(
    registry: Registry,
    caller: Caller,
    outlet: Option<Outlet>,
    endpoint: Endpoint,
    request: Request<Body>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let call = Call { registry, caller, method: parts.method, headers: parts.headers, query, body, outlet };
    match (call.method.as_str(), endpoint) {
        ("GET" | "HEAD", Endpoint::Base) => json(StatusCode::OK, "{}"),
        ("GET", Endpoint::Catalog) => listing::catalog(call).await,
        ("GET", Endpoint::Extensions { name }) => listing::extensions(name),
        ("GET" | "HEAD", Endpoint::Blob { name, digest }) => blob::get(call, name, digest).await,
        ("DELETE", Endpoint::Blob { name, digest }) => blob::delete(call, name, digest).await,
        ("POST", Endpoint::Uploads { name }) => upload::post(call, name).await,
        ("GET", Endpoint::Upload { name, id }) => upload::status(call, name, id).await,
        ("PATCH", Endpoint::Upload { name, id }) => upload::patch(call, name, id).await,
        ("PUT", Endpoint::Upload { name, id }) => upload::put(call, name, id).await,
        ("DELETE", Endpoint::Upload { name, id }) => upload::cancel(call, name, id).await,
        ("GET" | "HEAD", Endpoint::Manifest { name, reference }) => manifest::get(call, name, reference).await,
        ("PUT", Endpoint::Manifest { name, reference }) => manifest::put(call, name, reference).await,
        ("DELETE", Endpoint::Manifest { name, reference }) => manifest::delete(call, name, reference).await,
        ("GET", Endpoint::Tags { name }) => listing::tags(call, name).await,
        ("GET", Endpoint::Referrers { name, digest }) => listing::referrers(call, name, digest).await,
        (_, Endpoint::Nowhere) => Err(Failure::new(Code::NameUnknown, "no such endpoint")),
        (method, _) => Err(Failure::new(Code::Unsupported, format!("{method} is not supported here"))),
    }
}

/// Decoded query parameters; a name may come several times.
pub struct Query(HashMap<String, Vec<String>>);

impl Query {
    /// Reads the part of an address behind the question mark, or a form.
    pub fn parse(text: &str) -> Query {
        let decode =
            |part: &str| percent_encoding::percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.entry(decode(name)).or_default().push(decode(value));
        }
        Query(values)
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    /// All values of `name`.
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// An answer from a status, headers and a body.
pub fn answer(status: StatusCode, headers: &[(HeaderName, &str)], body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Failure::new(Code::Unknown, format!("{name}: not a header value: {value:?}")))?;
        response.headers_mut().append(name.clone(), value);
    }
    Ok(response)
}

pub fn json(status: StatusCode, body: impl Into<String>) -> Answer {
    answer(status, &[(header::CONTENT_TYPE, "application/json")], Body::from(body.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Query;

    #[test]
    fn parameters_repeat_and_are_decoded() {
        let query = Query::parse("tag=a&tag=b%2Bc&digest=sha256%3Aabc&empty");
        assert_eq!(query.all("tag"), ["a", "b+c"]);
        assert_eq!((query.get("digest"), query.get("empty"), query.get("none")), (Some("sha256:abc"), Some(""), None));
    }

    proptest! {
        #[test]
        fn no_query_brings_the_reader_down(text in "\\PC{0,60}|([a-z]{0,3}[=&%+][0-9a-fA-F]{0,3}){0,20}") {
            let query = Query::parse(&text);
            prop_assert!(query.all("tag").len() <= text.len());
        }
    }
}
