//! The web page: what is in the registry, for people.
//!
//! Law: it shows what its reader may pull and nothing else; it needs no script to be read, loads nothing from elsewhere, and
//! its policy forbids any script but its own file. What removes something must come from the page itself.
//! Not here: anything a client of the API needs.

mod content;
mod html;

use std::fmt::Write;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde::Deserialize;

use crate::auth::policy::Action;
use crate::auth::{Auth, Caller, endpoint};
use crate::body::blocking;
use crate::error::{Code, Failure};
use crate::handlers::{self, Query};
use crate::peer;
use crate::route::{self, ManifestReference};
use crate::server::Registry;
use content::{Part, Shown};
use html::{Path, Size, Text, short};
use knarr_spec::Digest;

/// Where the page lives.
pub const ROOT: &str = "/ui/";
/// Rows of a page of repositories or tags.
const ROWS: usize = 100;
/// Repositories looked through for a word in one request.
const SEARCHED_MAX: usize = 20_000;
/// Largest configuration of an image that is read for its platform.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Referrers shown.
const REFERRERS_MAX: usize = 100;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing but our own two files, and forms only to ourselves.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// `[page]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// What stands on top of it.
    pub title: String,
}

impl Default for PageSettings {
    fn default() -> PageSettings {
        PageSettings { enabled: true, title: "knarr registry".into() }
    }
}

/// A request to the page, by somebody who was let in.
pub struct Visit {
    pub registry: Registry,
    pub caller: Caller,
    /// The registry's address, for commands to be copied.
    pub base: String,
}

/// What a path below [`ROOT`] names.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Repositories,
    Login,
    Delete,
    Repository(String),
    Manifest(String, ManifestReference),
}

/// Whether a path is the page's.
pub fn is_here(path: &str) -> bool {
    path == "/" || path == "/ui" || path.starts_with(ROOT)
}

/// The files every page loads, which are for everybody; and the way in.
pub fn file(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let (content_type, text) = match path {
        "/ui/page.css" => ("text/css; charset=utf-8", STYLE),
        "/ui/page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "/" | "/ui" => {
            let mut response = page(StatusCode::SEE_OTHER, String::new());
            response.headers_mut().insert(header::LOCATION, header::HeaderValue::from_static(ROOT));
            return Some(response);
        }
        _ => return None,
    };
    let etag = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = Response::new(Body::from(if known { "" } else { text }));
    *response.status_mut() = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::ETAG, etag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    Some(response)
}

/// Repository and reference of what a visit removed.
type Removed = Option<(String, String)>;

/// Answers a request to the page; says what it removed.
pub async fn answer(visit: Visit, auth: &Auth, request: Request<Body>) -> (Response<Body>, Removed) {
    let refusal = match place(request.uri().path()) {
        Ok(place) => match (request.method(), place) {
            (&Method::GET | &Method::HEAD, Place::Delete) => Failure::new(Code::Unsupported, "a form leads here"),
            (&Method::GET | &Method::HEAD, place) => match show(&visit, place, request.uri().query()).await {
                Ok(response) => return (response, None),
                Err(failure) => failure,
            },
            (&Method::POST, Place::Delete) => match delete(&visit, request).await {
                Ok((response, removed)) => return (response, Some(removed)),
                Err(failure) => failure,
            },
            _ => Failure::new(Code::Unsupported, "the page is only read"),
        },
        Err(failure) => failure,
    };
    (refuse(&visit, auth, refusal), None)
}

/// A refusal as a page. Whoever has given no name is asked for one where that might help.
fn refuse(visit: &Visit, auth: &Auth, failure: Failure) -> Response<Body> {
    let nobody = visit.caller.subject.name.is_none() && !visit.caller.may_everywhere(Action::Pull);
    let failure = match failure.code() {
        Code::Denied if nobody => Failure::new(Code::Unauthorized, "log in to see this")
            .with_header(header::WWW_AUTHENTICATE, auth.basic_challenge()),
        _ => failure,
    };
    let mut body = String::new();
    let _ = write!(body, "<h1>{}</h1><p><a href=\"{ROOT}\">All repositories</a></p>", Text(failure.message()));
    let mut response = failure.into_response();
    let shown = frame(visit, "Not here", &body);
    let headers = shown.headers().clone();
    *response.body_mut() = shown.into_body();
    response.headers_mut().extend(headers);
    response
}

