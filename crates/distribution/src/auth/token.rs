//! Answers to challenges: `Basic`, and `Bearer` tokens from a token server.
//!
//! Spec: Docker's token.md (GET with Basic) and oauth.md (POST with a refresh token).
//! Law: a password or refresh token goes over http only to a registry that is spoken to over http itself, or is marked
//! insecure. A password is not sent where a redirect leads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::Credentials;
use super::challenge::Challenge;
use crate::http::{Body, Http, Request, Trust, host_of, is_loopback};
use crate::{Problem, limits};

/// What token servers know us as.
const CLIENT_ID: &str = "knarr";

/// The answer of a token server; old ones say `token`, OAuth ones `access_token`.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Whom a token is wanted from, and what for.
pub(crate) struct Asked<'a> {
    pub(crate) http: &'a Http,
    /// Any URL of the registry that challenged us.
    pub(crate) registry: &'a Url,
    pub(crate) trust: Trust,
    pub(crate) credentials: Option<&'a Credentials>,
    /// The scopes that are needed, whatever the challenge names; empty where the challenge alone decides.
    pub(crate) scopes: &'a [String],
}

impl Asked<'_> {
    /// The `Authorization` that answers the best of `challenges`; `None` where there is none we could answer.
    pub(crate) fn answer(&self, challenges: &[Challenge]) -> Result<Option<HeaderValue>, Problem> {
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(Credentials::RegistryToken(token)) = self.credentials {
            return self.bearer(token).map(Some);
        }
        if let Some(challenge) = find("bearer") {
            return self.bearer(&self.token(challenge)?).map(Some);
        }
        match (find("basic"), self.credentials) {
            (Some(_), Some(Credentials::Password { user, password })) => Ok(Some(basic(user, password))),
            _ => Ok(None),
        }
    }

    /// The scopes of the challenge, and ours that they do not contain.
    fn wanted(&self, challenged: &str) -> String {
        let mut scopes: Vec<&str> = challenged.split(' ').filter(|scope| !scope.is_empty()).collect();
        for scope in self.scopes {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        scopes.join(" ")
    }

    fn bearer(&self, token: &str) -> Result<HeaderValue, Problem> {
        let unusable = |_| self.protocol("a token that is no header value".to_owned());
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(unusable)?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn token(&self, challenge: &Challenge) -> Result<String, Problem> {
        let realm = challenge.param("realm").unwrap_or_default();
        let realm = Url::parse(realm).map_err(|_| self.protocol(format!("token realm {realm:?} is no URL")))?;
        self.check_realm(&realm)?;
        let service = challenge.param("service").unwrap_or_default();
        let scope = &self.wanted(challenge.param("scope").unwrap_or_default());
        let request = match self.credentials {
            Some(Credentials::IdentityToken(token)) => self.refresh_request(realm, service, scope, token),
            _ => self.token_request(realm, service, scope),
        };
        self.fetch(&request)
    }

    /// The realm comes from whoever answered at the registry's address.
    fn check_realm(&self, realm: &Url) -> Result<(), Problem> {
        let plain_registry = self.registry.scheme() == "http" || self.trust == Trust::Insecure;
        match realm.scheme() {
            "https" => Ok(()),
            "http" if plain_registry || is_loopback(realm) || self.credentials.is_none() => Ok(()),
            _ => Err(self.protocol(format!("token realm {realm} would see the credentials without encryption"))),
        }
    }

    fn token_request(&self, mut realm: Url, service: &str, scope: &str) -> Request<'static> {
        let mut request_authorization = None;
        {
            let mut query = realm.query_pairs_mut();
            query.append_pair("service", service);
            // Several scopes stand in one parameter, divided by spaces, and are sent as several.
            for one in scope.split(' ').filter(|one| !one.is_empty()) {
                query.append_pair("scope", one);
            }
            if let Some(Credentials::Password { user, password }) = self.credentials {
                query.append_pair("account", user);
                request_authorization = Some(basic(user, password));
            }
        }
        Request { authorization: request_authorization, ..Request::get(realm, self.trust) }
    }

    fn refresh_request(&self, realm: Url, service: &str, scope: &str, token: &str) -> Request<'static> {
        let mut body = Url::parse("form:").expect("a constant URL");
        body.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service)
            .append_pair("scope", scope)
            .append_pair("client_id", CLIENT_ID)
            .append_pair("refresh_token", token);
        let form = body.query().unwrap_or_default().to_owned();
        Request { method: Method::POST, body: Body::Form(form), ..Request::get(realm, self.trust) }
    }

    fn fetch(&self, request: &Request<'_>) -> Result<String, Problem> {
        let answer = self.http.send(request)?;
        let (status, host) = (answer.status(), answer.host().to_owned());
        let url = answer.shown_url();
        let body = answer.document(limits::ANSWER_BYTES_MAX)?;
        match status.as_u16() {
            200..=299 => {}
            400 | 401 | 403 => {
                return Err(Problem::Unauthorized { host, message: "incorrect username or password".to_owned() });
            }
            _ => {
                let (code, status) = (status.as_u16(), status.to_string());
                return Err(Problem::Status { url, code, status, message: String::new(), wait: None });
            }
        }
        let malformed = |source| Problem::Malformed { what: "token", source };
        let answer: Answer = serde_json::from_slice(&body).map_err(malformed)?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        token.ok_or_else(|| self.protocol("the token server answered without a token".to_owned()))
    }

    fn protocol(&self, what: String) -> Problem {
        Problem::Protocol { host: host_of(self.registry), what }
    }
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 is a header value");
    value.set_sensitive(true);
    value
}
