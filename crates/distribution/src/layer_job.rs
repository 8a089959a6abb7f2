//! One layer: its blob and its tree, from whatever is here already.
//!
//! ```text
//! stream ──► ingest (writes, hashes) ──► commit: size and digest agree        ─┐
//!               └─ tail ──► unpack (decompresses, hashes, writes the tree)     ─┴► diff id agrees: layer commits
//! ```
//! Law: the tree commits only after the blob did. A broken pull leaves the bytes that came, never a tree.

use std::thread;

use bytes::Bytes;
use knarr_layer::{UnpackOptions, Unpacked};
use knarr_spec::{Descriptor, DiffId, media_type};
use knarr_store::{Ingest, IngestState, LayerBuild};

use crate::Problem;
use crate::error::Part;
use crate::fetch::Fetch;
use crate::progress::LayerState;
use crate::segments::{self, Connections};
use crate::tail::{Tail, Writer};

/// A layer to be brought.
pub(crate) struct LayerJob<'a> {
    fetch: &'a Fetch<'a>,
    descriptor: &'a Descriptor,
    diff_id: &'a DiffId,
    unpack: UnpackOptions,
    connections: &'a Connections,
}

impl<'a> LayerJob<'a> {
    /// Refuses what is no layer of a file system.
    pub(crate) fn new(
        fetch: &'a Fetch<'a>,
        descriptor: &'a Descriptor,
        diff_id: &'a DiffId,
        connections: &'a Connections,
    ) -> Result<LayerJob<'a>, Problem> {
        let unknown = || Problem::MediaType { what: "layer", media_type: descriptor.media_type.clone() };
        let compression = media_type::layer_compression(&descriptor.media_type).ok_or_else(unknown)?;
        let unpack = UnpackOptions { compression: Some(compression), ..fetch.options.unpack.clone() };
        Ok(LayerJob { fetch, descriptor, diff_id, unpack, connections })
    }

    /// Tells the caller that this layer belongs to the image.
    pub(crate) fn announce(&self) {
        self.tell(LayerState::Waiting);
    }

    pub(crate) fn run(&self) -> Result<(), Problem> {
        let _own = self.connections.take();
        let brought = match self.bring() {
            // The store has dropped the bytes. They may have been spoiled on the way, or by an earlier attempt.
            Err(Problem::DigestMismatch { .. }) => self.bring(),
            other => other,
        };
        brought.map_err(|problem| problem.of(Part::Layer(self.descriptor.digest.clone())))
    }

    fn tell(&self, state: LayerState) {
        self.fetch.options.progress.layer(&self.descriptor.digest, state);
    }

    fn bring(&self) -> Result<(), Problem> {
        loop {
            let unpacked = self.fetch.store.layer(self.diff_id)?.is_some();
            match self.fetch.store.ingest(&self.descriptor.digest, Some(self.descriptor.size))? {
                IngestState::Present(_) if unpacked => {
                    self.tell(LayerState::AlreadyExists);
                    return Ok(());
                }
                IngestState::Present(_) => return self.unpack_stored(),
                IngestState::Busy(other) => {
                    self.tell(LayerState::WaitingForOther);
                    other.wait()?;
                }
                IngestState::Partial(ingest) if unpacked => return self.download_only(ingest),
                IngestState::Partial(ingest) => return self.download_and_unpack(ingest),
            }
        }
    }

    fn unpack_stored(&self) -> Result<(), Problem> {
        self.tell(LayerState::Extracting);
        let digest = &self.descriptor.digest;
        let blob = self.fetch.store.blob_file(digest)?;
        let blob = blob.ok_or_else(|| knarr_store::Error::NoSuchBlob(digest.clone()))?;
        let build = self.fetch.store.begin_layer()?;
        let unpacked = knarr_layer::unpack(blob, build.root(), &self.unpack)?;
        self.commit(build, unpacked)
    }

    /// The tree is here, made from another blob of the same content; the blob is wanted for pushing.
    fn download_only(&self, mut ingest: Ingest) -> Result<(), Problem> {
        let tail = Tail::new(ingest.offset());
        self.pump(&mut ingest, tail.writer())?;
        ingest.commit()?;
        self.tell(LayerState::Done);
        Ok(())
    }

    fn download_and_unpack(&self, ingest: Ingest) -> Result<(), Problem> {
        let build = self.fetch.store.begin_layer()?;
        let tail = Tail::new(ingest.offset());
        let reader = tail.reader(ingest.read_back()?);
        let (downloaded, unpacked) = thread::scope(|scope| {
            let writer = tail.writer();
            let unpacker = scope.spawn(|| {
                let unpacked = knarr_layer::unpack(reader, build.root(), &self.unpack);
                if unpacked.as_ref().is_err_and(is_no_matter_of_bytes) {
                    tail.give_up();
                }
                unpacked
            });
            let downloaded = self.download(ingest, writer);
            (downloaded, unpacker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        match (downloaded, unpacked) {
            (Ok(()), Ok(unpacked)) => self.commit(build, unpacked),
            // Spoiled bytes make the tar look wrong; wrong bytes are then the thing to report.
            (Err(Problem::Interrupted) | Ok(()), Err(error)) => Err(error.into()),
            (Err(problem), _) => Err(problem),
        }
    }

    fn download(&self, mut ingest: Ingest, writer: Writer<'_>) -> Result<(), Problem> {
        self.pump(&mut ingest, writer)?;
        ingest.commit()?;
        self.tell(LayerState::Downloaded);
        self.tell(LayerState::Extracting);
        Ok(())
    }

    /// Everything from where the blob ends now to its end.
    fn pump(&self, ingest: &mut Ingest, writer: Writer<'_>) -> Result<(), Problem> {
        let (start, total) = (ingest.offset(), self.descriptor.size);
        self.tell(LayerState::Downloading { bytes: ingest.offset(), total });
        let mut take = |chunk: Bytes| {
            ingest.write(&chunk)?;
            writer.advance(chunk.len() as u64)?;
            self.tell(LayerState::Downloading { bytes: ingest.offset(), total });
            Ok(())
        };
        segments::bring(self.fetch.origin, self.descriptor, start, self.connections, &mut take)?;
        let got = ingest.offset();
        if got < total {
            return Err(Problem::Size { by: self.fetch.origin.who(), got, more: false, promised: total });
        }
        writer.complete();
        Ok(())
    }

    fn commit(&self, build: LayerBuild, unpacked: Unpacked) -> Result<(), Problem> {
        if unpacked.diff_id != *self.diff_id {
            return Err(Problem::DiffIdMismatch { got: unpacked.diff_id, promised: self.diff_id.clone() });
        }
        build.commit(unpacked, &self.descriptor.digest)?;
        self.tell(LayerState::Done);
        Ok(())
    }
}

/// Whether more and better bytes would not help: the download may as well stop.
fn is_no_matter_of_bytes(error: &knarr_layer::Error) -> bool {
    matches!(error, knarr_layer::Error::Tree { .. } | knarr_layer::Error::Limit { .. })
}