fn place(path: &str) -> Result<Place, Failure> {
    let rest = path.strip_prefix(ROOT).unwrap_or_default();
    let rest = percent_encoding::percent_decode_str(rest).decode_utf8_lossy();
    match &*rest {
        "" => return Ok(Place::Repositories),
        "-/login" => return Ok(Place::Login),
        "-/delete" => return Ok(Place::Delete),
        _ => {}
    }
    if let Some((name, digest)) = rest.split_once('@') {
        return Ok(Place::Manifest(route::name(name)?, ManifestReference::Digest(route::digest(digest)?)));
    }
    if let Some((name, tag)) = rest.split_once(':') {
        return Ok(Place::Manifest(route::name(name)?, ManifestReference::Tag(route::tag(tag)?)));
    }
    route::name(&rest).map(Place::Repository)
}

async fn show(visit: &Visit, place: Place, query: Option<&str>) -> Result<Response<Body>, Failure> {
    let query = Query::parse(query.unwrap_or_default());
    let last = query.get("last").unwrap_or_default().to_owned();
    match place {
        Place::Repositories if !visit.caller.may_somewhere(Action::Pull) => {
            Err(Failure::new(Code::Denied, "you may not see any repository"))
        }
        Place::Repositories => {
            let word = query.get("q").unwrap_or_default().trim().to_owned();
            repositories(visit, last, word).await
        }
        Place::Login | Place::Delete => {
            if visit.caller.subject.name.is_none() {
                return Err(Failure::new(Code::Denied, "log in"));
            }
            let mut response = page(StatusCode::SEE_OTHER, String::new());
            response.headers_mut().insert(header::LOCATION, header::HeaderValue::from_static(ROOT));
            Ok(response)
        }
        Place::Repository(name) => {
            may(visit, Action::Pull, &name)?;
            repository(visit, name, last).await
        }
        Place::Manifest(name, reference) => {
            may(visit, Action::Pull, &name)?;
            manifest(visit, name, reference).await
        }
    }
}

fn may(visit: &Visit, action: Action, repository: &str) -> Result<(), Failure> {
    if visit.caller.may(action, repository) {
        Ok(())
    } else {
        Err(Failure::new(Code::Denied, "you may not see this repository"))
    }
}

async fn repositories(visit: &Visit, last: String, word: String) -> Result<Response<Body>, Failure> {
    let (registry, caller, wanted) = (visit.registry.clone(), visit.caller.clone(), word.to_lowercase());
    let (names, more) = blocking(move || {
        let (mut found, mut last, mut searched) = (Vec::new(), last, 0);
        loop {
            let page = registry.meta().repositories(&last, 1000)?;
            for name in page.entries {
                last.clone_from(&name);
                searched += 1;
                if name.contains(&wanted) && caller.may_list(&name) {
                    found.push(name);
                }
                if found.len() == ROWS || searched == SEARCHED_MAX {
                    return Ok::<_, Failure>((found, Some(last)));
                }
            }
            if !page.more {
                return Ok((found, None));
            }
        }
    })
    .await?;
    let mut body = String::from("<h1>Repositories</h1>");
    let _ = write!(
        body,
        "<form class=\"find\" role=\"search\"><input name=\"q\" type=\"search\" aria-label=\"Part of a name\" \
         placeholder=\"Part of a name\" value=\"{}\"><button>Find</button></form>",
        Text(&word)
    );
    if names.is_empty() {
        let host = host(visit);
        let _ = write!(body, "<p class=\"note\">Nothing here{}.</p>", if word.is_empty() { " yet" } else { "" });
        if word.is_empty() {
            body.push_str("<h2>Push an image</h2>");
            command(&mut body, &format!("docker tag app {host}/team/app:1.0"));
            command(&mut body, &format!("docker push {host}/team/app:1.0"));
        }
    } else {
        body.push_str("<div class=\"table\"><table><thead><tr><th scope=\"col\">Name</th></tr></thead><tbody>");
        for name in &names {
            let _ = write!(body, "<tr><td><a href=\"{ROOT}{}\">{}</a></td></tr>", Path(name), Text(name));
        }
        body.push_str("</tbody></table></div>");
    }
    if let Some(last) = more {
        let _ = write!(
            body,
            "<nav class=\"pages\"><a rel=\"next\" href=\"{ROOT}?last={}&amp;q={}\">Next page</a></nav>",
            Path(&last),
            Path(&word)
        );
    }
    Ok(frame(visit, "Repositories", &body))
}

