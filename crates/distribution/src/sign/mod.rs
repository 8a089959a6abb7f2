//! Signatures over images: OpenPGP's ("simple signing") and sigstore's with keys.
//!
//! ```text
//! digest, name ─► claim (JSON) ─┬► gpg --sign           ─► lookaside storage, `signature-N` of a directory
//!                               └► ECDSA P-256, our key ─► the tag `sha256-<hex>.sig`, `signature-N` of a directory
//! ```
//! Spec: containers-signature(5); cosign's SIGNATURE_SPEC.md.
//! Law: a signature is there before what it signs can be seen under its name. What others signed is added to, never replaced.
//! Not here: what a signature is worth (`policy`), OpenPGP itself (gpg), where sinks keep signatures.

mod gpg;
mod key;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_spec::Digest;
use serde_json::json;

pub use self::gpg::{Gpg, export};
pub use self::key::{SigstoreKey, generate};
use crate::policy::{self, openpgp::Keyring, simple};
use crate::{Error, Place, Problem};

/// What is put on a claim as its maker.
const CREATOR: &str = concat!("knarr ", env!("CARGO_PKG_VERSION"));

/// How what is copied gets signed.
#[derive(Debug, Clone, Default)]
pub struct Signing {
    /// With each of these.
    pub signers: Vec<Signer>,
    /// The name that is signed, instead of the destination's.
    pub identity: Option<String>,
}

/// Who signs.
#[derive(Debug, Clone)]
pub enum Signer {
    /// gpg, with a key of its keyring.
    Gpg(Gpg),
    /// A key of sigstore's.
    Sigstore(SigstoreKey),
}

/// A signature that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signature {
    /// An OpenPGP message that holds the claim.
    Simple(Vec<u8>),
    /// A claim, and the signature over it in base64.
    Sigstore { payload: Vec<u8>, signature: String },
}

impl Signing {
    /// The name that is signed where an image goes to `to`.
    pub(crate) fn name(&self, to: &Place) -> Result<String, Problem> {
        match (&self.identity, to) {
            (Some(identity), _) => Ok(identity.clone()),
            (None, Place::Registry(reference)) if reference.digest().is_none() => Ok(reference.to_string()),
            _ => Err(Problem::Unsupported(
                "cannot determine the name to sign for this destination; say --sign-identity".to_owned(),
            )),
        }
    }

    /// The signatures that make `digest` the image called `name`.
    pub(crate) fn sign(&self, digest: &Digest, name: &str) -> Result<Vec<Signature>, Problem> {
        self.signers.iter().map(|signer| signer.sign(digest, name)).collect()
    }
}

impl Signer {
    fn sign(&self, digest: &Digest, name: &str) -> Result<Signature, Problem> {
        match self {
            Signer::Gpg(gpg) => gpg.sign(&claim(simple::CLAIM_TYPE, digest, name)).map(Signature::Simple),
            Signer::Sigstore(key) => {
                let payload = claim(policy::CLAIM_TYPE, digest, name);
                let signature = STANDARD.encode(key.sign(&payload)?);
                Ok(Signature::Sigstore { payload, signature })
            }
        }
    }
}

impl Signature {
    /// As a file beside an image, where there is one file per signature.
    pub(crate) fn file(&self) -> Vec<u8> {
        match self {
            Signature::Simple(message) => message.clone(),
            Signature::Sigstore { payload, signature } => {
                let json = json!({
                    "mimeType": policy::CLAIM_MEDIA_TYPE,
                    "payload": STANDARD.encode(payload),
                    "annotations": BTreeMap::from([(policy::SIGNATURE, signature)]),
                });
                [&b"\0sigstore-json\n"[..], json.to_string().as_bytes()].concat()
            }
        }
    }
}

/// What is signed.
fn claim(kind: &str, digest: &Digest, name: &str) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let claim = json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest.as_str()},
            "type": kind,
        },
        "optional": {"creator": CREATOR, "timestamp": now},
    });
    claim.to_string().into_bytes()
}

fn said<T>(verb: &'static str, subject: &str, done: Result<T, Problem>) -> Result<T, Error> {
    done.map_err(|problem| Error { verb, subject: subject.to_owned(), problem: Box::new(problem) })
}

/// An OpenPGP signature over the manifest in `file`, called `name`.
pub fn sign_file(file: &Path, name: &str, gpg: &Gpg) -> Result<Vec<u8>, Error> {
    let signed = digest_of(file).and_then(|digest| gpg.sign(&claim(simple::CLAIM_TYPE, &digest, name)));
    said("sign", &file.display().to_string(), signed)
}

/// Whose key made `signature`, which must be over the manifest in `file`, called `name`; and the manifest's digest. `keys` are
/// OpenPGP keys; `fingerprints` those that count, all where there are none.
pub fn verify_file(
    file: &Path,
    name: &str,
    signature: &[u8],
    keys: &[Vec<u8>],
    fingerprints: &[String],
) -> Result<(String, Digest), Error> {
    let verified = || {
        let digest = digest_of(file)?;
        let opened = Keyring::of(keys)?.open(signature)?;
        let opened = opened.map_err(|why| Problem::Signature(format!("invalid signature: {why}")))?;
        let wanted = |made: &String| fingerprints.iter().any(|wanted| wanted.eq_ignore_ascii_case(made));
        let made = match fingerprints {
            [] => opened.fingerprints.first(),
            _ => opened.fingerprints.iter().find(|made| wanted(made)),
        };
        let made = made.cloned().ok_or_else(|| {
            let made = opened.fingerprints.join(", ");
            Problem::Signature(format!("made by the key {made}, expected {}", fingerprints.join(", ")))
        })?;
        simple::claims(&opened.payload, &digest, |signed| signed == name).map_err(Problem::Signature)?;
        Ok((made, digest))
    };
    said("verify", &file.display().to_string(), verified())
}

fn digest_of(file: &Path) -> Result<Digest, Problem> {
    let bytes = std::fs::read(file).map_err(|source| Problem::File { path: file.to_owned(), source })?;
    Ok(Digest::sha256_of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_names_the_image_and_nothing_critical_beside() {
        let digest = Digest::sha256_of(b"manifest");
        let claim: serde_json::Value = serde_json::from_slice(&claim("a kind", &digest, "r.example/app:1")).unwrap();
        let critical = json!({"type": "a kind", "identity": {"docker-reference": "r.example/app:1"},
            "image": {"docker-manifest-digest": digest.as_str()}});
        assert_eq!(claim["critical"], critical);
        assert!(claim["optional"]["timestamp"].as_u64().is_some_and(|seconds| seconds > 1_700_000_000));
    }

    fn check(identity: Option<&str>, to: &str, expect: Option<&str>) {
        let signing = Signing { signers: Vec::new(), identity: identity.map(str::to_owned) };
        assert_eq!(signing.name(&Place::with_transport(to).unwrap()).ok().as_deref(), expect, "{to}");
    }

    #[test]
    fn the_name_that_is_signed_is_the_destinations_or_the_given_one() {
        check(None, "docker://r.example/app:1", Some("r.example/app:1"));
        check(None, "docker://busybox", Some("docker.io/library/busybox:latest"));
        check(Some("x.example/y:1"), "docker://r.example/app:1", Some("x.example/y:1"));
        check(None, "dir:x", None);
        check(Some("x.example/y:1"), "dir:x", Some("x.example/y:1"));
    }
}
