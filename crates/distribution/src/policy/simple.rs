//! `signedBy`: OpenPGP signatures over a claim about an image ("simple signing").
//!
//! Spec: containers-policy.json(5), containers-signature(5).
//! Law: a signature counts when a key of the policy made it, and what it signed is strict: no key is unknown, none twice.
//! Not here: OpenPGP itself (`openpgp`), where signatures lie (`lookaside`).

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_spec::Digest;
use serde::Deserialize;

use super::openpgp::Keyring;
use super::{Identity, Subject};
use crate::{Place, Problem};

pub(crate) const CLAIM_TYPE: &str = "atomic container signature";

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Simple {
    key_type: KeyType,
    key_path: Option<PathBuf>,
    #[serde(default)]
    key_paths: Vec<PathBuf>,
    key_data: Option<String>,
    signed_identity: Option<Identity>,
}

/// The others of the specification were never defined.
#[derive(Debug, Clone, PartialEq, Deserialize)]
enum KeyType {
    #[serde(rename = "GPGKeys")]
    Keys,
}

/// What is signed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    critical: Critical,
    #[serde(rename = "optional")]
    _optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: ClaimedImage,
    identity: ClaimedIdentity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimedIdentity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

impl Simple {
    pub(super) fn check(&self, subject: &Subject<'_>) -> Result<(), Problem> {
        let keyring = Keyring::of(&self.keys()?)?;
        let mut reasons: Vec<String> = Vec::new();
        for document in subject.documents {
            let digest = Digest::sha256_of(document);
            for signature in subject.origin.signatures(&digest)? {
                match self.accepts(&keyring, &signature, &digest, subject.place)? {
                    Ok(()) => return Ok(()),
                    Err(reason) => reasons.push(reason),
                }
            }
        }
        Err(Problem::Rejected(match &reasons[..] {
            [] => "A signature was required, but no signature exists".to_owned(),
            [reason] => reason.clone(),
            reasons => format!("None of the signatures were accepted, reasons: {}", reasons.join("; ")),
        }))
    }

    fn keys(&self) -> Result<Vec<Vec<u8>>, Problem> {
        let ways = [self.key_path.is_some(), !self.key_paths.is_empty(), self.key_data.is_some()];
        if ways.into_iter().filter(|way| *way).count() != 1 {
            let what = "signedBy of the policy: exactly one of keyPath, keyPaths and keyData must be specified";
            return Err(Problem::Rejected(what.to_owned()));
        }
        if let Some(data) = &self.key_data {
            let keys = STANDARD.decode(data);
            return keys
                .map(|keys| vec![keys])
                .map_err(|_| Problem::Rejected("keyData of the policy: not base64".into()));
        }
        let read = |path: &PathBuf| std::fs::read(path).map_err(|source| Problem::File { path: path.clone(), source });
        self.key_path.iter().chain(&self.key_paths).map(read).collect()
    }

    /// Whether one signature makes `digest` the image of `place`; else why not.
    fn accepts(
        &self,
        keyring: &Keyring,
        signature: &[u8],
        digest: &Digest,
        place: &Place,
    ) -> Result<Result<(), String>, Problem> {
        // What begins with a NUL is a signature of another kind.
        if signature.first() == Some(&0) {
            return Ok(Err("a signature that is not OpenPGP's".to_owned()));
        }
        let payload = match keyring.open(signature)? {
            Ok(opened) => opened.payload,
            Err(why) => return Ok(Err(format!("Invalid GPG signature: {why}"))),
        };
        Ok(self.fits(&payload, digest, place))
    }

    fn fits(&self, payload: &[u8], digest: &Digest, place: &Place) -> Result<(), String> {
        let wanted = self.signed_identity.as_ref().unwrap_or(&Identity::MatchRepoDigestOrExact);
        claims(payload, digest, |signed| wanted.accepts(place, signed))
    }
}

/// Whether what was signed makes `digest` the image of a name that is accepted; else why not.
pub(crate) fn claims(payload: &[u8], digest: &Digest, accepts: impl Fn(&str) -> bool) -> Result<(), String> {
    let claim: Claim = serde_json::from_slice(payload).map_err(|error| format!("malformed signature: {error}"))?;
    let Critical { kind, image, identity } = claim.critical;
    if kind != CLAIM_TYPE {
        return Err(format!("a signature of unknown type {kind:?}"));
    }
    if !accepts(&identity.reference) {
        return Err(format!("Signature for identity {:?} is not accepted", identity.reference));
    }
    match image.digest == *digest {
        true => Ok(()),
        false => Err(format!("Signature for digest {} does not match", image.digest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simple(json: &str) -> Simple {
        serde_json::from_str(json).unwrap()
    }

    fn check(payload: &str, expect: Result<(), &str>) {
        let place = Place::Registry("r.example/app:v1".parse().unwrap());
        let digest = Digest::sha256_of(b"manifest");
        let payload = payload.replace("DIGEST", digest.as_str());
        let found = simple(r#"{"keyType":"GPGKeys","keyData":"AA=="}"#).fits(payload.as_bytes(), &digest, &place);
        match (found, expect) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(expect)) => assert!(found.contains(expect), "{found}"),
            (found, _) => panic!("{payload}: {found:?}"),
        }
    }

    #[test]
    fn a_claim_must_be_about_the_image_and_hold_nothing_else() {
        let claim = |kind: &str, digest: &str, name: &str, more: &str| {
            format!(
                r#"{{"critical":{{"type":"{kind}","image":{{"docker-manifest-digest":"{digest}"}},
                "identity":{{"docker-reference":"{name}"}}{more}}},"optional":{{"creator":"x"}}}}"#
            )
        };
        let kind = "atomic container signature";
        check(&claim(kind, "DIGEST", "r.example/app:v1", ""), Ok(()));
        check(&claim(kind, "DIGEST", "r.example/app:v2", ""), Err("is not accepted"));
        check(&claim("other", "DIGEST", "r.example/app:v1", ""), Err("unknown type"));
        check(&claim(kind, "DIGEST", "r.example/app:v1", r#","more":1"#), Err("unknown field"));
        check(&claim(kind, "DIGEST", "r.example/app:v1", r#","type":"x""#), Err("duplicate field"));
        let other = Digest::sha256_of(b"other");
        check(&claim(kind, other.as_str(), "r.example/app:v1", ""), Err("does not match"));
        check("{}", Err("missing field"));
    }

    fn refuses(json: &str, expect: &str) {
        let error = simple(json).keys().unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn keys_come_from_one_place() {
        refuses(r#"{"keyType":"GPGKeys"}"#, "exactly one");
        refuses(r#"{"keyType":"GPGKeys","keyPath":"/x","keyData":"AA=="}"#, "exactly one");
        refuses(r#"{"keyType":"GPGKeys","keyData":"?"}"#, "base64");
        assert_eq!(simple(r#"{"keyType":"GPGKeys","keyData":"AAE="}"#).keys().unwrap(), [[0, 1]]);
        assert!(serde_json::from_str::<Simple>(r#"{"keyType":"X509Certificates","keyPath":"/x"}"#).is_err());
    }
}