/// A tag with what its manifest says.
struct TagRow {
    tag: String,
    digest: String,
    shown: Shown,
    platform: Option<String>,
}

async fn repository(visit: &Visit, name: String, last: String) -> Result<Response<Body>, Failure> {
    let (registry, of) = (visit.registry.clone(), name.clone());
    let rows = blocking(move || {
        let Some(page) = registry.meta().tags(&of, &last, ROWS)? else { return Ok::<_, Failure>(None) };
        let mut rows = Vec::new();
        for tag in page.entries {
            if let Some(stored) = registry.meta().manifest(&of, &ManifestReference::Tag(tag.clone()))? {
                let shown = content::read(&stored.bytes);
                let platform = shown.config.as_ref().and_then(|config| platform_of(&registry, &of, config).0);
                rows.push(TagRow { tag, digest: stored.digest, shown, platform });
            }
        }
        Ok(Some((rows, page.more)))
    });
    let unknown = || Failure::new(Code::NameUnknown, format!("no repository {name}"));
    let (rows, more) = rows.await?.ok_or_else(unknown)?;
    let mut body = format!("<h1>{}</h1>", Text(&name));
    if rows.is_empty() {
        body.push_str("<p class=\"note\">No tags.</p>");
    } else {
        body.push_str(
            "<div class=\"table\"><table><thead><tr><th scope=\"col\">Tag</th><th scope=\"col\">Platforms</th>\
             <th scope=\"col\" class=\"n\">Size</th><th scope=\"col\">Digest</th></tr></thead><tbody>",
        );
        for row in &rows {
            let platforms = match &row.platform {
                Some(platform) => platform.clone(),
                None => row
                    .shown
                    .children
                    .iter()
                    .filter_map(|child| child.platform.as_deref())
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            let kind = row.shown.artifact_type.clone().filter(|_| platforms.is_empty()).unwrap_or(platforms);
            let _ = write!(
                body,
                "<tr><td><a href=\"{ROOT}{}:{}\">{}</a></td><td><bdi>{}</bdi></td><td class=\"n\">{}</td><td><code>{}</code></td></tr>",
                Path(&name),
                Path(&row.tag),
                Text(&row.tag),
                Text(&kind),
                size_of(&row.shown),
                Text(short(&row.digest))
            );
        }
        body.push_str("</tbody></table></div>");
    }
    if let Some(row) = rows.last().filter(|_| more) {
        let _ = write!(
            body,
            "<nav class=\"pages\"><a rel=\"next\" href=\"{ROOT}{}?last={}\">Next page</a></nav>",
            Path(&name),
            Path(&row.tag)
        );
    }
    if let Some(row) = rows.first() {
        body.push_str("<h2>Pull</h2>");
        command(&mut body, &format!("docker pull {}/{name}:{}", host(visit), row.tag));
    }
    Ok(frame(visit, &name, &body))
}

/// Indexes have no size of their own: their images do.
fn size_of(shown: &Shown) -> String {
    if shown.children.is_empty() {
        Size(shown.bytes).to_string()
    } else {
        format!("{} manifests", shown.children.len())
    }
}

/// Platform and time of an image, from its configuration, if that is here and of a reasonable size.
fn platform_of(registry: &Registry, repository: &str, config: &Part) -> (Option<String>, Option<String>) {
    let read = || {
        let digest: Digest = config.digest.parse().ok()?;
        let size = registry.meta().blob_size(repository, &digest).ok()??;
        let stored = registry.blobs().open(&digest).ok()?.filter(|_| size <= CONFIG_BYTES_MAX)?;
        let mut bytes = vec![0; size as usize];
        stored.read_at(&mut bytes, 0).ok()?;
        Some(content::config(&bytes))
    };
    if config.media_type.contains("config") || config.media_type.contains("container.image") {
        read().unwrap_or_default()
    } else {
        (None, None)
    }
}

async fn manifest(visit: &Visit, name: String, reference: ManifestReference) -> Result<Response<Body>, Failure> {
    let (registry, of, wanted) = (visit.registry.clone(), name.clone(), reference.clone());
    let found = blocking(move || {
        let Some(stored) = registry.meta().manifest(&of, &wanted)? else { return Ok::<_, Failure>(None) };
        let shown = content::read(&stored.bytes);
        let (platform, created) =
            shown.config.as_ref().map_or((None, None), |config| platform_of(&registry, &of, config));
        let referrers = match stored.digest.parse() {
            Ok(digest) => registry.meta().referrers(&of, &digest, None, "", REFERRERS_MAX)?.entries,
            Err(_) => Vec::new(),
        };
        Ok(Some((stored, shown, platform, created, referrers)))
    });
    let unknown = || Failure::new(Code::ManifestUnknown, format!("no manifest {} in {name}", reference.as_str()));
    let (stored, shown, platform, created, referrers) = found.await?.ok_or_else(unknown)?;
    let (join, text) = match &reference {
        ManifestReference::Tag(tag) => (':', tag.as_str()),
        ManifestReference::Digest(digest) => ('@', digest.as_str()),
    };
    let mut body = format!(
        "<p><a href=\"{ROOT}{}\">{}</a></p><h1>{}{join}{}</h1><dl>",
        Path(&name),
        Text(&name),
        Text(&name),
        Text(text)
    );
    fact(&mut body, "Digest", &stored.digest);
    fact(&mut body, "Media type", &stored.media_type);
    for (label, value) in [("Artifact type", &shown.artifact_type), ("Platform", &platform), ("Made", &created)] {
        if let Some(value) = value {
            fact(&mut body, label, value);
        }
    }
    if shown.children.is_empty() {
        fact(&mut body, "Size", &Size(shown.bytes).to_string());
    }
    if let Some(subject) = &shown.subject {
        let _ = write!(
            body,
            "<dt>Refers to</dt><dd><a href=\"{ROOT}{}@{}\"><code>{}</code></a></dd>",
            Path(&name),
            Path(subject),
            Text(subject)
        );
    }
    let _ = write!(
        body,
        "<dt>As pushed</dt><dd><a href=\"/v2/{}/manifests/{}\">manifest</a>, {}</dd></dl>",
        Path(&name),
        Path(&stored.digest),
        Size(stored.bytes.len() as u64)
    );
    pull_commands(&mut body, &format!("{}/{name}{join}{text}", host(visit)), shown.artifact_type.is_some());
    children(&mut body, &name, &shown);
    layers(&mut body, &name, &shown);
    if shown.left_out > 0 {
        let _ = write!(body, "<p class=\"soft\">{} more are not shown.</p>", shown.left_out);
    }
    if !referrers.is_empty() {
        body.push_str("<h2>Referrers</h2><div class=\"table\"><table><thead><tr><th scope=\"col\">Type</th><th scope=\"col\">Digest</th>\
                       <th scope=\"col\">Annotations</th></tr></thead><tbody>");
        for one in &referrers {
            let kind = one.artifact_type.as_deref().unwrap_or(&one.media_type);
            let _ = write!(
                body,
                "<tr><td><bdi>{}</bdi></td><td><a href=\"{ROOT}{}@{}\"><code>{}</code></a></td><td>",
                Text(kind),
                Path(&name),
                Path(&one.digest),
                Text(short(&one.digest))
            );
            let notes = one.annotations.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            for (key, value) in content::annotations(&notes) {
                let _ = write!(body, "<div><bdi>{}</bdi>: <bdi>{}</bdi></div>", Text(&key), Text(&value));
            }
            body.push_str("</td></tr>");
        }
        body.push_str("</tbody></table></div>");
    }
    if !shown.annotations.is_empty() {
        body.push_str("<h2>Annotations</h2><dl>");
        for (key, value) in &shown.annotations {
            fact(&mut body, key, value);
        }
        body.push_str("</dl>");
    }
    if visit.caller.may(Action::Delete, &name) {
        delete_form(&mut body, &name, &reference);
    }
    Ok(frame(visit, &format!("{name}{join}{text}"), &body))
}

fn pull_commands(body: &mut String, reference: &str, artifact: bool) {
    body.push_str("<h2>Pull</h2>");
    if artifact {
        return command(body, &format!("oras pull {reference}"));
    }
    for tool in ["docker pull", "podman pull", "knarr pull", "crane pull"] {
        let tail = if tool == "crane pull" { " image.tar" } else { "" };
        command(body, &format!("{tool} {reference}{tail}"));
    }
}

fn children(body: &mut String, name: &str, shown: &Shown) {
    if shown.children.is_empty() {
        return;
    }
    body.push_str("<h2>Platforms</h2><div class=\"table\"><table><thead><tr><th scope=\"col\">Platform</th><th scope=\"col\">Digest</th>\
                   <th scope=\"col\">Media type</th></tr></thead><tbody>");
    for child in &shown.children {
        let _ = write!(
            body,
            "<tr><td><bdi>{}</bdi></td><td><a href=\"{ROOT}{}@{}\"><code>{}</code></a></td><td>{}</td></tr>",
            Text(child.platform.as_deref().unwrap_or("unknown")),
            Path(name),
            Path(&child.digest),
            Text(short(&child.digest)),
            Text(&child.media_type)
        );
    }
    body.push_str("</tbody></table></div>");
}

fn layers(body: &mut String, name: &str, shown: &Shown) {
    if shown.layers.is_empty() && shown.config.is_none() {
        return;
    }
    body.push_str("<h2>Layers</h2><div class=\"table\"><table><thead><tr><th scope=\"col\">Blob</th><th scope=\"col\">Media type</th>\
                   <th scope=\"col\" class=\"n\">Size</th></tr></thead><tbody>");
    for part in shown.config.iter().chain(&shown.layers) {
        let title = part.title.as_deref().unwrap_or_default();
        let _ = write!(
            body,
            "<tr><td><a href=\"/v2/{}/blobs/{}\" download><code>{}</code></a> <bdi>{}</bdi></td><td><bdi>{}</bdi></td><td class=\"n\">{}</td></tr>",
            Path(name),
            Path(&part.digest),
            Text(short(&part.digest)),
            Text(title),
            Text(&part.media_type),
            Size(part.size)
        );
    }
    body.push_str("</tbody></table></div>");
}

fn delete_form(body: &mut String, name: &str, reference: &ManifestReference) {
    let (what, explained) = match reference {
        ManifestReference::Tag(_) => ("tag", "The tag goes; the manifest stays, and can be pulled by its digest."),
        ManifestReference::Digest(_) => ("manifest", "The manifest goes, and every tag that points to it."),
    };
    let _ = write!(
        body,
        "<details><summary>Delete this {what}</summary><form method=\"post\" action=\"{ROOT}-/delete\"><p>{explained}</p>\
         <input type=\"hidden\" name=\"repository\" value=\"{}\"><input type=\"hidden\" name=\"reference\" value=\"{}\">\
         <button class=\"bad\">Delete {}</button></form></details>",
        Text(name),
        Text(reference.as_str()),
        Text(reference.as_str())
    );
}

/// Removes what a form of ours names.
async fn delete(visit: &Visit, request: Request<Body>) -> Result<(Response<Body>, (String, String)), Failure> {
    let (parts, body) = request.into_parts();
    if !is_from_ourselves(&parts.headers) {
        return Err(
            Failure::new(Code::Unsupported, "this form did not come from this page").with_status(StatusCode::FORBIDDEN)
        );
    }
    let form = endpoint::form(&parts.headers, body).await?;
    let name = route::name(form.get("repository").unwrap_or_default())?;
    let reference = route::manifest_reference(form.get("reference").unwrap_or_default())?;
    if !visit.caller.may(Action::Delete, &name) {
        return Err(Failure::new(Code::Denied, "you may not delete this"));
    }
    let removed = (name.clone(), reference.as_str().to_owned());
    handlers::remove_manifest(&visit.registry, &name, reference).await?;
    let mut response = page(StatusCode::SEE_OTHER, String::new());
    if let Ok(location) = header::HeaderValue::from_str(&format!("{ROOT}{}", Path(&name))) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok((response, removed))
}

/// Browsers say where a form came from, in a header no page can forge; who says nothing is no browser and has the API.
fn is_from_ourselves(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let host_of_origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host.to_owned());
    host_of_origin.is_some() && host_of_origin == peer::host(headers)
}

