//! policy.json: which images may be used.
//!
//! Spec: containers-policy.json(5); for sigstore signatures cosign's: an image under the tag `sha256-<hex>.sig` whose layers
//! are signed claims ("simple signing"), each with its signature in an annotation.
//! Law: the most specific scope decides, alone; all its requirements must hold. What cannot be checked here is refused, never
//! passed over: certificates (`fulcio`, `pki`), sigstore keys other than ECDSA's P-256 and P-384. A signature
//! counts only for the digest it names, of a document on the way from the image's name to its manifest.
//! Not here: finding the file.

pub(crate) mod openpgp;
pub(crate) mod simple;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_spec::{Digest, Manifest, Reference};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

use self::simple::Simple;
use crate::lookaside::reference_scopes;
use crate::origin::{Origin, check_content, read_all};
use crate::{Place, Problem, limits};

/// Largest signed claim; they are half a kilobyte.
const CLAIM_BYTES_MAX: u64 = 1 << 20;

pub(crate) const CLAIM_TYPE: &str = "cosign container image signature";
pub(crate) const CLAIM_MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// DER of a SubjectPublicKeyInfo up to the point, for the two curves.
pub(crate) const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P384_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00,
];

/// What images must show before they are used. The default asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Policy(Option<Arc<Document>>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Requirement {
    InsecureAcceptAnything,
    Reject,
    SignedBy(Box<Simple>),
    SigstoreSigned(Box<Sigstore>),
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Sigstore {
    key_path: Option<PathBuf>,
    key_paths: Vec<PathBuf>,
    key_data: Option<String>,
    key_datas: Vec<String>,
    fulcio: Option<serde_json::Value>,
    pki: Option<serde_json::Value>,
    rekor_public_key_path: Option<PathBuf>,
    rekor_public_key_paths: Vec<PathBuf>,
    rekor_public_key_data: Option<String>,
    rekor_public_key_datas: Vec<String>,
    signed_identity: Option<Identity>,
}

/// What the signed name must have to do with the one that was asked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Identity {
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    ExactReference {
        docker_reference: String,
    },
    ExactRepository {
        docker_repository: String,
    },
    #[serde(rename = "remapIdentity")]
    Remap {
        prefix: String,
        signed_prefix: String,
    },
}

/// An image a policy is asked about.
pub(crate) struct Subject<'s> {
    /// What the user called it.
    pub(crate) place: &'s Place,
    /// Where its signatures are.
    pub(crate) origin: &'s dyn Origin,
    /// The documents on the way to it, each naming the next: indexes, then the manifest.
    pub(crate) documents: &'s [&'s [u8]],
}

impl Policy {
    /// Parses a policy.json.
    pub fn parse(text: &str) -> Result<Policy, serde_json::Error> {
        serde_json::from_str(text).map(|document| Policy(Some(Arc::new(document))))
    }

    pub(crate) fn check(&self, subject: &Subject<'_>) -> Result<(), Problem> {
        let Some(document) = &self.0 else { return Ok(()) };
        let requirements = document.requirements(subject.place);
        if requirements.is_empty() {
            return Err(Problem::Rejected("the policy has an empty list of requirements for it".to_owned()));
        }
        requirements.iter().try_for_each(|requirement| requirement.check(subject))
    }
}

impl Document {
    /// Those of the most specific scope.
    fn requirements(&self, place: &Place) -> &[Requirement] {
        let Some(scopes) = self.transports.get(place.transport()) else { return &self.default };
        let found = scopes_of(place).iter().find_map(|scope| scopes.get(scope));
        found.or_else(|| scopes.get("")).unwrap_or(&self.default)
    }
}

/// The scopes a place is in, the most specific first.
fn scopes_of(place: &Place) -> Vec<String> {
    match place {
        Place::Registry(reference) => reference_scopes(reference),
        Place::OciLayout { dir: path, tag } | Place::OciArchive { path, tag } => {
            let named = tag.iter().map(|tag| format!("{}:{tag}", path.display()));
            named.chain(path.ancestors().map(|path| path.display().to_string()).filter(|path| path != "/")).collect()
        }
        Place::Dir(path) => {
            path.ancestors().map(|path| path.display().to_string()).filter(|path| path != "/").collect()
        }
        Place::DockerArchive { .. } | Place::Local(_) => Vec::new(),
    }
}

