//! registries.conf version 2: which endpoints stand behind a name, and which names behind a short one.
//!
//! Spec: containers-registries.conf(5). Law: pure; text in, values out.
//! Not here: finding the files, asking the user which registry was meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use knarr_spec::{Reference, ReferenceError};
use serde::Deserialize;

use crate::Problem;

/// A parsed registries.conf, or several merged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Registries {
    /// Registries a name without one is looked for at; empty means Docker Hub alone.
    pub unqualified_search_registries: Vec<String>,
    /// Programs asked for credentials; `containers-auth.json` means the files.
    pub credential_helpers: Vec<String>,
    /// Short names with a fixed meaning; an empty value removes one.
    pub aliases: BTreeMap<String, String>,
    /// The `[[registry]]` tables.
    #[serde(rename = "registry")]
    pub entries: Vec<Entry>,
}

/// One `[[registry]]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Entry {
    /// Names this table is about; the location where empty.
    pub prefix: String,
    /// What the prefix is replaced with.
    pub location: String,
    /// Plain http and unverified certificates are allowed.
    pub insecure: bool,
    /// Nothing may be pulled.
    pub blocked: bool,
    /// Mirrors serve references with a digest only.
    pub mirror_by_digest_only: bool,
    /// Tried first, in order.
    #[serde(rename = "mirror")]
    pub mirrors: Vec<Mirror>,
}

/// One `[[registry.mirror]]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Mirror {
    /// What the prefix is replaced with.
    pub location: String,
    /// As in [`Entry`].
    pub insecure: bool,
    /// Which references it serves.
    pub pull_from_mirror: PullFromMirror,
}

/// Which references a mirror serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullFromMirror {
    /// All.
    #[default]
    #[serde(alias = "")]
    All,
    /// Those with a digest.
    DigestOnly,
    /// Those without.
    TagOnly,
}

/// A place to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The name there.
    pub reference: Reference,
    /// Whether plain http and unverified certificates are allowed.
    pub insecure: bool,
}

/// Reads the first of `files` that is there, and over it all of `drop_ins`, in their order.
pub fn read(files: &[PathBuf], drop_ins: &[PathBuf]) -> Result<Registries, Problem> {
    let mut found = Registries::default();
    for path in files {
        if let Some(parsed) = read_one(path)? {
            found = parsed;
            break;
        }
    }
    for path in drop_ins {
        if let Some(parsed) = read_one(path)? {
            found = found.merge(parsed);
        }
    }
    Ok(found)
}

