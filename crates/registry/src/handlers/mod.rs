//! Endpoints: decode, act, encode. One file per noun.

mod blob;
mod listing;
mod manifest;
mod upload;

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

use crate::error::{Code, Failure};
use crate::route::{self, Endpoint};
use crate::server::Registry;

/// Every answer of a handler.
pub type Answer = Result<Response<Body>, Failure>;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// One request, its path already read.
pub struct Call {
    pub registry: Registry,
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Query,
    pub body: Body,
}

/// Answers any request.
pub async fn handle(registry: Registry, request: Request<Body>) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let mut response = dispatch(registry, request).await.unwrap_or_else(Failure::into_response);
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    if head {
        let body = std::mem::take(response.body_mut());
        if !response.headers().contains_key(header::CONTENT_LENGTH)
            && let Some(length) = axum::body::HttpBody::size_hint(&body).exact()
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    response
}

async fn dispatch(registry: Registry, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let endpoint = route::parse(parts.uri.path())?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let call = Call { registry, method: parts.method, headers: parts.headers, query, body };
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
    fn parse(text: &str) -> Query {
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
fn answer(status: StatusCode, headers: &[(HeaderName, &str)], body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Failure::new(Code::Unknown, format!("{name}: not a header value: {value:?}")))?;
        response.headers_mut().append(name.clone(), value);
    }
    Ok(response)
}

fn json(status: StatusCode, body: impl Into<String>) -> Answer {
    answer(status, &[(header::CONTENT_TYPE, "application/json")], Body::from(body.into()))
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn parameters_repeat_and_are_decoded() {
        let query = Query::parse("tag=a&tag=b%2Bc&digest=sha256%3Aabc&empty");
        assert_eq!(query.all("tag"), ["a", "b+c"]);
        assert_eq!((query.get("digest"), query.get("empty"), query.get("none")), (Some("sha256:abc"), Some(""), None));
    }
}
