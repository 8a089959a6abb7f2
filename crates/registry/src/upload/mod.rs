//! Uploads in progress.
//!
//! Law: what was acknowledged stays, and the upload can go on from there, whatever becomes of the process that took it;
//! bytes become a blob only when all of them have the digest that is claimed.
//! Not here: who may upload (`auth`), what a blob is (`blobs`).
//!
//! Files belong to one process, objects and rows (`shared`) to any number of them. Every implementation has to pass
//! `contract`; handlers know this interface only.

#[cfg(test)]
mod contract;
mod files;
#[cfg(all(feature = "objects", feature = "postgres"))]
mod shared;

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use knarr_spec::{Algorithm, Digest};
use serde_json::json;

use crate::error::{Code, Failure, StorageError};

pub use files::{Files, Held};
#[cfg(all(feature = "objects", feature = "postgres"))]
pub use shared::Shared;

type Result<T> = std::result::Result<T, StorageError>;

/// An upload, held by the request that works on it. All methods block.
pub trait Session: Send {
    /// Its name.
    fn id(&self) -> &str;

    /// Bytes received so far.
    fn offset(&self) -> u64;

    /// Appends bytes; all of them or, where that fails, none.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Appends pieces, one behind the other; where that fails, none from some piece on.
    fn append_all(&mut self, pieces: &[Bytes]) -> Result<()> {
        pieces.iter().try_for_each(|piece| self.append(piece))
    }

    /// From here on everything appended so far is acknowledged.
    fn acknowledge(&mut self) -> std::result::Result<(), Failure>;

    /// Whether everything received has the digest `wanted`; a refusal otherwise.
    fn verify(&mut self, wanted: &Digest) -> std::result::Result<(), Failure>;

    /// Puts the verified bytes in place as a blob. The session keeps them until it is forgotten, so that this can be done again;
    /// nothing is appended any more.
    fn store(&mut self, digest: &Digest) -> Result<()>;
}

/// Where uploads are kept. All methods block, but for those that say they do not.
pub trait Uploads: Send + Sync {
    /// Begins an upload and returns its id.
    fn begin(&self, repository: &str, algorithm: Algorithm) -> Result<String>;

    /// An upload that comes in one request and ends with it: nobody can find it.
    fn whole(&self, repository: &str, algorithm: Algorithm) -> Result<Box<dyn Session>>;

    /// The upload `id` of `repository`, also when it was begun by another process.
    fn find(&self, repository: &str, id: &str) -> std::result::Result<Box<dyn Session>, Failure>;

    /// As [`begin`](Uploads::begin), where that waits for nothing.
    fn begin_at_once(&self, _repository: &str, _algorithm: &Algorithm) -> Option<Result<String>> {
        None
    }

    /// As [`find`](Uploads::find), of an upload that can be found without waiting for anything.
    fn find_at_once(&self, _repository: &str, _id: &str) -> Option<std::result::Result<Box<dyn Session>, Failure>> {
        None
    }

    /// Bytes received so far of the upload `id`, also while another request writes to it, which does not notice.
    fn offset(&self, repository: &str, id: &str) -> std::result::Result<u64, Failure>;

    /// Forgets an upload that became a blob or was cancelled.
    fn forget(&self, id: &str);

    /// Removes uploads nobody has touched for `idle_max`. Returns how many.
    fn expire(&self, idle_max: Duration) -> Result<usize>;

    /// Repositories somebody uploads to.
    fn busy(&self) -> Result<HashSet<String>>;
}

/// There is no such upload.
fn unknown(repository: &str, id: &str) -> Failure {
    Failure::new(Code::BlobUploadUnknown, format!("no upload {id} in {repository}"))
        .with_detail(json!({"name": repository, "upload": id}))
}

/// Somebody else works on it.
fn busy(id: &str) -> Failure {
    Failure::new(Code::BlobUploadInvalid, format!("upload {id} is being written by another request"))
        .with_status(StatusCode::CONFLICT)
}

/// The bytes received are not those of `wanted`.
fn mismatch(received: u64, found: &Digest, wanted: &Digest) -> Failure {
    Failure::new(Code::DigestInvalid, format!("the {received} bytes sent have the digest {found}, not {wanted}"))
        .with_detail(json!({"bytes": received, "found": found.as_str(), "wanted": wanted.as_str()}))
}

/// Nobody can say whether these bytes have such a digest.
fn incomputable(algorithm: &Algorithm) -> Failure {
    Failure::new(Code::DigestInvalid, format!("cannot compute {} digests", algorithm.as_str()))
}

fn random_id() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