fn read_one(path: &Path) -> Result<Option<Registries>, Problem> {
    match std::fs::read_to_string(path) {
        Ok(text) => Registries::parse(&text)
            .map(Some)
            .map_err(|error| Problem::ConfigFile { path: path.to_owned(), what: error.to_string().trim().to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Problem::File { path: path.to_owned(), source }),
    }
}

impl Registries {
    /// Parses one file.
    pub fn parse(text: &str) -> Result<Registries, toml::de::Error> {
        let mut parsed: Registries = toml::from_str(text)?;
        for entry in &mut parsed.entries {
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
        }
        Ok(parsed)
    }

    /// Puts a drop-in file over this one: scalars and tables with the same prefix are replaced.
    pub fn merge(mut self, over: Registries) -> Registries {
        if !over.unqualified_search_registries.is_empty() {
            self.unqualified_search_registries = over.unqualified_search_registries;
        }
        if !over.credential_helpers.is_empty() {
            self.credential_helpers = over.credential_helpers;
        }
        self.aliases.extend(over.aliases);
        self.entries.retain(|entry| !over.entries.iter().any(|newer| newer.prefix == entry.prefix));
        self.entries.extend(over.entries);
        self
    }

    /// The places to ask for `wanted`, in order; an error where the configuration forbids it or rewrites it to nonsense.
    pub fn endpoints(&self, wanted: &Reference) -> Result<Vec<Endpoint>, Problem> {
        let Some((entry, matched)) = self.entry(wanted) else {
            return Ok(vec![Endpoint { reference: wanted.clone(), insecure: false }]);
        };
        if entry.blocked {
            return Err(Problem::Blocked(entry.prefix.clone()));
        }
        let mirrors = entry.mirrors.iter().filter(|mirror| entry.serves(mirror, wanted));
        let mirrors = mirrors.map(|mirror| (mirror.location.as_str(), mirror.insecure));
        let primary = (entry.location.as_str(), entry.insecure);
        let rewrite = |(location, insecure)| {
            let reference = rewritten(wanted, matched, location)?;
            Ok(Endpoint { reference, insecure })
        };
        mirrors.chain([primary]).map(rewrite).collect()
    }

    /// The place that has all of `wanted`: no mirror, and where registries.conf rewrites the name, the name it rewrites it to.
    pub fn whole_endpoint(&self, wanted: &Reference) -> Result<Endpoint, Problem> {
        Ok(self.endpoints(wanted)?.pop().expect("a name has a place of its own behind its mirrors"))
    }

    /// The place `wanted` is written to: its own registry, under its own name. Mirrors and rewrites are for reading.
    pub fn push_endpoint(&self, wanted: &Reference) -> Result<Endpoint, Problem> {
        match self.entry(wanted) {
            Some((entry, _)) if entry.blocked => Err(Problem::Blocked(entry.prefix.clone())),
            entry => {
                Ok(Endpoint { reference: wanted.clone(), insecure: entry.is_some_and(|(entry, _)| entry.insecure) })
            }
        }
    }

    /// The table with the longest matching prefix, and how many bytes of the name it matches.
    fn entry(&self, wanted: &Reference) -> Option<(&Entry, usize)> {
        let name = wanted.to_string();
        let matches = self.entries.iter().filter_map(|entry| Some((entry, matched_bytes(&entry.prefix, &name)?)));
        matches.max_by_key(|(entry, _)| entry.prefix.len())
    }

    /// What a name as typed may mean, the likeliest first. A name with a registry means itself.
    pub fn candidates(&self, text: &str) -> Result<Vec<Reference>, ReferenceError> {
        let parsed: Reference = text.parse()?;
        if !is_short(text) {
            return Ok(vec![parsed]);
        }
        let (name, rest) = text.split_at(text.find([':', '@']).unwrap_or(text.len()));
        if let Some(alias) = self.aliases.get(name).filter(|alias| !alias.is_empty()) {
            return Ok(vec![format!("{alias}{rest}").parse()?]);
        }
        if self.unqualified_search_registries.is_empty() {
            return Ok(vec![parsed]);
        }
        self.unqualified_search_registries.iter().map(|registry| format!("{registry}/{text}").parse()).collect()
    }
}

impl Entry {
    fn serves(&self, mirror: &Mirror, wanted: &Reference) -> bool {
        let by_digest = wanted.digest().is_some();
        match mirror.pull_from_mirror {
            PullFromMirror::All => by_digest || !self.mirror_by_digest_only,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest && !self.mirror_by_digest_only,
        }
    }
}

/// Whether no registry is written: no slash, or a first component without dot, colon and not `localhost`.
fn is_short(text: &str) -> bool {
    match text.split_once('/') {
        Some((first, _)) => !(first.contains(['.', ':']) || first == "localhost"),
        None => true,
    }
}

/// Bytes of `name` that `prefix` covers, where it matches up to a separator.
fn matched_bytes(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.split('/').next().unwrap_or(name);
        let bare = host.split(':').next().unwrap_or(host);
        return (domain.starts_with('.') && bare.ends_with(domain)).then_some(host.len());
    }
    let rest = name.strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(prefix.len())
}

