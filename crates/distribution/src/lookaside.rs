//! Where signatures lie that registries do not hold: the lookaside storage of registries.d.
//!
//! Spec: containers-registries.d(5); `<base>/<repository>@<algorithm>=<hex>/signature-<n>`, n from 1 until there is none.
//! Law: pure but for [`signatures`], which reads what others wrote and believes nothing of it, and [`write`], which replaces nothing.
//! Not here: reading registries.d (the caller), what a signature is worth (`policy`).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use knarr_spec::{Digest, Reference};
use reqwest::{StatusCode, Url};

use crate::http::{Http, Request, Trust};
use crate::{Problem, limits};

/// Where signatures are read, by what is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookaside {
    /// Base URLs, `file:` or `http(s):`, of names, repositories, name spaces and registries.
    pub scopes: BTreeMap<String, String>,
    /// The base URL for everything else.
    pub default: Option<String>,
    /// Where those of a scope are written, if not where they are read.
    pub staging: BTreeMap<String, String>,
    /// The same of everything else.
    pub staging_default: Option<String>,
}

impl Lookaside {
    /// The base URL for `reference`: of the most specific scope.
    fn base(&self, reference: &Reference) -> Option<&String> {
        let scopes = reference_scopes(reference);
        scopes.iter().find_map(|scope| self.scopes.get(scope)).or(self.default.as_ref())
    }

    /// The base URL signatures of `reference` are written to.
    fn base_to_write(&self, reference: &Reference) -> Option<&String> {
        let scopes = reference_scopes(reference);
        let of_scope = scopes.iter().find_map(|scope| self.staging.get(scope).or_else(|| self.scopes.get(scope)));
        of_scope.or(self.staging_default.as_ref()).or(self.default.as_ref())
    }
}

/// Keeps one more signature of the manifest `digest` of `reference`, behind those that are there, unless it is one of them.
pub(crate) fn write(
    lookaside: &Lookaside,
    reference: &Reference,
    digest: &Digest,
    signature: &[u8],
) -> Result<(), Problem> {
    let base = lookaside.base_to_write(reference).ok_or_else(|| {
        let what = "registries.d names no place for signatures of";
        Problem::Unsupported(format!("{what} {}; name one as lookaside", reference.name()))
    })?;
    let bad = |why: &str| Problem::Lookaside { url: base.clone(), why: why.to_owned() };
    let url = Url::parse(base).map_err(|error| bad(&error.to_string()))?;
    if url.scheme() != "file" {
        return Err(bad("signatures are written to files only; name a file: URL as lookaside-staging"));
    }
    let above = url.to_file_path().map_err(|()| bad("not a path of this machine"))?;
    let name = format!("{}@{}={}", reference.repository(), digest.algorithm().as_str(), digest.encoded());
    let dir = above.join(name);
    let failed = |path: &Path, source| Problem::File { path: path.to_owned(), source };
    std::fs::create_dir_all(&dir).map_err(|source| failed(&dir, source))?;
    for number in 1..=limits::SIGNATURES_MAX {
        let path = dir.join(format!("signature-{number}"));
        match std::fs::File::create_new(&path) {
            Ok(mut file) => return file.write_all(signature).map_err(|source| failed(&path, source)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if read(&path)?.as_deref() == Some(signature) {
                    return Ok(());
                }
            }
            Err(source) => return Err(failed(&path, source)),
        }
    }
    Err(bad("there are too many signatures already"))
}

/// The scopes of a name, the most specific first: itself, its repository and what is above, its registry, domains above that.
pub(crate) fn reference_scopes(reference: &Reference) -> Vec<String> {
    let mut scopes = vec![reference.to_string()];
    let mut name = reference.name();
    loop {
        scopes.push(name.clone());
        match name.rfind('/') {
            Some(slash) => name.truncate(slash),
            None => break,
        }
    }
    let host = reference.registry().split(':').next().unwrap_or_default();
    let mut domain = host;
    while let Some((_, parent)) = domain.split_once('.') {
        scopes.push(format!("*.{parent}"));
        domain = parent;
    }
    scopes
}

/// The signatures of the manifest `digest` of `reference`.
pub(crate) fn signatures(http: &Http, reference: &Reference, digest: &Digest) -> Result<Vec<Vec<u8>>, Problem> {
    let Some(base) = http.network().lookaside.base(reference) else { return Ok(Vec::new()) };
    let bad = |why: String| Problem::Lookaside { url: base.clone(), why };
    let mut url = Url::parse(base).map_err(|error| bad(error.to_string()))?;
    let (above, repository, algorithm) = (url.path().trim_end_matches('/'), reference.repository(), digest.algorithm());
    let dir = format!("{above}/{repository}@{}={}", algorithm.as_str(), digest.encoded());
    let mut found = Vec::new();
    for number in 1..=limits::SIGNATURES_MAX {
        url.set_path(&format!("{dir}/signature-{number}"));
        let next = match url.scheme() {
            "file" => read(&url.to_file_path().map_err(|()| bad("not a path of this machine".to_owned()))?)?,
            "http" | "https" => fetch(http, &url)?,
            other => return Err(bad(format!("scheme {other:?}, expected file, http or https"))),
        };
        match next {
            Some(signature) => found.push(signature),
            None => break,
        }
    }
    Ok(found)
}

/// A signature in a file; `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Problem> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > limits::SIGNATURE_BYTES_MAX => {
            return Err(Problem::TooLarge { bytes_max: limits::SIGNATURE_BYTES_MAX });
        }
        _ => {}
    }
    match std::fs::read(path) {
        Ok(signature) => Ok(Some(signature)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Problem::File { path: path.to_owned(), source }),
    }
}

fn fetch(http: &Http, url: &Url) -> Result<Option<Vec<u8>>, Problem> {
    let answer = http.send(&Request::get(url.clone(), Trust::Verified))?;
    match answer.status() {
        StatusCode::OK => answer.document(limits::SIGNATURE_BYTES_MAX).map(Some),
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(Problem::Lookaside { url: answer.shown_url(), why: status.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reference: &str, expect: Option<&str>) {
        let scope = |scope: &str, url: &str| (scope.to_owned(), url.to_owned());
        let lookaside = Lookaside {
            scopes: BTreeMap::from([
                scope("r.example", "file:///registry"),
                scope("r.example/team", "file:///team"),
                scope("r.example/team/app:v1", "file:///v1"),
                scope("*.wild.example", "file:///wild"),
            ]),
            default: None,
            ..Lookaside::default()
        };
        assert_eq!(lookaside.base(&reference.parse().unwrap()).map(String::as_str), expect, "{reference}");
        let with_default = Lookaside { default: Some("file:///all".to_owned()), ..lookaside };
        let expect = expect.or(Some("file:///all"));
        assert_eq!(with_default.base(&reference.parse().unwrap()).map(String::as_str), expect, "{reference}");
    }

    #[test]
    fn the_most_specific_scope_says_where_signatures_are() {
        check("r.example/team/app:v1", Some("file:///v1"));
        check("r.example/team/app:v2", Some("file:///team"));
        check("r.example/teams/app", Some("file:///registry"));
        check("a.wild.example/app", Some("file:///wild"));
        check("other.example/app", None);
    }
}
