//! Digests of what streams by.

use knarr_spec::{Algorithm, Digest};
use sha2::Digest as _;

use crate::Problem;

/// A digest in the making.
pub(crate) enum Hash {
    /// Through ring, whose assembler is the fastest here.
    Sha256(Box<ring::digest::Context>),
    Sha512(Box<sha2::Sha512>),
}

impl Hash {
    /// By the algorithm of `digest`.
    pub(crate) fn like(digest: &Digest) -> Result<Hash, Problem> {
        match digest.algorithm() {
            Algorithm::Sha256 => Ok(Hash::sha256()),
            Algorithm::Sha512 => Ok(Hash::Sha512(Box::default())),
            other => Err(Problem::UnknownAlgorithm { digest: digest.clone(), algorithm: other.as_str().to_owned() }),
        }
    }

    pub(crate) fn sha256() -> Hash {
        Hash::Sha256(Box::new(ring::digest::Context::new(&ring::digest::SHA256)))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    /// Of what was given so far.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Hash::Sha256(hash) => Digest::from_hash(&Algorithm::Sha256, hash.as_ref().clone().finish().as_ref()),
            Hash::Sha512(hash) => Digest::from_hash(&Algorithm::Sha512, &hash.as_ref().clone().finalize()),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Hash::Sha256(hash) => Digest::from_hash(&Algorithm::Sha256, hash.finish().as_ref()),
            Hash::Sha512(hash) => Digest::from_hash(&Algorithm::Sha512, &hash.finalize()),
        }
    }
}