impl Requirement {
    fn check(&self, subject: &Subject<'_>) -> Result<(), Problem> {
        match self {
            Requirement::InsecureAcceptAnything => Ok(()),
            Requirement::Reject => {
                Err(Problem::Rejected(format!("Running image {} is rejected by policy.", shown(subject.place))))
            }
            Requirement::SignedBy(simple) => simple.check(subject),
            Requirement::SigstoreSigned(sigstore) => sigstore.check(subject),
        }
    }
}

fn shown(place: &Place) -> String {
    match place {
        Place::Registry(reference) => format!("docker://{reference}"),
        other => other.to_string(),
    }
}

/// Where cosign keeps the signatures of the manifest `digest`.
pub(crate) fn signatures_tag(digest: &Digest) -> String {
    format!("{}-{}.sig", digest.algorithm().as_str(), digest.encoded())
}

/// A public key that signatures are checked with.
pub(crate) struct Key {
    algorithm: &'static dyn VerificationAlgorithm,
    point: Vec<u8>,
}

impl Key {
    pub(crate) fn parse(pem: &str) -> Result<Key, String> {
        let body = pem.split("-----BEGIN PUBLIC KEY-----").nth(1).ok_or("not a PEM public key")?;
        let body = body.split("-----END").next().unwrap_or_default();
        let text: String = body.split_whitespace().collect();
        let der = STANDARD.decode(text).map_err(|_| "not a PEM public key")?;
        let rest = |prefix: &[u8], point_bytes: usize| {
            der.strip_prefix(prefix).filter(|point| point.len() == point_bytes).map(<[u8]>::to_vec)
        };
        if let Some(point) = rest(&P256_PREFIX, 65) {
            return Ok(Key { algorithm: &ECDSA_P256_SHA256_ASN1, point });
        }
        if let Some(point) = rest(&P384_PREFIX, 97) {
            return Ok(Key { algorithm: &ECDSA_P384_SHA256_ASN1, point });
        }
        Err("only ECDSA keys on P-256 and P-384 are supported".to_owned())
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.point).verify(message, signature).is_ok()
    }
}

/// The part of a signed claim that matters.
#[derive(Deserialize)]
struct Claim {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: ClaimedImage,
    identity: ClaimedIdentity,
}

#[derive(Deserialize)]
struct ClaimedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

#[derive(Deserialize)]
struct ClaimedIdentity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

impl Sigstore {
    fn check(&self, subject: &Subject<'_>) -> Result<(), Problem> {
        let keys = self.keys()?;
        let mut why = "A signature was required, but no signature exists".to_owned();
        for document in subject.documents {
            let digest = Digest::sha256_of(document);
            let Some(signatures) = subject.origin.tagged(&signatures_tag(&digest))? else { continue };
            let malformed = |source| Problem::Malformed { what: "manifest of signatures", source };
            let signatures: Manifest = serde_json::from_slice(&signatures.bytes).map_err(malformed)?;
            for layer in signatures.layers.iter().take(limits::SIGNATURES_MAX) {
                let Some(signature) = layer.annotations.get(SIGNATURE) else { continue };
                if layer.media_type != CLAIM_MEDIA_TYPE || layer.size > CLAIM_BYTES_MAX {
                    continue;
                }
                let payload = read_all(&mut *subject.origin.open(layer, 0)?, CLAIM_BYTES_MAX)?;
                check_content(&payload, &layer.digest, Some(layer.size), subject.origin.who())?;
                match self.accepts(&keys, &payload, signature, &digest, subject.place) {
                    Ok(()) => return Ok(()),
                    Err(refusal) => why = refusal,
                }
            }
        }
        Err(Problem::Rejected(why))
    }

