//! JSON Web Signatures in their compact form: made with one key of ours, checked with keys of others.
//!
//! Spec: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 and RFC 8037 (algorithms). Law: a key says which algorithms it is for, the
//! token's header only chooses among them; there is no `none` and no shared secret. Pure but for the random numbers.
//! Not here: what the claims must say (`issuer`, `external`).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaPublicKeyComponents, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;

/// Longest token looked at: tokens with many groups have 4 kB, and a request's head has no room for much more.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Keys taken from one set. Issuers publish two or three; each costs a comparison per token.
const KEYS_MAX: usize = 64;

/// The key tokens are signed with.
pub enum SigningKey {
    /// Ed25519: `EdDSA`.
    Ed25519(Ed25519KeyPair),
    /// ECDSA with P-256 and SHA-256: `ES256`.
    P256(EcdsaKeyPair),
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no private key in PKCS#8 form, which begins with -----BEGIN PRIVATE KEY-----")]
    NotPkcs8,
    #[error("neither an Ed25519 nor a P-256 key")]
    OtherKind,
    #[error("no random numbers to make a key of")]
    Random,
}

impl SigningKey {
    /// A new Ed25519 key, and the PEM to keep it as.
    pub fn generate() -> Result<(SigningKey, String), KeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| KeyError::OtherKind)?;
        let body = base64::engine::general_purpose::STANDARD.encode(document.as_ref());
        let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Ok((SigningKey::Ed25519(key), pem))
    }

    /// Reads a PEM file's text.
    pub fn from_pem(pem: &[u8]) -> Result<SigningKey, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPkcs8)?;
        let der = der.secret_pkcs8_der();
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(SigningKey::Ed25519(key));
        }
        EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new())
            .map(SigningKey::P256)
            .map_err(|_| KeyError::OtherKind)
    }

    /// The other half.
    pub fn verifying(&self) -> VerifyingKey {
        let (kind, bytes) = match self {
            SigningKey::Ed25519(key) => (Kind::Ed25519, key.public_key().as_ref().to_vec()),
            SigningKey::P256(key) => (Kind::P256, key.public_key().as_ref().to_vec()),
        };
        let hash = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let id = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12]);
        VerifyingKey { id: Some(id), only: None, kind, material: Material::Point(bytes) }
    }

    /// Signs claims.
    pub fn sign(&self, key_id: &str, claims: &Value) -> Result<String, KeyError> {
        let algorithm = match self {
            SigningKey::Ed25519(_) => "EdDSA",
            SigningKey::P256(_) => "ES256",
        };
        let header = serde_json::json!({"typ": "JWT", "alg": algorithm, "kid": key_id});
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = match self {
            SigningKey::Ed25519(key) => key.sign(token.as_bytes()).as_ref().to_vec(),
            SigningKey::P256(key) => {
                key.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| KeyError::Random)?.as_ref().to_vec()
            }
        };
        Ok(format!("{token}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A public key that tokens are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    /// `kid`
    pub id: Option<String>,
    /// The only algorithm it is for, where its owner says so.
    only: Option<String>,
    kind: Kind,
    material: Material,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
    P384,
    Rsa,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Point(Vec<u8>),
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

impl VerifyingKey {
    fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if self.only.as_ref().is_some_and(|only| only != algorithm) {
            return false;
        }
        match (&self.material, self.kind, algorithm) {
            (Material::Point(point), Kind::Ed25519, "EdDSA" | "Ed25519") => {
                UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signature).is_ok()
            }
            (Material::Point(point), Kind::P256, "ES256") => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Material::Point(point), Kind::P384, "ES384") => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            (Material::Rsa { modulus, exponent }, Kind::Rsa, name) => {
                let parameters = match name {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signature).is_ok()
            }
            _ => false,
        }
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// The keys of a JWK set that tokens can be checked with; others (encryption, unknown kinds) are passed over.
pub fn parse_key_set(json: &[u8]) -> Result<Vec<VerifyingKey>, serde_json::Error> {
    let set: KeySet = serde_json::from_slice(json)?;
    Ok(set.keys.iter().take(KEYS_MAX).filter_map(usable).collect())
}

fn usable(jwk: &Jwk) -> Option<VerifyingKey> {
    if jwk.usage.as_ref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes = |field: &Option<String>| URL_SAFE_NO_PAD.decode(field.as_ref()?.trim_end_matches('=')).ok();
    let point = || Some([vec![4], bytes(&jwk.x)?, bytes(&jwk.y)?].concat());
    let (kind, material) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("OKP", Some("Ed25519")) => (Kind::Ed25519, Material::Point(bytes(&jwk.x)?)),
        ("EC", Some("P-256")) => (Kind::P256, Material::Point(point()?)),
        ("EC", Some("P-384")) => (Kind::P384, Material::Point(point()?)),
        ("RSA", _) => (Kind::Rsa, Material::Rsa { modulus: bytes(&jwk.n)?, exponent: bytes(&jwk.e)? }),
        _ => return None,
    };
    Some(VerifyingKey { id: jwk.kid.clone(), only: jwk.alg.clone(), kind, material })
}

