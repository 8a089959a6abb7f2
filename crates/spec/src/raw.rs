//! A parsed document beside the bytes it was parsed from.

use serde::de::DeserializeOwned;

use crate::Digest;

/// A document whose digest depends on its exact bytes: both forms, never one without the other.
#[derive(Debug, Clone)]
pub struct Raw<T> {
    bytes: Vec<u8>,
    document: T,
}

impl<T: DeserializeOwned> Raw<T> {
    /// Parses JSON and keeps the bytes as they came.
    pub fn parse(bytes: Vec<u8>) -> Result<Raw<T>, serde_json::Error> {
        let document = serde_json::from_slice(&bytes)?;
        Ok(Raw { bytes, document })
    }
}

impl<T: serde::Serialize> Raw<T> {
    /// Serializes a document of our own making; from then on these bytes are the document.
    pub fn from_document(document: T) -> Raw<T> {
        let bytes = serde_json::to_vec(&document).expect("image documents have string keys and finite numbers");
        Raw { bytes, document }
    }
}

impl<T> Raw<T> {
    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 of the exact bytes.
    pub fn digest(&self) -> Digest {
        Digest::sha256_of(&self.bytes)
    }

    /// The parsed form.
    pub fn document(&self) -> &T {
        &self.document
    }

    /// The bytes alone.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl<T> std::ops::Deref for Raw<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.document
    }
}
