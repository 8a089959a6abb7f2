//! Image references: `[registry/]repository[:tag][@digest]`.
//!
//! Spec: distribution-spec "Pulling manifests" for the grammar of names and tags; the defaults (`docker.io`, `library/`,
//! `latest`) are Docker's, which every user expects.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, DigestError};

/// The registry meant where none is written.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag meant where neither tag nor digest is written.
pub const DEFAULT_TAG: &str = "latest";
/// Longest name (registry and repository), as Docker and the registries limit it.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest tag, by the specification.
pub const TAG_BYTES_MAX: usize = 128;

/// A complete reference. At least one of tag and digest is present.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The whole does not follow the grammar.
    #[error("invalid reference format: {0:?}")]
    Malformed(String),
    /// Right but for letter case.
    #[error("invalid reference format: repository name {0:?} must be lowercase")]
    UpperCase(String),
    /// The name is too long.
    #[error("invalid reference format: the name has {0} bytes, more than {NAME_BYTES_MAX}")]
    TooLong(usize),
    /// The part after `@` is no digest.
    #[error("invalid reference format: {0}")]
    Digest(#[from] DigestError),
}

impl Reference {
    /// `docker.io`, `localhost:5000`, …
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// `library/alpine`, `team/app`, …
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one was written or defaulted.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `registry/repository` without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What stands after `/v2/<repository>/manifests/` in a request: the digest if there is one, else the tag.
    pub fn manifest_reference(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }

    /// The same name with `digest` and no tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same name with `tag` and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Malformed(tag.to_owned()));
        }
        Ok(Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// As people write it: without `docker.io/`, and without `library/` there.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }

    /// The name as people write it, without tag and digest.
    pub fn familiar_name(&self) -> String {
        match self.registry.as_str() {
            DEFAULT_REGISTRY => self.repository.strip_prefix("library/").unwrap_or(&self.repository).to_owned(),
            _ => self.name(),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        let malformed = || ReferenceError::Malformed(text.chars().take(NAME_BYTES_MAX).collect());
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            Some((last, tag)) => (&rest[..name_start + last.len()], Some(tag)),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(malformed());
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" || has_upper_case(first) => {
                (first, path)
            }
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let repository = match (registry, path.contains('/')) {
            (DEFAULT_REGISTRY, false) => format!("library/{path}"),
            _ => path.to_owned(),
        };
        if !is_registry(registry) {
            return Err(malformed());
        }
        if !is_repository(&repository) {
            let lower = repository.to_ascii_lowercase();
            return Err(if is_repository(&lower) { ReferenceError::UpperCase(path.to_owned()) } else { malformed() });
        }
        let name_bytes = registry.len() + 1 + repository.len();
        if name_bytes > NAME_BYTES_MAX {
            return Err(ReferenceError::TooLong(name_bytes));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn has_upper_case(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_uppercase())
}

/// Whether `text` is a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_BYTES_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Whether `text` is a repository: path components of lower-case words joined by `.`, `_`, `__` or dashes.
pub fn is_repository(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|s| !s.is_empty());
    let mut bytes = text.bytes();
    bytes.next().is_some_and(word)
        && text.bytes().next_back().is_some_and(word)
        && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let address_ok = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            return address_ok && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(text: &str, expect: &str) {
        assert_eq!(text.parse::<Reference>().expect(text).to_string(), expect);
    }

    fn refuses(text: &str) {
        assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
    }

    #[test]
    fn short_names_mean_docker_hub() {
        check("alpine", "docker.io/library/alpine:latest");
        check("knarr/hello", "docker.io/knarr/hello:latest");
        check("index.docker.io/library/alpine:3", "docker.io/library/alpine:3");
    }

    #[test]
    fn a_first_component_with_dot_colon_or_localhost_is_a_registry() {
        check("localhost/x", "localhost/x:latest");
        check("localhost:5000/x", "localhost:5000/x:latest");
        check("127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1");
        check("[::1]:5000/x:1", "[::1]:5000/x:1");
        check("Registry.example/x", "Registry.example/x:latest");
    }

    #[test]
    fn a_digest_needs_no_tag_and_may_stand_beside_one() {
        check(&format!("a@sha256:{HEX}"), &format!("docker.io/library/a@sha256:{HEX}"));
        check(&format!("a:1@sha256:{HEX}"), &format!("docker.io/library/a:1@sha256:{HEX}"));
    }

    #[test]
    fn familiar_names_print_as_they_are_written() {
        for text in ["alpine:latest", "knarr/hello:latest", "localhost:5000/x:1"] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), text);
        }
    }

    #[test]
    fn hostile_and_malformed_names_are_refused() {
        for text in [
            "",
            ":",
            "a:",
            "a:b:c",
            "a//b",
            "/a",
            "a/",
            "../a",
            "a/../b",
            "a b",
            "A",
            "a_.b",
            "a@sha256:12",
            "x.y:99999/a",
            "-a",
            "a..b",
            "a:-x",
        ] {
            refuses(text);
        }
        refuses(&"a".repeat(NAME_BYTES_MAX));
    }

    #[test]
    fn upper_case_is_named_as_the_reason() {
        assert!("Foo/Bar".parse::<Reference>().is_err());
        assert!(matches!("a/Bar".parse::<Reference>(), Err(ReferenceError::UpperCase(_))));
    }

    #[test]
    fn separators_inside_a_name_follow_the_grammar() {
        check("a-b/c--d/e__f.g", "docker.io/a-b/c--d/e__f.g:latest");
        refuses("a___b");
    }
}
