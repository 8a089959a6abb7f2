//! Content digests: `algorithm:encoded`.
//!
//! Spec: image-spec descriptor.md, "Digests". Any syntactically valid algorithm is accepted, because a manifest may name
//! one we cannot compute; only [`Algorithm::hasher_known`] ones can be verified.
//! Law: a value of these types is well-formed. [`Digest`], [`DiffId`] and [`ChainId`] do not convert into one another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// Longest accepted digest text. Registered algorithms need 135 bytes (`sha512:` and 128 hex digits); the rest is room
/// for algorithms to come, while a hostile document cannot make us keep megabytes per digest.
pub const DIGEST_BYTES_MAX: usize = 512;

/// A digest algorithm as it is written before the colon.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which every implementation has.
    Sha256,
    /// SHA-512.
    Sha512,
    /// BLAKE3 with 32 bytes of output.
    Blake3,
    /// Syntactically valid, but not one we can compute.
    Unregistered(String),
}

impl Algorithm {
    /// The name before the colon.
    pub fn as_str(&self) -> &str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
            Algorithm::Blake3 => "blake3",
            Algorithm::Unregistered(name) => name,
        }
    }

    /// Whether content can be verified against this algorithm here.
    pub fn hasher_known(&self) -> bool {
        !matches!(self, Algorithm::Unregistered(_))
    }

    /// Hex digits after the colon, where the algorithm is registered.
    fn hex_digits(&self) -> Option<usize> {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => Some(64),
            Algorithm::Sha512 => Some(128),
            Algorithm::Unregistered(_) => None,
        }
    }

    fn parse(text: &str) -> Option<Algorithm> {
        let component =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        Some(match text {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            "blake3" => Algorithm::Blake3,
            other if other.split(['+', '.', '_', '-']).all(component) => Algorithm::Unregistered(other.to_owned()),
            _ => return None,
        })
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `algorithm:encoded` form, or characters outside the grammar.
    #[error("{0:?} is not a digest: expected algorithm:encoded, as in sha256:<64 hex digits>")]
    Malformed(String),
    /// A registered algorithm with the wrong number or kind of digits.
    #[error("{text:?} is not a {algorithm} digest: expected {expected} lower-case hex digits after the colon")]
    WrongEncoding {
        /// The text as given.
        text: String,
        /// The algorithm it names.
        algorithm: &'static str,
        /// Digits the algorithm asks for.
        expected: usize,
    },
}

/// The digest of a blob as it is stored and sent.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: Box<str>,
    colon: u16,
}

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn sha256_of(bytes: &[u8]) -> Digest {
        Digest::from_hash(&Algorithm::Sha256, &sha2::Sha256::digest(bytes))
    }

    /// A digest from raw hash output. The length is the caller's to get right; hashers of this workspace do.
    pub fn from_hash(algorithm: &Algorithm, hash: &[u8]) -> Digest {
        use fmt::Write as _;
        let name = algorithm.as_str();
        let mut text = String::with_capacity(name.len() + 1 + hash.len() * 2);
        text.push_str(name);
        text.push(':');
        for byte in hash {
            write!(text, "{byte:02x}").expect("writing to a String");
        }
        Digest { colon: name.len() as u16, text: text.into_boxed_str() }
    }

    /// The algorithm before the colon.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::parse(&self.text[..usize::from(self.colon)]).expect("checked when parsed")
    }

    /// The text after the colon.
    pub fn encoded(&self) -> &str {
        &self.text[usize::from(self.colon) + 1..]
    }

    /// `algorithm:encoded`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first twelve characters of the encoded part, as people read image ids.
    pub fn short(&self) -> &str {
        let encoded = self.encoded();
        &encoded[..encoded.len().min(12)]
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let malformed = || DigestError::Malformed(text.chars().take(DIGEST_BYTES_MAX).collect());
        if text.len() > DIGEST_BYTES_MAX {
            return Err(malformed());
        }
        let (name, encoded) = text.split_once(':').ok_or_else(malformed)?;
        let algorithm = Algorithm::parse(name).ok_or_else(malformed)?;
        match algorithm.hex_digits() {
            Some(expected) => {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if encoded.len() != expected || !encoded.bytes().all(hex) {
                    let algorithm = match algorithm {
                        Algorithm::Sha512 => "sha512",
                        Algorithm::Blake3 => "blake3",
                        _ => "sha256",
                    };
                    return Err(DigestError::WrongEncoding { text: text.to_owned(), algorithm, expected });
                }
            }
            None => {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-');
                if encoded.is_empty() || !encoded.bytes().all(allowed) {
                    return Err(malformed());
                }
            }
        }
        Ok(Digest { colon: name.len() as u16, text: text.into() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The digest of an uncompressed layer tar (image-spec config.md, "Layer DiffID").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// The identity of a stack of layers (image-spec config.md, "Layer ChainID").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// The chain of `layers` from the base upwards; `None` for no layers.
    pub fn of(layers: &[DiffId]) -> Option<ChainId> {
        let (base, rest) = layers.split_first()?;
        let step = |chain: Digest, layer: &DiffId| Digest::sha256_of(format!("{chain} {}", layer.0).as_bytes());
        Some(ChainId(rest.iter().fold(base.0.clone(), step)))
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) {
        assert_eq!(text.parse::<Digest>().expect(text).as_str(), text);
    }

    fn refuses(text: &str) {
        assert!(text.parse::<Digest>().is_err(), "{text:?} was accepted");
    }

    #[test]
    fn registered_algorithms_parse_and_print_as_written() {
        accepts(&format!("sha256:{}", "0a".repeat(32)));
        accepts(&format!("sha512:{}", "0a".repeat(64)));
        accepts(&format!("blake3:{}", "0a".repeat(32)));
    }

    #[test]
    fn an_unregistered_algorithm_passes_but_cannot_be_hashed() {
        accepts("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8");
        let digest: Digest = "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564".parse().unwrap();
        assert!(!digest.algorithm().hasher_known());
    }

    #[test]
    fn paths_upper_case_and_short_hex_are_refused() {
        refuses("sha256:");
        refuses(&format!("sha256:{}", "0A".repeat(32)));
        refuses(&format!("sha256:{}", "0a".repeat(31)));
        refuses("sha256:../../etc/passwd");
        refuses("foo:../../etc/passwd");
        refuses("../x:00");
        refuses("latest");
        refuses(&format!("foo:{}", "a".repeat(DIGEST_BYTES_MAX)));
    }

    #[test]
    fn sha256_of_nothing_is_the_well_known_digest() {
        assert_eq!(
            Digest::sha256_of(b"").as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn a_chain_of_one_layer_is_its_diff_id() {
        let layer = DiffId(Digest::sha256_of(b"layer"));
        assert_eq!(ChainId::of(std::slice::from_ref(&layer)).unwrap().0, layer.0);
        assert_eq!(ChainId::of(&[]), None);
    }

    #[test]
    fn a_chain_of_two_hashes_both_texts_with_a_space_between() {
        let layers = [DiffId(Digest::sha256_of(b"a")), DiffId(Digest::sha256_of(b"b"))];
        let expected = Digest::sha256_of(format!("{} {}", layers[0], layers[1]).as_bytes());
        assert_eq!(ChainId::of(&layers).unwrap().0, expected);
    }
}