fn fact(body: &mut String, label: &str, value: &str) {
    let _ = write!(body, "<dt><bdi>{}</bdi></dt><dd><bdi>{}</bdi></dd>", Text(label), Text(value));
}

fn command(body: &mut String, text: &str) {
    let _ = write!(body, "<div class=\"copy\"><pre tabindex=\"0\">{}</pre></div>", Text(text));
}

/// What stands in front of a repository's name.
fn host(visit: &Visit) -> &str {
    visit.base.split_once("://").map_or(visit.base.as_str(), |(_, host)| host)
}

fn frame(visit: &Visit, title: &str, body: &str) -> Response<Body> {
    let settings = visit.registry.settings();
    let name = &settings.page.title;
    let who = match &visit.caller.subject.name {
        Some(name) => format!("<bdi>{}</bdi>", Text(name)),
        None if settings.asks_for_names() => format!("<a href=\"{ROOT}-/login\">Log in</a>"),
        None => String::new(),
    };
    let text = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{} · {}</title><link rel=\"stylesheet\" href=\"{ROOT}page.css\"><script src=\"{ROOT}page.js\" defer></script></head>\
         <body><a class=\"skip\" href=\"#main\">To the content</a><header><strong><a href=\"{ROOT}\">{}</a></strong>\
         <span class=\"who\">{who}</span></header><main id=\"main\">{body}</main></body></html>",
        Text(title),
        Text(name),
        Text(name)
    );
    page(StatusCode::OK, text)
}