    fn keys(&self) -> Result<Vec<Key>, Problem> {
        let certificates = self.fulcio.is_some() || self.pki.is_some();
        let log = self.rekor_public_key_path.is_some()
            || self.rekor_public_key_data.is_some()
            || !self.rekor_public_key_paths.is_empty()
            || !self.rekor_public_key_datas.is_empty();
        if certificates || log {
            let what = if certificates { "certificates (fulcio, pki)" } else { "a transparency log (rekor)" };
            return Err(Problem::Rejected(format!("the policy wants {what}, which cannot be checked here; keys can")));
        }
        let refused = |what: &str, why: String| Problem::Rejected(format!("{what} of the policy: {why}"));
        let mut keys = Vec::new();
        for path in self.key_path.iter().chain(&self.key_paths) {
            let pem = std::fs::read_to_string(path).map_err(|source| Problem::File { path: path.clone(), source })?;
            keys.push(Key::parse(&pem).map_err(|why| refused(&path.display().to_string(), why))?);
        }
        for data in self.key_data.iter().chain(&self.key_datas) {
            let pem = STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pem = pem.ok_or_else(|| refused("keyData", "not base64 of a PEM public key".to_owned()))?;
            keys.push(Key::parse(&pem).map_err(|why| refused("keyData", why))?);
        }
        if keys.is_empty() {
            return Err(refused("sigstoreSigned", "no key is named".to_owned()));
        }
        Ok(keys)
    }

    /// Whether one signature makes `digest` the image of `place`; else why not.
    fn accepts(
        &self,
        keys: &[Key],
        payload: &[u8],
        signature: &str,
        digest: &Digest,
        place: &Place,
    ) -> Result<(), String> {
        let signature = STANDARD.decode(signature).map_err(|_| "a signature that is not base64".to_owned())?;
        if !keys.iter().any(|key| key.verifies(payload, &signature)) {
            return Err("cryptographic signature verification failed: no key of the policy made it".to_owned());
        }
        let claim: Claim =
            serde_json::from_slice(payload).map_err(|error| format!("malformed signed claim: {error}"))?;
        if claim.critical.kind != CLAIM_TYPE {
            return Err(format!("a signature of unknown type {:?}", claim.critical.kind));
        }
        if claim.critical.image.digest != *digest {
            return Err(format!("the signature is for {}, not for {digest}", claim.critical.image.digest));
        }
        let identity = self.signed_identity.as_ref().unwrap_or(&Identity::MatchRepoDigestOrExact);
        let signed = &claim.critical.identity.reference;
        match identity.accepts(place, signed) {
            true => Ok(()),
            false => Err(format!("Signature for identity {signed:?} is not accepted")),
        }
    }
}

impl Identity {
    fn accepts(&self, place: &Place, signed: &str) -> bool {
        let asked = match place {
            Place::Registry(reference) => Some(reference),
            _ => None,
        };
        // cosign signs repositories, and a name without a tag is not one with the tag `latest`.
        let Some((repository, tag)) = split(signed) else { return false };
        let same_name = |reference: &Reference| reference.name() == repository;
        let exact = |reference: &Reference| same_name(reference) && reference.tag() == tag.as_deref();
        match self {
            Identity::MatchExact => asked.is_some_and(|asked| asked.digest().is_none() && exact(asked)),
            Identity::MatchRepoDigestOrExact => asked.is_some_and(|asked| match asked.digest() {
                Some(_) => same_name(asked),
                None => exact(asked),
            }),
            Identity::MatchRepository => asked.is_some_and(same_name),
            Identity::ExactReference { docker_reference } => {
                docker_reference.parse::<Reference>().is_ok_and(|reference| exact(&reference))
            }
            Identity::ExactRepository { docker_repository } => {
                docker_repository.parse::<Reference>().is_ok_and(|reference| same_name(&reference))
            }
            Identity::Remap { prefix, signed_prefix } => {
                asked.is_some_and(|asked| match remapped(asked, prefix, signed_prefix) {
                    Some(asked) if asked.digest().is_some() => same_name(&asked),
                    Some(asked) => exact(&asked),
                    None => false,
                })
            }
        }
    }
}

