//! What every destination of images can do: take blobs, then the manifests that name them.
//!
//! Law: a sink is given blobs before the manifests that need them, and the root last; nothing can be seen of an image before
//! its root is there. Whoever gives a blob has its size and digest; the sink checks what it can.

use knarr_spec::{Descriptor, Digest};

use crate::Problem;
use crate::origin::{Document, Stream};
use crate::sign::Signature;

/// Gives the bytes of a blob from an offset on, as often as needed.
pub(crate) type Opener<'o> = dyn Fn(u64) -> Result<Box<dyn Stream + 'o>, Problem> + Sync + 'o;

/// How a sink came by a blob it was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It has to be given.
    Absent,
    /// It was there.
    Present,
    /// The registry took it from this repository of its own.
    Mounted(String),
}

/// What a sink takes, where it does not take everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Manners {
    /// Manifests of OCI's media types only; others are converted unless digests are to be preserved.
    pub(crate) oci_only: bool,
    /// Layers without compression are compressed, as everybody expects of this kind of place.
    pub(crate) compresses: bool,
    /// Whether there is room for an index.
    pub(crate) indexes: bool,
}

/// A destination of images.
pub(crate) trait Sink: Sync {
    fn manners(&self) -> Manners;

    /// Blobs that are coming, in an order that is the same each time.
    fn expect(&self, blobs: &[&Descriptor]) -> Result<(), Problem> {
        let _ = blobs;
        Ok(())
    }

    /// Whether the blob is there, or can be had without giving it.
    fn presence(&self, blob: &Descriptor) -> Result<Presence, Problem>;

    /// Takes a blob; `tell` hears how many bytes are there.
    fn put_blob(&self, blob: &Descriptor, open: &Opener<'_>, tell: &dyn Fn(u64)) -> Result<(), Problem>;

    /// Takes a manifest below the root.
    fn put_manifest(&self, document: &Document, digest: &Digest) -> Result<(), Problem>;

    /// Takes the root, under the sink's name.
    fn put_root(&self, document: &Document, digest: &Digest) -> Result<(), Problem>;

    /// Takes a manifest that refers to another; `entry` is what an index of referrers says of it.
    fn put_referrer(&self, document: &Document, entry: &Descriptor) -> Result<(), Problem> {
        self.put_manifest(document, &entry.digest)
    }

    /// Takes a manifest under another name than the root's, where there is room for one.
    fn put_tagged(&self, document: &Document, digest: &Digest, tag: &str) -> Result<(), Problem> {
        let _ = tag;
        self.put_manifest(document, digest)
    }

    /// Takes signatures of the manifest `digest`, which comes later; of the root, or of one below it.
    fn put_signatures(&self, digest: &Digest, root: bool, signatures: &[Signature]) -> Result<(), Problem> {
        let _ = (digest, root, signatures);
        let what = "signatures cannot be kept at this destination; --remove-signatures leaves those of the source out";
        Err(Problem::Unsupported(what.to_owned()))
    }

    /// Makes everything visible.
    fn finish(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// Makes every wait of other threads end with [`Problem::Interrupted`].
    fn interrupt(&self) {}
}
