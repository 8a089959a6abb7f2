//! One hasher over the registered digest algorithms.

use knarr_spec::{Algorithm, Digest};
use sha2::Digest as _;

/// A running hash.
#[derive(Clone)]
pub enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// `None` for an algorithm that cannot be computed here.
    pub fn new(algorithm: &Algorithm) -> Option<Hasher> {
        Some(match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => Hasher::Blake3(Box::default()),
            Algorithm::Unregistered(_) => return None,
        })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
            Hasher::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hasher) => Digest::from_hash(&Algorithm::Sha256, &hasher.finalize()),
            Hasher::Sha512(hasher) => Digest::from_hash(&Algorithm::Sha512, &hasher.finalize()),
            Hasher::Blake3(hasher) => Digest::from_hash(&Algorithm::Blake3, hasher.finalize().as_bytes()),
        }
    }
}

/// Whether `bytes` have this digest; `None` where the algorithm cannot be computed here.
pub fn matches(bytes: &[u8], digest: &Digest) -> Option<bool> {
    let mut hasher = Hasher::new(&digest.algorithm())?;
    hasher.update(bytes);
    Some(hasher.finish() == *digest)
}
