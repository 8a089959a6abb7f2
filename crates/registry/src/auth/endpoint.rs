//! `/token`: passwords and refresh tokens to access tokens.
//!
//! Spec: distribution's token.md (`GET`) and oauth.md (`POST`). Law: who gives no password gets a token for what everybody may
//! do; who gives a wrong one gets none.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::json;

use super::{Auth, Caller, Refusal, Tokens, required::Required, scope};
use crate::error::{Code, Failure};
use crate::handlers::Query;
use crate::log;

/// Longest form accepted: 64 scopes of the longest names.
const FORM_BYTES_MAX: usize = 32 * 1024;
/// A form that has not arrived after this time is given up.
const FORM_TIME_MAX: Duration = Duration::from_secs(10);

/// What was asked of the token endpoint, and the answer.
pub struct Outcome {
    /// Whom it was about, where that is known.
    pub caller: Option<Caller>,
    /// Why nobody was let in.
    pub refusal: Option<Refusal>,
    pub answer: Result<Response<Body>, Failure>,
}

impl Outcome {
    fn failed(failure: Failure) -> Outcome {
        Outcome { caller: None, refusal: None, answer: Err(failure) }
    }
}

/// Answers a request for a token.
pub async fn token(auth: &Arc<Auth>, request: Request<Body>, certificate: Option<&str>, base: &str) -> Outcome {
    let (parts, body) = request.into_parts();
    match parts.method {
        Method::GET => {
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            let offline = query.get("offline_token") == Some("true");
            // A token of ours must not lead to one that grants more.
            let caller = match auth.authenticate(&parts.headers, certificate).await {
                Ok(caller) if caller.is_bearer() => Err(Refusal::Credentials("a token is not given for a token")),
                other => other,
            };
            finish(auth, caller, &query, offline, base, |tokens| {
                let mut answer = json!({"token": tokens.token, "access_token": tokens.token,
                                        "expires_in": tokens.lifetime_s, "issued_at": log::now()});
                if let Some(refresh) = &tokens.refresh_token {
                    answer["refresh_token"] = json!(refresh);
                }
                answer
            })
        }
        Method::POST => match form(&parts.headers, body).await {
            Ok(form) => by_form(auth, &form, base).await,
            Err(failure) => Outcome::failed(failure),
        },
        _ => Outcome::failed(Failure::new(Code::Unsupported, "a token is asked for with GET or POST")),
    }
}

async fn by_form(auth: &Arc<Auth>, form: &Query, base: &str) -> Outcome {
    let bad = |why: &str| Outcome::failed(Failure::new(Code::Unsupported, why).with_status(StatusCode::BAD_REQUEST));
    let mut offline = form.get("access_type") == Some("offline");
    let given = form.get("refresh_token").map(str::to_owned);
    let caller = match (form.get("grant_type"), &given) {
        (Some("password"), _) => {
            let (Some(user), Some(password)) = (form.get("username"), form.get("password")) else {
                return bad("grant_type password needs username and password");
            };
            auth.by_password(user.to_owned(), password).await
        }
        (Some("refresh_token"), Some(token)) => {
            offline = true;
            auth.by_refresh_token(token)
        }
        (Some("refresh_token"), None) => return bad("grant_type refresh_token needs refresh_token"),
        _ => return bad("grant_type must be password or refresh_token"),
    };
    finish(auth, caller, form, offline, base, |tokens| {
        let mut answer = json!({"access_token": tokens.token, "scope": tokens.granted,
                                "expires_in": tokens.lifetime_s, "issued_at": log::now()});
        // The one that was given goes on to hold (oauth.md); a new one would never end.
        if let Some(refresh) = given.or_else(|| tokens.refresh_token.clone()) {
            answer["refresh_token"] = json!(refresh);
        }
        answer
    })
}

fn finish(
    auth: &Arc<Auth>,
    caller: Result<Caller, Refusal>,
    parameters: &Query,
    offline: bool,
    base: &str,
    render: impl FnOnce(&Tokens) -> serde_json::Value,
) -> Outcome {
    let caller = match caller {
        Ok(caller) => caller,
        Err(refusal) => {
            let failure = auth.refuse(&refusal, &Required::Entry, base);
            let failure = failure.with_header(header::WWW_AUTHENTICATE, auth.basic_challenge());
            return Outcome { caller: None, refusal: Some(refusal), answer: Err(failure) };
        }
    };
    let ours = auth.issuer.as_ref().map(|issuer| issuer.service());
    let answer = match parameters.get("service") {
        Some(service) if ours.is_some_and(|ours| ours != service) => {
            Err(Failure::new(Code::Unsupported, "tokens are given for this registry's own service only")
                .with_status(StatusCode::BAD_REQUEST))
        }
        _ => {
            let asked = scope::parse(parameters.all("scope").iter().map(String::as_str));
            auth.tokens(&caller, &asked, offline).map(|tokens| {
                let mut response = Response::new(Body::from(render(&tokens).to_string()));
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
                headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
                response
            })
        }
    };
    Outcome { caller: Some(caller), refusal: None, answer }
}

/// A form of bounded size that arrives within a bounded time.
pub async fn form(headers: &HeaderMap, body: Body) -> Result<Query, Failure> {
    let bad = |why: &str, status| Failure::new(Code::Unsupported, why).with_status(status);
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(bad("expected application/x-www-form-urlencoded", StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let collected = tokio::time::timeout(FORM_TIME_MAX, Limited::new(body, FORM_BYTES_MAX).collect()).await;
    match collected {
        Ok(Ok(bytes)) => match std::str::from_utf8(&bytes.to_bytes()) {
            Ok(text) => Ok(Query::parse(text)),
            Err(_) => Err(bad("the form is not UTF-8", StatusCode::BAD_REQUEST)),
        },
        Ok(Err(_)) => Err(bad("the form is too long or broke off", StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_) => Err(bad("the form did not arrive in time", StatusCode::REQUEST_TIMEOUT)),
    }
}