fn page(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With `no-referrer` browsers would hide where a form came from.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "private, no-store"),
    ] {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_place_or_nothing() {
        assert_eq!(place("/ui/").unwrap(), Place::Repositories);
        assert_eq!(place("/ui/a/b").unwrap(), Place::Repository("a/b".into()));
        assert_eq!(place("/ui/a/b:v1").unwrap(), Place::Manifest("a/b".into(), ManifestReference::Tag("v1".into())));
        for hostile in ["/ui/A", "/ui/a/../b", "/ui/%3Cscript%3E", "/ui/a:%22", "/ui/a@sha256:12", "/ui/-/x"] {
            assert!(place(hostile).is_err(), "{hostile}");
        }
    }

    #[test]
    fn a_form_from_elsewhere_is_known_as_one() {
        let check = |pairs: &[(&'static str, &str)], expect| {
            let headers: HeaderMap = pairs
                .iter()
                .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(is_from_ourselves(&headers), expect, "{pairs:?}");
        };
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "cross-site"), ("origin", "http://r"), ("host", "r")], false);
        check(&[("origin", "http://r:5000"), ("host", "r:5000")], true);
        check(&[("origin", "http://evil"), ("host", "r")], false);
        check(&[("origin", "null"), ("host", "null")], false);
        check(&[("host", "r")], false);
    }
}
