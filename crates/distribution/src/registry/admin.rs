//! What is done to a repository as a whole: listing, deleting, finding referrers; and logging in.
//!
//! Spec: distribution-spec "Listing tags", "Listing referrers" with its fallback to tags, "Deleting manifests", `/v2/`.
//! Law: lists end: a page that brings nothing new or one page too many is an error, whatever the server says.

use std::collections::HashSet;

use knarr_spec::{Descriptor, Digest, Index, Reference, media_type};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::endpoint::{Call, Endpoint, Target};
use super::patience::patiently;
use crate::http::{Answer, Http};
use crate::progress::Progress;
use crate::{Problem, limits};

/// Tags or repositories asked for at once.
const PAGE_ENTRIES: usize = 1000;

/// A repository that is looked after.
pub(crate) struct Repository<'a> {
    endpoint: Endpoint<'a>,
}

impl<'a> Repository<'a> {
    /// The repository of `reference` at its own registry, to be changed.
    pub(crate) fn new(
        http: &'a Http,
        reference: &Reference,
        progress: &'a dyn Progress,
    ) -> Result<Repository<'a>, Problem> {
        let place = http.network().registries.push_endpoint(reference)?;
        Ok(Repository { endpoint: Endpoint::new(http, reference, place, progress) })
    }

    /// The repository of `reference` where it is read from, but not at a mirror, which may lack some of it.
    pub(crate) fn to_read(
        http: &'a Http,
        reference: &Reference,
        progress: &'a dyn Progress,
    ) -> Result<Repository<'a>, Problem> {
        let place = http.network().registries.whole_endpoint(reference)?;
        Ok(Repository { endpoint: Endpoint::new(http, reference, place, progress) })
    }

    /// Every tag, in the registry's order.
    pub(crate) fn tags(&self) -> Result<Vec<String>, Problem> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let first = format!("tags/list?n={PAGE_ENTRIES}");
        self.endpoint.pages(Target::Repository(&first), |page: Page| page.tags.unwrap_or_default())
    }

    /// Every repository of the registry, where it tells.
    pub(crate) fn catalog(&self) -> Result<Vec<String>, Problem> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let first = format!("_catalog?n={PAGE_ENTRIES}");
        self.endpoint.pages(Target::Server(&first), |page: Page| page.repositories.unwrap_or_default())
    }

    /// The registry that is asked.
    pub(crate) fn registry(&self) -> &str {
        self.endpoint.reference().registry()
    }

    /// What the registry answers at a path of its own; any status that is not about logging in.
    pub(crate) fn get(&self, path: &str) -> Result<Answer<'a>, Problem> {
        patiently(self.endpoint.http(), || self.endpoint.ask(&Call::new(Method::GET, Target::Root(path))))
    }

    /// Passes a success, explains anything else.
    pub(crate) fn checked(&self, answer: Answer<'a>) -> Result<Answer<'a>, Problem> {
        self.endpoint.checked(answer, None)
    }

    /// What the reference means now.
    pub(crate) fn digest(&self) -> Result<Digest, Problem> {
        match self.endpoint.manifest_digest()? {
            Some(digest) => Ok(digest),
            None => Ok(Digest::sha256_of(&self.endpoint.root()?.bytes)),
        }
    }

    /// Deletes the manifest the reference means, and with it every tag of it.
    pub(crate) fn delete(&self) -> Result<Digest, Problem> {
        let digest = match self.endpoint.reference().digest() {
            Some(digest) => digest.clone(),
            None => self.digest()?,
        };
        self.delete_manifest(digest.as_str())?;
        Ok(digest)
    }

    /// Deletes a manifest by digest, or a tag alone where the registry can.
    pub(crate) fn delete_manifest(&self, name: &str) -> Result<(), Problem> {
        let path = format!("manifests/{name}");
        patiently(self.endpoint.http(), || {
            let answer = self.endpoint.ask(&Call::new(Method::DELETE, Target::Repository(&path)))?;
            self.endpoint.checked(answer, Some(name)).map(drop)
        })
    }

    /// Whether the server lets us in, logged in as we are.
    pub(crate) fn ping(&self) -> Result<(), Problem> {
        patiently(self.endpoint.http(), || {
            let answer = self.endpoint.ask(&Call::new(Method::GET, Target::Server("")))?;
            match answer.status() {
                // Registries that are no registry at their root still know who logs in.
                StatusCode::NOT_FOUND => Ok(()),
                _ => self.endpoint.checked(answer, None).map(drop),
            }
        })
    }
}