/// The full repository and the tag of a signed name.
fn split(signed: &str) -> Option<(String, Option<String>)> {
    let reference: Reference = signed.parse().ok()?;
    let last = signed.rsplit('/').next().unwrap_or(signed);
    let tag = reference.tag().filter(|_| last.contains(':') && !last.contains('@')).map(str::to_owned);
    Some((reference.name(), tag))
}

/// `asked` with `prefix` replaced, where it has it up to a separator; else unchanged.
fn remapped(asked: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let text = asked.to_string();
    match text.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', ':', '@']) => {
            format!("{signed_prefix}{rest}").parse().ok()
        }
        _ => Some(asked.clone()),
    }
}

/// Reads a policy.json; `None` where there is no such file.
pub fn read(path: &Path) -> Result<Option<Policy>, Problem> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Problem::File { path: path.to_owned(), source }),
    };
    let bad = |error: serde_json::Error| Problem::ConfigFile { path: path.to_owned(), what: error.to_string() };
    Policy::parse(&text).map(Some).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"{"default":[{"type":"reject"}],"transports":{
        "docker":{"":[{"type":"insecureAcceptAnything"}],"example.com":[{"type":"reject"}],
                  "example.com/team/app":[{"type":"insecureAcceptAnything"}],"*.wild.example":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/x"}]},
        "dir":{"/srv/images":[{"type":"insecureAcceptAnything"}]}}}"#;

    fn check(place: &str, expect: &str) {
        let policy: Document = serde_json::from_str(POLICY).unwrap();
        let place = if Place::has_transport(place) { place.to_owned() } else { format!("docker://{place}") };
        let found = match policy.requirements(&Place::with_transport(&place).unwrap()) {
            [Requirement::InsecureAcceptAnything] => "accept",
            [Requirement::Reject] => "reject",
            [Requirement::SignedBy(_)] => "signedBy",
            _ => "other",
        };
        assert_eq!(found, expect, "{place}");
    }

    #[test]
    fn the_most_specific_scope_decides() {
        check("other.example/x", "accept");
        check("example.com/x", "reject");
        check("example.com/team/app:1", "accept");
        check("example.com/team/apple:1", "reject");
        check("a.wild.example/x", "signedBy");
        check("dir:/srv/images/x", "accept");
        check("dir:/tmp/x", "reject");
        check("oci:/tmp/x", "reject");
    }

    #[test]
    fn an_unknown_requirement_is_an_error() {
        assert!(Policy::parse(r#"{"default":[{"type":"trustMe"}]}"#).is_err());
        assert!(Policy::parse(r#"{"default":[{"type":"sigstoreSigned","keyPth":"x"}]}"#).is_err());
    }

    fn identity(json: &str, asked: &str, signed: &str, expect: bool) {
        let identity: Identity = serde_json::from_str(json).unwrap();
        let place = Place::Registry(asked.parse().unwrap());
        assert_eq!(identity.accepts(&place, signed), expect, "{json} {asked} {signed}");
    }

    #[test]
    fn the_signed_name_must_fit_the_one_asked_for() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let by_digest = format!("r.example/a@sha256:{hex}");
        let default = r#"{"type":"matchRepoDigestOrExact"}"#;
        identity(default, "r.example/a:1", "r.example/a:1", true);
        identity(default, "r.example/a:1", "r.example/a:2", false);
        identity(default, "r.example/a:1", "r.example/a", false);
        identity(default, &by_digest, "r.example/a", true);
        identity(r#"{"type":"matchRepository"}"#, "r.example/a:1", "r.example/a", true);
        identity(r#"{"type":"matchRepository"}"#, "r.example/a:1", "r.example/b", false);
        identity(r#"{"type":"matchExact"}"#, &by_digest, "r.example/a", false);
        identity(
            r#"{"type":"exactRepository","dockerRepository":"o.example/x"}"#,
            "r.example/a:1",
            "o.example/x:9",
            true,
        );
        let remap = r#"{"type":"remapIdentity","prefix":"r.example","signedPrefix":"o.example/m"}"#;
        identity(remap, "r.example/a:1", "o.example/m/a:1", true);
        identity(remap, "r.example/a:1", "r.example/a:1", false);
    }
}