/// A token taken apart, its signature not yet checked.
pub struct Unverified<'a> {
    header: Header,
    claims: Value,
    message: &'a str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Unverified<'a> {
    /// Reads a token; `None` for what is none.
    pub fn parse(token: &'a str) -> Option<Unverified<'a>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // Whatever a critical extension says, we do not know it (RFC 7515 section 4.1.11).
        (header.crit.is_none() && claims.is_object()).then_some(Unverified { header, claims, message, signature })
    }

    /// Who says to have issued it.
    pub fn issuer(&self) -> Option<&str> {
        self.claims["iss"].as_str()
    }

    /// Whether one of `keys` is the key it names.
    pub fn key_is_known(&self, keys: &[VerifyingKey]) -> bool {
        self.header.kid.is_none() || keys.iter().any(|key| key.id == self.header.kid)
    }

    /// The claims, if one of `keys` signed them.
    pub fn verify(self, keys: &[VerifyingKey]) -> Option<Value> {
        let named = |key: &&VerifyingKey| match (&self.header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        let signed = keys
            .iter()
            .filter(named)
            .any(|key| key.verifies(&self.header.alg, self.message.as_bytes(), &self.signature));
        signed.then_some(self.claims)
    }
}

/// Whether the claims hold at `now` (seconds since 1970): `exp` must be there, `nbf` need not. Clocks may differ by `leeway`.
pub fn in_time(claims: &Value, now: u64, leeway: u64) -> bool {
    // NumericDate may be a fraction (RFC 7519 section 2).
    let number = |name: &str| claims[name].as_f64().filter(|number| number.is_finite());
    let ends = number("exp").is_some_and(|end| end + leeway as f64 > now as f64);
    let begun = match &claims["nbf"] {
        Value::Null => true,
        _ => number("nbf").is_some_and(|begin| begin <= (now + leeway) as f64),
    };
    ends && begun
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate().unwrap().0
    }

    fn verify(token: &str, keys: &[VerifyingKey]) -> Option<Value> {
        Unverified::parse(token)?.verify(keys)
    }

    #[test]
    fn what_was_signed_is_verified_and_nothing_else() {
        let (ours, other) = (key(), key());
        let token = ours.sign("a", &json!({"sub": "ship"})).unwrap();
        let mut known = ours.verifying();
        known.id = Some("a".into());
        assert_eq!(verify(&token, std::slice::from_ref(&known)), Some(json!({"sub": "ship"})));
        assert_eq!(verify(&token, &[other.verifying()]), None);
        let mut bent = token.clone().into_bytes();
        let at = token.find('.').unwrap() + 5;
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(verify(std::str::from_utf8(&bent).unwrap(), &[known]), None);
    }

    #[test]
    fn a_key_goes_to_pem_and_back() {
        let (key, pem) = SigningKey::generate().unwrap();
        assert_eq!(SigningKey::from_pem(pem.as_bytes()).unwrap().verifying(), key.verifying());
        assert!(SigningKey::from_pem(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err());
        assert!(SigningKey::from_pem(b"hello").is_err());
    }

    #[test]
    fn no_algorithm_but_the_keys_own_counts() {
        let key = key();
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"root"}"#);
        let keys = [VerifyingKey { id: None, ..key.verifying() }];
        for header in
            [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"ES256"}"#, r#"{"alg":"EdDSA","crit":["x"]}"#]
        {
            let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
            // Signed with the public key as a shared secret, which a careless verifier would accept.
            let Material::Point(public) = &keys[0].material else { unreachable!() };
            let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public);
            let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, message.as_bytes()));
            assert_eq!(verify(&format!("{message}.{signature}"), &keys), None, "{header}");
            assert_eq!(verify(&format!("{message}."), &keys), None, "{header}");
        }
    }

    #[test]
    fn a_key_set_gives_the_keys_for_signatures() {
        let set = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty":"RSA","kid":"b","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"},{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"},
            {"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"AA"}]}"#;
        let ids: Vec<_> = parse_key_set(set).unwrap().into_iter().map(|key| key.id.unwrap()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(parse_key_set(b"{}").is_err());
    }

    #[test]
    fn the_example_of_rfc_8037_is_verified() {
        let set = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let signing_input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let keys = parse_key_set(set).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(keys[0].verifies("EdDSA", signing_input.as_bytes(), &signature));
        // Its payload is no JSON object, so it is no token.
        assert!(Unverified::parse(signing_input).is_none());
    }

    #[test]
    fn a_token_without_an_end_never_holds() {
        assert!(in_time(&json!({"exp": 100}), 99, 0));
        assert!(in_time(&json!({"exp": 100.5, "nbf": 10}), 100, 0));
        assert!(!in_time(&json!({"exp": 100}), 100, 0));
        assert!(in_time(&json!({"exp": 100}), 120, 60));
        assert!(!in_time(&json!({"exp": 100, "nbf": 90}), 10, 60));
        for claims in [json!({}), json!({"exp": "100"}), json!({"exp": null}), json!({"exp": 100, "nbf": "x"})] {
            assert!(!in_time(&claims, 10, 60), "{claims}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_and_none_brings_it_down(token in "[A-Za-z0-9._-]{0,200}|\\PC{0,50}") {
            let keys = [VerifyingKey { id: None, ..key().verifying() }];
            prop_assert_eq!(verify(&token, &keys), None);
        }

        #[test]
        fn no_bytes_as_a_key_set_bring_it_down(json in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_key_set(&json);
        }
    }
}
