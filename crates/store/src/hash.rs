//! Hashing while writing, and a hash that can be put down and taken up again.
//!
//! `sha2` uses the processor's SHA instructions where it has them (checked at run time by `cpufeatures`).

use knarr_spec::{Algorithm, Digest};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, Result};

/// A hash in the making.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A fresh hash of the algorithm that `digest` names.
    pub(crate) fn for_digest(digest: &Digest) -> Result<Hasher> {
        match digest.algorithm() {
            Algorithm::Sha256 => Ok(Hasher::Sha256(Sha256::new())),
            Algorithm::Sha512 => Ok(Hasher::Sha512(Sha512::new())),
            Algorithm::Blake3 | Algorithm::Unregistered(_) => Err(Error::UnknownAlgorithm(digest.clone())),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hash) => Digest::from_hash(&Algorithm::Sha256, &hash.finalize()),
            Hasher::Sha512(hash) => Digest::from_hash(&Algorithm::Sha512, &hash.finalize()),
        }
    }

    /// The hash so far, as hex digits.
    pub(crate) fn save(&self) -> String {
        match self {
            Hasher::Sha256(hash) => hex(&hash.serialize()),
            Hasher::Sha512(hash) => hex(&hash.serialize()),
        }
    }

    /// Continues what [`Hasher::save`] put down; `None` where the text is not one of its.
    pub(crate) fn resume(&self, saved: &str) -> Option<Hasher> {
        let bytes = unhex(saved)?;
        Some(match self {
            Hasher::Sha256(_) => Hasher::Sha256(Sha256::deserialize(bytes.as_slice().try_into().ok()?).ok()?),
            Hasher::Sha512(_) => Hasher::Sha512(Sha512::deserialize(bytes.as_slice().try_into().ok()?).ok()?),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of: &Digest, first: &[u8], second: &[u8]) {
        let mut hasher = Hasher::for_digest(of).unwrap();
        hasher.update(first);
        let mut resumed = hasher.resume(&hasher.save()).expect("a saved state");
        resumed.update(second);
        assert_eq!(resumed.finish(), *of);
    }

    #[test]
    fn a_hash_put_down_at_any_byte_goes_on_as_if_it_had_not_been() {
        let content: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let sha256 = Digest::sha256_of(&content);
        let sha512 = Digest::from_hash(&Algorithm::Sha512, &Sha512::digest(&content));
        for at in [0, 1, 63, 64, 65, 127, 128, 129, 999, 1000] {
            check(&sha256, &content[..at], &content[at..]);
            check(&sha512, &content[..at], &content[at..]);
        }
    }

    #[test]
    fn a_state_of_another_kind_or_length_is_not_taken_up() {
        let hasher = Hasher::for_digest(&Digest::sha256_of(b"")).unwrap();
        for saved in ["", "00", "zz", &"0".repeat(1000)] {
            assert!(hasher.resume(saved).is_none(), "{saved:?}");
        }
    }
}
