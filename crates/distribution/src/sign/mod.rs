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

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_spec::Digest;
use knarr_spec::image::Annotations;
use serde::{Deserialize, Serialize};
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
    /// A claim, and what is known of it: the signature over it in base64, and whatever else others wrote.
    Sigstore { payload: Vec<u8>, annotations: Annotations },
}

/// Before a signature of sigstore's in a file; what begins so otherwise is of a kind that nobody here knows.
const SIGSTORE_FILE: &[u8] = b"\0sigstore-json\n";

/// A signature of sigstore's as a file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SigstoreFile {
    mime_type: String,
    payload: String,
    #[serde(default)]
    annotations: Annotations,
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
                let annotations = Annotations::from([(policy::SIGNATURE.to_owned(), signature)]);
                Ok(Signature::Sigstore { payload, annotations })
            }
        }
    }
}

impl Signature {
    /// As a file beside an image, where there is one file per signature.
    pub(crate) fn file(&self) -> Vec<u8> {
        match self {
            Signature::Simple(message) => message.clone(),
            Signature::Sigstore { payload, annotations } => {
                let file = SigstoreFile {
                    mime_type: policy::CLAIM_MEDIA_TYPE.to_owned(),
                    payload: STANDARD.encode(payload),
                    annotations: annotations.clone(),
                };
                [SIGSTORE_FILE, &serde_json::to_vec(&file).expect("strings")].concat()
            }
        }
    }

    /// What [`file`](Signature::file) made, or another tool.
    pub(crate) fn of_file(bytes: Vec<u8>) -> Result<Signature, Problem> {
        let malformed = |source| Problem::Malformed { what: "signature", source };
        let unknown = || Problem::Signature("of a kind that is not known here".to_owned());
        match bytes.strip_prefix(SIGSTORE_FILE) {
            Some(json) => {
                let file: SigstoreFile = serde_json::from_slice(json).map_err(malformed)?;
                let payload = STANDARD.decode(&file.payload).map_err(|_| unknown())?;
                match file.mime_type == policy::CLAIM_MEDIA_TYPE {
                    true => Ok(Signature::Sigstore { payload, annotations: file.annotations }),
                    false => Err(unknown()),
                }
            }
            None if bytes.first() == Some(&0) => Err(unknown()),
            None => Ok(Signature::Simple(bytes)),
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

    #[test]
    fn a_signature_comes_back_from_its_file() {
        let annotations = [(policy::SIGNATURE, "c2ln"), ("dev.sigstore.cosign/bundle", "{}")];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let signatures = [
            Signature::Simple(b"\x90\x0d message".to_vec()),
            Signature::Sigstore { payload: b"{\"critical\":{}}".to_vec(), annotations },
        ];
        for signature in signatures {
            assert_eq!(Signature::of_file(signature.file()).unwrap(), signature);
        }
        for file in ["\0other-json\n{}", "\0sigstore-json\n{", "\0sigstore-json\n{\"mimeType\":\"x\",\"payload\":\"\"}"]
        {
            assert!(Signature::of_file(file.into()).is_err(), "{file:?}");
        }
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
