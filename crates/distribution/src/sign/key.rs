//! sigstore's keys: ECDSA on P-256, the private one locked with a passphrase.
//!
//! ```text
//! -----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----   PEM of
//! {"kdf": {"name": "scrypt", "params": {"N": 65536, "r": 8, "p": 1}, "salt": …},
//!  "cipher": {"name": "nacl/secretbox", "nonce": …}, "ciphertext": …}              of the key in PKCS #8
//! ```
//! Spec: secure-systems-lab's `encrypted` package, which cosign and containers/image use.
//! Law: a file that asks for more work than [`SCRYPT_LOG_N_MAX`] is refused; nothing is decrypted before its tag agrees.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::policy::P256_PREFIX;

/// What cosign 2 and containers/image write, and what cosign 1 wrote.
const LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// Cost of the keys we write: 64 MiB and a fifth of a second, as others write them.
const SCRYPT_N: u64 = 1 << 16;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 1;

/// Cost of the keys we read. A gibibyte of memory: more is an attack.
const SCRYPT_LOG_N_MAX: u32 = 20;
const SCRYPT_R_MAX: u32 = 8;
const SCRYPT_P_MAX: u32 = 8;

/// Bytes of a tag of Poly1305.
const TAG_BYTES: usize = 16;

/// A private key.
#[derive(Clone)]
pub struct SigstoreKey {
    pkcs8: Vec<u8>,
}

impl fmt::Debug for SigstoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigstoreKey")
    }
}

#[derive(Serialize, Deserialize)]
struct Locked {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

fn bad(why: impl fmt::Display) -> Problem {
    Problem::Signature(format!("private key: {why}"))
}

impl SigstoreKey {
    /// Unlocks the key in `pem`.
    pub fn unlock(pem: &str, passphrase: &[u8]) -> Result<SigstoreKey, Problem> {
        let body = LABELS.iter().find_map(|label| unwrapped(pem, label));
        let body = body.ok_or_else(|| bad(format_args!("not a PEM {}", LABELS[0])))?;
        let locked: Locked = serde_json::from_slice(&body).map_err(bad)?;
        if locked.kdf.name != "scrypt" || locked.cipher.name != "nacl/secretbox" {
            return Err(bad(format_args!("locked by {} and {}", locked.kdf.name, locked.cipher.name)));
        }
        let decoded = |text: &str| STANDARD.decode(text).map_err(bad);
        let nonce = decoded(&locked.cipher.nonce)?.try_into().map_err(|_| bad("a nonce of the wrong size"))?;
        let key = derived(passphrase, &decoded(&locked.kdf.salt)?, &locked.kdf.params)?;
        let pkcs8 = open(&key, &nonce, &decoded(&locked.ciphertext)?).ok_or_else(|| bad("wrong passphrase"))?;
        pair(&pkcs8)?;
        Ok(SigstoreKey { pkcs8 })
    }

    /// A signature in ASN.1 over `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Problem> {
        let signature = pair(&self.pkcs8)?.sign(&SystemRandom::new(), message);
        signature.map(|signature| signature.as_ref().to_vec()).map_err(|_| bad("it does not sign"))
    }
}

fn pair(pkcs8: &[u8]) -> Result<EcdsaKeyPair, Problem> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new());
    pair.map_err(|_| bad("only ECDSA keys on P-256 are supported"))
}

/// A new pair of keys, as PEM: the private one locked with `passphrase`, and the public one.
pub fn generate(passphrase: &[u8]) -> Result<(String, String), Problem> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
    let pkcs8 = pkcs8.map_err(|_| bad("no randomness to be had"))?;
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    for bytes in [&mut salt[..], &mut nonce[..]] {
        random.fill(bytes).map_err(|_| bad("no randomness to be had"))?;
    }
    let params = Params { n: SCRYPT_N, r: SCRYPT_R, p: SCRYPT_P };
    let key = derived(passphrase, &salt, &params)?;
    let locked = Locked {
        kdf: Kdf { name: "scrypt".to_owned(), params, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(seal(&key, &nonce, pkcs8.as_ref())),
    };
    let locked = serde_json::to_vec(&locked).expect("text and numbers");
    let public = [&P256_PREFIX[..], pair(pkcs8.as_ref())?.public_key().as_ref()].concat();
    Ok((wrapped(&locked, LABELS[0]), wrapped(&public, "PUBLIC KEY")))
}

