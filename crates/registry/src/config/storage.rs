//! Settings about where content is kept.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::Problem;
use super::values::Span;

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Directory of the database, the blobs and the uploads; of scratch only where both are elsewhere.
    pub root: PathBuf,
    /// An object store for the blobs.
    pub blobs: Option<Objects>,
    /// A database server for everything else.
    pub metadata: Option<Postgres>,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage { root: PathBuf::from("/var/lib/knarr-registry"), blobs: None, metadata: None }
    }
}

/// `[storage.blobs]`. Credentials come from the environment, or from what the cloud gives to its machines.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `azure://ACCOUNT/CONTAINER/PREFIX`; the prefix may be missing.
    pub url: ObjectUrl,
    /// The server's address, where it is not the cloud's own.
    pub endpoint: Option<String>,
    /// File of `NAME=VALUE` lines, read before the environment's variables of the same names.
    pub credentials: Option<PathBuf>,
    /// The bucket's region (S3).
    pub region: Option<String>,
    /// Whether clients are sent to the object store for blobs, by addresses that hold for a while.
    #[serde(default)]
    pub redirect: bool,
    /// How long such an address holds.
    #[serde(default = "redirect_lifetime")]
    pub redirect_lifetime: Span,
}

fn redirect_lifetime() -> Span {
    Span::seconds(1200)
}

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon's, and whatever speaks like it.
    S3,
    /// Google's.
    Gcs,
    /// Microsoft's; the bucket is a container.
    Azure,
}

/// Where objects are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ObjectUrl {
    /// Whose.
    pub cloud: Cloud,
    /// The account (Azure).
    pub account: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// What the names of all objects begin with, without a slash at either end.
    pub prefix: String,
    text: String,
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for ObjectUrl {
    type Error = String;

    fn try_from(text: String) -> Result<ObjectUrl, String> {
        let bad = || {
            format!(
                "{text:?} is not the address of an object store: expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX"
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let cloud = match scheme {
            "s3" => Cloud::S3,
            "gs" => Cloud::Gcs,
            "azure" => Cloud::Azure,
            _ => return Err(bad()),
        };
        let mut words = rest.trim_end_matches('/').split('/');
        let account = match cloud {
            Cloud::Azure => Some(words.next().filter(|word| !word.is_empty()).ok_or_else(bad)?.to_owned()),
            Cloud::S3 | Cloud::Gcs => None,
        };
        let bucket = words.next().filter(|word| !word.is_empty()).ok_or_else(bad)?.to_owned();
        let prefix: Vec<&str> = words.collect();
        let is_word = |word: &&str| {
            !word.is_empty()
                && !word.starts_with('.')
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !prefix.iter().all(is_word) {
            return Err(bad());
        }
        let prefix = prefix.join("/");
        Ok(ObjectUrl { cloud, account, bucket, prefix, text })
    }
}

/// `[storage.metadata]`. What the address leaves out comes from libpq's variables (`PGPASSWORD`, …) and `~/.pgpass`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full`; the database is the registry's alone.
    pub url: String,
    /// The first line of this file is the password.
    pub password_file: Option<PathBuf>,
    /// Connections each instance opens at most.
    #[serde(default = "connections")]
    pub connections: u32,
}

fn connections() -> u32 {
    10
}

/// What cannot be seen in one value alone.
pub(super) fn problems(storage: &Storage) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = |holds: bool, key, what: &str| {
        if !holds {
            problems.push(Problem { key, what: what.to_owned() });
        }
    };
    if let Some(objects) = &storage.blobs {
        check(
            cfg!(feature = "objects"),
            "storage.blobs",
            "this binary was built without object stores (feature objects)",
        );
        let is_url = objects.endpoint.as_deref().is_none_or(super::is_url);
        check(is_url, "storage.blobs.endpoint", "not an address of the form https://HOST");
        check(
            !objects.redirect_lifetime.0.is_zero(),
            "storage.blobs.redirect_lifetime",
            "an address must hold for a while",
        );
    }
    if let Some(postgres) = &storage.metadata {
        check(
            cfg!(feature = "postgres"),
            "storage.metadata",
            "this binary was built without Postgres (feature postgres)",
        );
        let is_url = ["postgres://", "postgresql://"].iter().any(|start| postgres.url.starts_with(start));
        check(is_url, "storage.metadata.url", "not an address of the form postgres://USER@HOST/DATABASE");
        // One holds the lock that says we are here, one the lock of who cleans up; the rest work.
        check(postgres.connections >= 4, "storage.metadata.connections", "at least 4 are needed");
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<(Cloud, Option<&str>, &str, &str)>) {
        let url = ObjectUrl::try_from(text.to_owned()).ok();
        let seen =
            url.as_ref().map(|url| (url.cloud, url.account.as_deref(), url.bucket.as_str(), url.prefix.as_str()));
        assert_eq!(seen, expect, "{text}");
    }

    #[test]
    fn an_address_names_a_bucket_and_what_names_in_it_begin_with() {
        check("s3://images", Some((Cloud::S3, None, "images", "")));
        check("s3://images/team/registry/", Some((Cloud::S3, None, "images", "team/registry")));
        check("gs://b/p", Some((Cloud::Gcs, None, "b", "p")));
        check("azure://account/container/p", Some((Cloud::Azure, Some("account"), "container", "p")));
    }

    #[test]
    fn what_is_no_such_address_is_refused() {
        for text in
            ["images", "s3://", "s3:///p", "ftp://b", "azure://account", "s3://b/../c", "s3://b//c", "s3://b/a b"]
        {
            check(text, None);
        }
    }
}