impl<'a> Endpoint<'a> {
    /// What refers to `digest`.
    pub(super) fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Problem> {
        let first = format!("referrers/{digest}");
        match self.pages(Target::Repository(&first), |page: Index| page.manifests) {
            Err(problem) if has_no_referrers_api(&problem) => self.referrers_by_tag(digest),
            found => found,
        }
    }

    /// Where there is no referrers API, an index under a tag made of the digest has them.
    fn referrers_by_tag(&self, digest: &Digest) -> Result<Vec<Descriptor>, Problem> {
        match self.manifest(&referrers_tag(digest)) {
            Ok((bytes, _)) => {
                let index: Index = serde_json::from_slice(&bytes)
                    .map_err(|source| Problem::Malformed { what: "index of referrers", source })?;
                Ok(index.manifests)
            }
            Err(problem) if matches!(problem.innermost(), Problem::ManifestUnknown { .. }) => Ok(Vec::new()),
            Err(problem) => Err(problem),
        }
    }

    /// A list that is not there means a repository that is not there.
    fn listed(&self, answer: Answer<'a>) -> Result<Answer<'a>, Problem> {
        let missing = answer.status() == StatusCode::NOT_FOUND;
        self.checked(answer, Some("")).map_err(|problem| match problem {
            Problem::ManifestUnknown { message, .. } if missing => {
                Problem::RepositoryUnknown { name: self.reference().familiar_name(), message }
            }
            other => other,
        })
    }

    fn pages<T, P: for<'de> Deserialize<'de>>(
        &self,
        first: Target<'_>,
        entries: impl Fn(P) -> Vec<T>,
    ) -> Result<Vec<T>, Problem> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut next: Option<Url> = None;
        for _ in 0..limits::PAGES_MAX {
            let target = next.as_ref().map_or(first, Target::Url);
            let (page, link) = patiently(self.http(), || {
                let call = Call { accept: "application/json, */*", ..Call::new(Method::GET, target) };
                let answer = self.listed(self.ask(&call)?)?;
                let link = next_page(&answer);
                Ok((answer.document(limits::LIST_BYTES_MAX)?, link))
            })?;
            let page = serde_json::from_slice(&page).map_err(|source| Problem::Malformed { what: "list", source })?;
            found.extend(entries(page));
            match link {
                Some(link) if seen.insert(link.clone()) => next = Some(link),
                _ => return Ok(found),
            }
        }
        let host = self.reference().registry().to_owned();
        Err(Problem::Protocol { host, what: format!("a list of more than {} pages", limits::PAGES_MAX) })
    }
}

fn has_no_referrers_api(problem: &Problem) -> bool {
    match problem.innermost() {
        Problem::RepositoryUnknown { .. } | Problem::Malformed { .. } => true,
        Problem::Status { code, .. } => matches!(code, 400 | 405 | 406 | 415 | 501),
        _ => false,
    }
}

/// `Link: </v2/…?last=x>; rel="next"`. A link to another server is none.
fn next_page(answer: &Answer<'_>) -> Option<Url> {
    let header = answer.header("link")?;
    let (target, params) = header.trim().strip_prefix('<')?.split_once('>')?;
    let next = params.replace(['"', ' '], "").to_ascii_lowercase().contains("rel=next");
    let url = answer.url().join(target).ok().filter(|_| next)?;
    (url.origin() == answer.url().origin()).then_some(url)
}

/// Spec: "Referrers Tag Schema": algorithm and digest, cut to 32 and 64 characters.
pub(super) fn referrers_tag(digest: &Digest) -> String {
    let cut = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let tag = format!("{}-{}", cut(digest.algorithm().as_str(), 32), cut(digest.encoded(), 64));
    tag.chars().map(plain).collect()
}

pub(super) fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests: Vec::new(),
        subject: None,
        annotations: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_referrers_is_the_digest_cut_to_a_tag() {
        let digest = Digest::sha256_of(b"");
        assert_eq!(referrers_tag(&digest), format!("sha256-{}", digest.encoded()));
        let long: Digest = format!("sha512:{}", "a".repeat(128)).parse().unwrap();
        assert_eq!(referrers_tag(&long), format!("sha512-{}", "a".repeat(64)));
    }
}
