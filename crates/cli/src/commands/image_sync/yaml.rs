//! The YAML file of a sync: registries, and of each which images.
//!
//! Spec: skopeo-sync(1), "YAML file content".
//! Law: pure. What is not known is an error, so that a misspelled key syncs nothing by accident.

use std::path::PathBuf;

use knarr_distribution::{Credentials, Network};
use regex_lite::Regex;
use semver::{Version, VersionReq};

use crate::yaml::{Node, entries, scalar, tree};

/// A registry of the file.
pub(super) struct Registry {
    pub name: String,
    pub images: Vec<(String, Wanted)>,
    credentials: Option<(String, String)>,
    tls_verify: Option<bool>,
    cert_dir: Option<PathBuf>,
}

/// Which tags of an image.
pub(super) enum Wanted {
    All,
    /// Tags and digests.
    Refs(Vec<String>),
    Matching(Regex),
    Versions(Versions),
}

/// Alternatives of requirements, as `>=1.2, <2 || 3.x`.
pub(super) struct Versions(Vec<VersionReq>);

impl Versions {
    fn parse(text: &str) -> Result<Versions, String> {
        let one = |part: &str| {
            // `>=1 <2` has its comma in neither form.
            let spaced = part.trim().replace(", ", ",");
            let joined = spaced.split_whitespace().collect::<Vec<_>>().join(",");
            let joined = joined.replace(">=,", ">=").replace("<=,", "<=").replace(">,", ">").replace("<,", "<");
            VersionReq::parse(&joined.replace("=,", "=")).map_err(|error| format!("{text:?}: {error}"))
        };
        text.split("||").map(one).collect::<Result<_, _>>().map(Versions)
    }

    /// Whether `tag` is a version, perhaps with fewer than three numbers, that fits.
    pub(super) fn take(&self, tag: &str) -> bool {
        version(tag).is_some_and(|version| self.0.iter().any(|req| req.matches(&version)))
    }
}

fn version(tag: &str) -> Option<Version> {
    let bare = tag.strip_prefix('v').unwrap_or(tag);
    let end = bare.find(['-', '+']).unwrap_or(bare.len());
    let (numbers, rest) = bare.split_at(end);
    let missing = 2usize.checked_sub(numbers.matches('.').count())?;
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

impl Registry {
    /// How it is reached: its own ways over those of the command.
    pub(super) fn over(&self, network: &Network) -> Network {
        let mut network = network.clone();
        if let Some((user, password)) = &self.credentials {
            network.auth.explicit = Some(Credentials::Password { user: user.clone(), password: password.clone() });
        }
        network.tls_verify = self.tls_verify.or(network.tls_verify);
        network.certificate_dir = self.cert_dir.clone().or(network.certificate_dir);
        network
    }
}

/// The registries of the file, in its order.
pub(super) fn parse(text: &str) -> Result<Vec<Registry>, String> {
    let Some(document) = tree(text)? else { return Ok(Vec::new()) };
    entries(&document, "the file")?.iter().map(|(name, value)| registry(name, value)).collect()
}

fn registry(name: &str, value: &Node) -> Result<Registry, String> {
    let mut registry =
        Registry { name: name.to_owned(), images: Vec::new(), credentials: None, tls_verify: None, cert_dir: None };
    for (key, value) in entries(value, name)? {
        match key.as_str() {
            "images" => {
                for (image, value) in entries(value, "images")? {
                    let wanted = match value {
                        null if null.is_null() => Wanted::All,
                        Node::List(refs) if refs.is_empty() => Wanted::All,
                        Node::List(refs) => {
                            Wanted::Refs(refs.iter().map(|tag| scalar(tag, image)).collect::<Result<_, _>>()?)
                        }
                        _ => return Err(format!("images: {image} must be a list of tags and digests")),
                    };
                    registry.images.push((image.clone(), wanted));
                }
            }
            "images-by-tag-regex" => {
                for (image, value) in entries(value, key)? {
                    let regex = Regex::new(&scalar(value, image)?).map_err(|error| format!("{image}: {error}"))?;
                    registry.images.push((image.clone(), Wanted::Matching(regex)));
                }
            }
            "images-by-semver" => {
                for (image, value) in entries(value, key)? {
                    let versions = Versions::parse(&scalar(value, image)?)?;
                    registry.images.push((image.clone(), Wanted::Versions(versions)));
                }
            }
            "credentials" => {
                let mut pair = (String::new(), String::new());
                for (field, value) in entries(value, key)? {
                    match field.as_str() {
                        "username" => pair.0 = scalar(value, field)?,
                        "password" => pair.1 = scalar(value, field)?,
                        other => return Err(format!("credentials: unknown key {other:?}")),
                    }
                }
                registry.credentials = Some(pair);
            }
            "tls-verify" => {
                registry.tls_verify = Some(match scalar(value, key)?.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err("tls-verify must be true or false".to_owned()),
                });
            }
            "cert-dir" => registry.cert_dir = Some(scalar(value, key)?.into()),
            other => return Err(format!("{name}: unknown key {other:?}")),
        }
    }
    Ok(registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skopeos_example_is_read() {
        let text = "registry.example.com:\n  images:\n    busybox: []\n    redis:\n      - \"1.0\"\n      - 2.0\n  images-by-tag-regex:\n    nginx: ^1\\.13\\.[12]-alpine-perl$\n  credentials:\n    username: john\n    password: this is a secret\n  tls-verify: true\n  cert-dir: /home/john/certs\nquay.io:\n  tls-verify: false\n  images:\n    coreos/etcd:\n      - latest\n";
        let registries = parse(text).unwrap();
        assert_eq!(registries.len(), 2);
        let first = &registries[0];
        assert_eq!(first.images.len(), 3);
        assert!(matches!(&first.images[0], (name, Wanted::All) if name == "busybox"));
        assert!(matches!(&first.images[1].1, Wanted::Refs(refs) if refs == &["1.0", "2.0"]));
        assert!(matches!(&first.images[2].1, Wanted::Matching(regex) if regex.is_match("1.13.2-alpine-perl")));
        assert_eq!(first.credentials, Some(("john".to_owned(), "this is a secret".to_owned())));
        assert_eq!(registries[1].tls_verify, Some(false));
    }

    #[test]
    fn a_misspelled_key_is_an_error() {
        assert!(parse("r.example:\n  image:\n    x: []\n").is_err());
        assert!(parse("- a\n").is_err());
        assert!(parse("a: [\n").is_err());
    }

    fn takes(versions: &str, tag: &str, expect: bool) {
        assert_eq!(Versions::parse(versions).unwrap().take(tag), expect, "{versions} {tag}");
    }

    #[test]
    fn versions_are_compared_as_versions() {
        takes(">=3.14", "3.14", true);
        takes(">=3.14", "v3.20.1", true);
        takes(">=3.14", "3.9", false);
        takes(">= 1.2 < 3.0", "2.5.0", true);
        takes("~1.2 || ^3", "3.4.5", true);
        takes("1.x", "1.9.0", true);
        takes(">=1.0", "latest", false);
    }
}
