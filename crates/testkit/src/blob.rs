//! Bytes with the digest and media type a manifest names them by.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One piece of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// `application/vnd.oci.image.layer.v1.tar+gzip` and the like.
    pub media_type: String,
    /// `sha256:…` of the bytes, unless a test gave it another one to lie with.
    pub digest: String,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// A blob that tells the truth about itself.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Blob {
        Blob { media_type: media_type.to_string(), digest: sha256(&bytes), bytes }
    }

    /// The descriptor a manifest carries for it (image-spec descriptor.md).
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }

    /// The digits after the colon.
    pub fn hex(&self) -> &str {
        self.digest.split_once(':').map_or("", |(_, hex)| hex)
    }
}

/// `sha256:` and the digest of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_digest_is_the_well_known_one() {
        assert_eq!(sha256(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
