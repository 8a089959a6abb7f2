//! Looking for images by a word: Docker Hub's search, and the list of repositories of everybody else.
//!
//! Spec: the `GET /v1/search?q=&n=` that outlived version 1 of the registry's protocol; `/v2/_catalog`.
//! Law: a registry that has no search lists its repositories, and those whose name holds the word are found. What is said of
//! an image is somebody's text: control characters do not leave here.

use knarr_spec::reference::DEFAULT_REGISTRY;
use reqwest::Url;
use serde::Deserialize;

use crate::http::{Answer, Http, Request, Trust};
use crate::look::{said, somewhere};
use crate::progress::Silent;
use crate::registry::Repository;
use crate::{Error, Network, Problem, limits};

/// Where Docker Hub answers searches.
const DOCKER_INDEX: &str = "https://index.docker.io";

/// A repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Its name at the registry.
    pub name: String,
    /// What its owner says of it.
    #[serde(deserialize_with = "plain")]
    pub description: String,
    /// How many like it.
    #[serde(rename = "star_count")]
    pub stars: u64,
    /// Whether Docker keeps it.
    #[serde(rename = "is_official")]
    pub official: bool,
    /// Whether Docker builds it.
    #[serde(rename = "is_automated")]
    pub automated: bool,
}

/// Up to `count_max` repositories of `registry` that `term` leads to.
pub fn search(registry: &str, term: &str, count_max: usize, network: &Network) -> Result<Vec<Found>, Error> {
    let find = || {
        let http = Http::new(network)?;
        let repository = Repository::to_read(&http, &somewhere(registry)?, &Silent)?;
        let mut found = match searched(&http, &repository, term, count_max)? {
            Some(found) => found,
            None => listed(repository.catalog()?, term),
        };
        found.truncate(count_max);
        Ok(found)
    };
    said("search", registry, find())
}

/// What the registry's search says; `None` where it has none. Without a word there is nothing to search for.
fn searched(http: &Http, repository: &Repository<'_>, term: &str, count: usize) -> Result<Option<Vec<Found>>, Problem> {
    if term.is_empty() {
        return Ok(None);
    }
    let mut path = Url::parse(DOCKER_INDEX).expect("a constant").join("/v1/search").expect("a constant");
    path.query_pairs_mut().append_pair("q", term).append_pair("n", &count.to_string());
    if repository.registry() == DEFAULT_REGISTRY {
        let answer = http.send(&Request::get(path, Trust::Verified))?;
        return results(repository.checked(answer)?).map(Some);
    }
    let path = format!("/v1/search?{}", path.query().unwrap_or_default());
    let answer = repository.get(&path)?;
    // Registries answer paths they do not know with all kinds of pages.
    Ok(if answer.status().is_success() { results(answer).ok() } else { None })
}

fn results(answer: Answer<'_>) -> Result<Vec<Found>, Problem> {
    #[derive(Deserialize)]
    struct Results {
        results: Vec<Found>,
    }
    let body = answer.document(limits::LIST_BYTES_MAX)?;
    let parsed: Result<Results, _> = serde_json::from_slice(&body);
    Ok(parsed.map_err(|source| Problem::Malformed { what: "result of a search", source })?.results)
}

/// The repositories whose name holds `term`; the one that has it as its name comes first.
fn listed(repositories: Vec<String>, term: &str) -> Vec<Found> {
    let mut names: Vec<String> = repositories.into_iter().filter(|name| name.contains(term)).collect();
    names.sort_by_key(|name| name != term);
    names.into_iter().map(|name| Found { name, ..Found::default() }).collect()
}

fn plain<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    Ok(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(repositories: &[&str], term: &str, expect: &[&str]) {
        let found = listed(repositories.iter().map(|name| (*name).to_owned()).collect(), term);
        assert_eq!(found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn the_repository_of_that_very_name_comes_first() {
        check(&["a/ship", "b", "ship", "shipyard"], "ship", &["ship", "a/ship", "shipyard"]);
        check(&["a", "b"], "", &["a", "b"]);
        check(&["a", "b"], "c", &[]);
    }

    #[test]
    fn a_description_cannot_move_the_cursor() {
        let found: Found =
            serde_json::from_str(r#"{"name":"a","description":"x\u001b[2J\ny","star_count":3,"is_official":true}"#)
                .unwrap();
        assert_eq!((found.description.as_str(), found.stars, found.official), ("x [2J y", 3, true));
        let bare: Found = serde_json::from_str(r#"{"name":"a","description":null}"#).unwrap();
        assert_eq!(bare.description, "");
    }
}