fn rewritten(wanted: &Reference, matched: usize, location: &str) -> Result<Reference, Problem> {
    if location.is_empty() {
        return Ok(wanted.clone());
    }
    let text = format!("{location}{}", &wanted.to_string()[matched..]);
    text.parse().map_err(|why| Problem::BadLocation { location: location.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
        unqualified-search-registries = ["example.com", "docker.io"]
        short-name-mode = "enforcing"
        [aliases]
        "debian" = "docker.io/library/debian"
        [[registry]]
        prefix = "example.com/foo"
        location = "internal.local/bar"
        [[registry.mirror]]
        location = "mirror-0.local/foo"
        [[registry.mirror]]
        location = "mirror-1.local/m/foo"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry]]
        location = "bad.example"
        blocked = true
        [[registry]]
        prefix = "*.wild.example"
        insecure = true
        [[registry]]
        location = "localhost:5000"
        insecure = true
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "mirror.local"
    "#;
    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(wanted: &str, expect: &[(&str, bool)]) {
        let endpoints = Registries::parse(CONF).unwrap().endpoints(&wanted.parse().unwrap()).unwrap();
        let found: Vec<_> = endpoints.iter().map(|e| (e.reference.to_string(), e.insecure)).collect();
        let expect: Vec<_> = expect.iter().map(|(text, insecure)| (text.to_string(), *insecure)).collect();
        assert_eq!(found, expect, "{wanted}");
    }

    #[test]
    fn mirrors_come_first_and_the_prefix_is_rewritten() {
        check(
            "example.com/foo/image:1",
            &[("mirror-0.local/foo/image:1", false), ("internal.local/bar/image:1", false)],
        );
    }

    #[test]
    fn a_digest_only_mirror_serves_digests() {
        let suffix = format!("image@sha256:{HEX}");
        check(
            &format!("example.com/foo/{suffix}"),
            &[
                (&format!("mirror-0.local/foo/{suffix}"), false),
                (&format!("mirror-1.local/m/foo/{suffix}"), true),
                (&format!("internal.local/bar/{suffix}"), false),
            ],
        );
    }

    #[test]
    fn mirror_by_digest_only_keeps_tags_at_the_primary() {
        check("localhost:5000/x:1", &[("localhost:5000/x:1", true)]);
    }

    #[test]
    fn a_prefix_ends_at_a_separator() {
        check("example.com/foobar:1", &[("example.com/foobar:1", false)]);
    }

    #[test]
    fn wildcards_match_subdomains_and_leave_the_name() {
        check("a.b.wild.example/x:1", &[("a.b.wild.example/x:1", true)]);
        check("wild.example/x:1", &[("wild.example/x:1", false)]);
    }

    #[test]
    fn a_blocked_registry_is_refused() {
        let result = Registries::parse(CONF).unwrap().endpoints(&"bad.example/x".parse().unwrap());
        assert!(matches!(result, Err(Problem::Blocked(name)) if name == "bad.example"));
    }

    fn candidates(text: &str, expect: &[&str]) {
        let found = Registries::parse(CONF).unwrap().candidates(text).unwrap();
        assert_eq!(found.iter().map(Reference::to_string).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn short_names_mean_their_alias_or_every_search_registry() {
        candidates("debian:12", &["docker.io/library/debian:12"]);
        candidates("app/x", &["example.com/app/x:latest", "docker.io/app/x:latest"]);
        candidates("quay.io/app/x", &["quay.io/app/x:latest"]);
    }

    #[test]
    fn without_configuration_docker_hub_is_meant() {
        let found = Registries::default().candidates("alpine").unwrap();
        assert_eq!(found[0].to_string(), "docker.io/library/alpine:latest");
    }

    #[test]
    fn a_drop_in_replaces_the_table_with_its_prefix() {
        let over = Registries::parse("[[registry]]\nlocation = \"bad.example\"\n").unwrap();
        let merged = Registries::parse(CONF).unwrap().merge(over);
        assert!(merged.endpoints(&"bad.example/x".parse().unwrap()).is_ok());
        assert_eq!(merged.unqualified_search_registries.len(), 2);
    }

    #[test]
    fn an_error_names_its_line() {
        let error = Registries::parse("unqualified-search-registries = 3\n").unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