fn derived(passphrase: &[u8], salt: &[u8], cost: &Params) -> Result<[u8; 32], Problem> {
    let log_n = cost.n.checked_ilog2().filter(|log| cost.n.is_power_of_two() && *log <= SCRYPT_LOG_N_MAX);
    let too_much = || bad(format_args!("scrypt with N={}, r={}, p={}", cost.n, cost.r, cost.p));
    let log_n = log_n.filter(|_| cost.r <= SCRYPT_R_MAX && cost.p <= SCRYPT_P_MAX).ok_or_else(too_much)?;
    let params = scrypt::Params::new(log_n as u8, cost.r, cost.p).map_err(|_| too_much())?;
    let mut key = [0; 32];
    scrypt::scrypt(passphrase, salt, &params, &mut key).map_err(|_| too_much())?;
    Ok(key)
}

/// NaCl's secretbox: the first 32 bytes of the stream are the key of the tag, which stands before the ciphertext.
fn seal(key: &[u8; 32], nonce: &[u8; 24], message: &[u8]) -> Vec<u8> {
    let (mut stream, mac) = keyed(key, nonce);
    let mut sealed = message.to_vec();
    stream.apply_keystream(&mut sealed);
    [mac.compute_unpadded(&sealed).as_slice(), &sealed].concat()
}

/// `None` where the tag does not agree.
fn open(key: &[u8; 32], nonce: &[u8; 24], sealed: &[u8]) -> Option<Vec<u8>> {
    let (mut stream, mac) = keyed(key, nonce);
    let (tag, message) = sealed.split_at_checked(TAG_BYTES)?;
    let wrong = mac.compute_unpadded(message).iter().zip(tag).fold(0, |wrong, (a, b)| wrong | (a ^ b));
    let mut message = message.to_vec();
    stream.apply_keystream(&mut message);
    (wrong == 0).then_some(message)
}

fn keyed(key: &[u8; 32], nonce: &[u8; 24]) -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut mac = [0; 32];
    stream.apply_keystream(&mut mac);
    (stream, Poly1305::new(&mac.into()))
}

/// The bytes between the lines of a PEM.
fn unwrapped(pem: &str, label: &str) -> Option<Vec<u8>> {
    let body = pem.split_once(&format!("-----BEGIN {label}-----"))?.1;
    let body = body.split_once(&format!("-----END {label}-----"))?.0;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

fn wrapped(bytes: &[u8], label: &str) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_unlocked_by_its_passphrase_alone() {
        let (private, public) = generate(b"anchor").unwrap();
        assert!(private.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        let key = SigstoreKey::unlock(&private, b"anchor").unwrap();
        assert!(crate::policy::Key::parse(&public).unwrap().verifies(b"claim", &key.sign(b"claim").unwrap()));
        let refused = SigstoreKey::unlock(&private, b"sail").unwrap_err().to_string();
        assert!(refused.contains("wrong passphrase"), "{refused}");
    }

    /// The first test vector of NaCl's own `secretbox`: `tests/secretbox.c`.
    #[test]
    fn the_box_is_nacls() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").try_into().unwrap();
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37").try_into().unwrap();
        let message = hex(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705",
        );
        let sealed = seal(&key, &nonce, &message);
        assert_eq!(sealed[..TAG_BYTES], hex("f3ffc7703f9400e52a7dfb4b3d3305d9")[..]);
        assert_eq!(open(&key, &nonce, &sealed).unwrap(), message);
        let mut bent = sealed;
        bent[20] ^= 1;
        assert_eq!(open(&key, &nonce, &bent), None);
    }

    fn refuses(pem: &str, expect: &str) {
        let why = SigstoreKey::unlock(pem, b"").unwrap_err().to_string();
        assert!(why.contains(expect), "{why}");
    }

    #[test]
    fn files_that_are_no_keys_and_keys_that_cost_too_much_are_refused() {
        refuses("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "not a PEM");
        let locked = |n: u64, kdf: &str| {
            let json = serde_json::json!({
                "kdf": {"name": kdf, "params": {"N": n, "r": 8, "p": 1}, "salt": "AA=="},
                "cipher": {"name": "nacl/secretbox", "nonce": STANDARD.encode([0; 24])}, "ciphertext": "AA==",
            });
            wrapped(json.to_string().as_bytes(), LABELS[1])
        };
        refuses(&locked(1 << 40, "scrypt"), "scrypt with N=1099511627776");
        refuses(&locked(1000, "scrypt"), "scrypt with N=1000");
        refuses(&locked(1024, "argon"), "locked by argon");
        refuses(&locked(1024, "scrypt"), "wrong passphrase");
        refuses(&wrapped(b"{}", LABELS[0]), "missing field");
    }
}
