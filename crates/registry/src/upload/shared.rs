//! Uploads that any instance can go on with: bytes as objects, and in the database how far each has come.
//!
//! Law: a request writes what it is sent to an object of its own, its segment, under a name nobody else uses, and only then
//! adds that to the row, if nobody has added to it meanwhile. So what was acknowledged is whole, two requests that write at
//! once do each other no harm (the second is refused), and whoever dies leaves nothing behind that anybody would take for
//! part of an upload.
//! An upload of one segment becomes a blob by a copy inside the store. Of several the bytes are read once more, and hashed,
//! into one.
//!
//! ```text
//! <prefix>/uploads/<id>/<segment>      see `blobs::objects` and, for the rows, `metadata::postgres`
//! ```

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use knarr_spec::{Algorithm, Digest};

use super::{Result, Uploads, busy, incomputable, mismatch, random_id, unknown};
use crate::blobs::{Objects, Segment};
use crate::error::{Failure, IoContext};
use crate::hasher::Hasher;
use crate::manifest::upload_algorithm;
use crate::metadata::{Postgres, Progress};

/// All uploads of all instances.
pub struct Shared {
    objects: Arc<Objects>,
    postgres: Arc<Postgres>,
}

struct Session {
    objects: Arc<Objects>,
    postgres: Arc<Postgres>,
    id: String,
    /// As it was acknowledged last.
    progress: Progress,
    algorithm: Algorithm,
    /// Of everything so far; `None` where some of it went through another request.
    hasher: Option<Hasher>,
    /// What this request brings.
    segment: Option<(String, Segment)>,
    /// Objects this request made that nobody else knows of; they go with the session.
    made: Vec<String>,
    /// Bytes of the segment the database has been told of.
    told: u64,
    /// Whether it ends with this request.
    whole: bool,
}

/// Bytes between two words to the database that some arrive.
const TOUCH_BYTES: u64 = 64 * 1024 * 1024;

impl Shared {
    pub fn new(objects: Arc<Objects>, postgres: Arc<Postgres>) -> Shared {
        Shared { objects, postgres }
    }

    fn session(&self, id: &str, progress: Progress, algorithm: Algorithm, whole: bool) -> Session {
        let hasher = if progress.size == 0 { Hasher::new(&algorithm) } else { None };
        let (objects, postgres, id) = (self.objects.clone(), self.postgres.clone(), id.to_owned());
        Session { objects, postgres, id, progress, algorithm, hasher, segment: None, made: Vec::new(), told: 0, whole }
    }

    fn progress(&self, repository: &str, id: &str) -> std::result::Result<Progress, Failure> {
        let progress = self.postgres.upload(id)?.filter(|progress| progress.repository == repository);
        progress.ok_or_else(|| unknown(repository, id))
    }

    fn start(&self, repository: &str, algorithm: &Algorithm, whole: bool) -> Result<String> {
        let id = random_id().what(|| "draw an upload id".into())?;
        self.postgres.begin_upload(&id, repository, algorithm.as_str(), whole)?;
        Ok(id)
    }

    /// Removes an upload and everything it left.
    fn end(&self, id: &str) -> Result<()> {
        let remains = self.postgres.end_upload(id)?;
        for (name, writing) in &remains.writing {
            // It may have become an object, or not.
            self.objects.abort(name, writing)?;
            self.objects.remove_object(name)?;
        }
        remains.segments.iter().try_for_each(|name| self.objects.remove_object(name))
    }
}

impl Uploads for Shared {
    fn begin(&self, repository: &str, algorithm: Algorithm) -> Result<String> {
        self.start(repository, &algorithm, false)
    }

    fn whole(&self, repository: &str, algorithm: Algorithm) -> Result<Box<dyn super::Session>> {
        let id = self.start(repository, &algorithm, true)?;
        let progress = Progress {
            repository: repository.to_owned(),
            algorithm: algorithm.as_str().to_owned(),
            version: 0,
            size: 0,
            segments: Vec::new(),
            digest: None,
        };
        Ok(Box::new(self.session(&id, progress, algorithm, true)))
    }

    fn find(&self, repository: &str, id: &str) -> std::result::Result<Box<dyn super::Session>, Failure> {
        let progress = self.progress(repository, id)?;
        let algorithm = upload_algorithm(Some(&progress.algorithm))?;
        Ok(Box::new(self.session(id, progress, algorithm, false)))
    }

    fn offset(&self, repository: &str, id: &str) -> std::result::Result<u64, Failure> {
        Ok(self.progress(repository, id)?.size)
    }

    fn forget(&self, id: &str) {
        // What stays behind here is removed by `expire` one day.
        let _ = self.end(id);
    }

    fn expire(&self, idle_max: Duration) -> Result<usize> {
        let (idle, live): (Vec<_>, Vec<_>) = self.postgres.uploads(idle_max)?.into_iter().partition(|(_, idle)| *idle);
        for (id, _) in &idle {
            self.end(id)?;
        }
        // Objects of uploads that ended while somebody else wrote to them.
        let live: HashSet<String> = live.into_iter().map(|(id, _)| id).collect();
        let mut stray = Vec::new();
        self.objects.names("uploads", &mut |name, written| {
            let id = name.split('/').nth(1).unwrap_or_default();
            let age = SystemTime::now().duration_since(written).unwrap_or_default();
            if !live.contains(id) && age > idle_max {
                stray.push(name.to_owned());
            }
            Ok(())
        })?;
        stray.iter().try_for_each(|name| self.objects.remove_object(name))?;
        Ok(idle.len())
    }

    fn busy(&self) -> Result<HashSet<String>> {
        self.postgres.uploading()
    }
}

impl Session {
    fn begun(&mut self) -> Result<&mut (String, Segment)> {
        if self.segment.is_none() {
            let name = format!("uploads/{}/{}", self.id, random_id().what(|| "draw a name".into())?);
            let segment = self.objects.segment(&name);
            self.segment = Some((name, segment));
            self.told = 0;
        }
        Ok(self.segment.as_mut().expect("just begun"))
    }

    /// Makes an object of what this request brought; nothing is acknowledged by that.
    fn settle(&mut self) -> Result<()> {
        let Some((name, segment)) = self.segment.take() else { return Ok(()) };
        let size = segment.finish()?;
        self.made.push(name.clone());
        self.progress.size += size;
        self.progress.segments.push((name, size));
        Ok(())
    }

    /// Reads all segments into one, and hashes them on the way.
    fn gather(&mut self, algorithm: &Algorithm) -> std::result::Result<Digest, Failure> {
        let mut hasher = Hasher::new(algorithm).ok_or_else(|| incomputable(algorithm))?;
        let segments = std::mem::take(&mut self.progress.segments);
        let several = segments.len() > 1;
        for (name, _) in &segments {
            let objects = self.objects.clone();
            objects.read_through(name, &mut |bytes| {
                hasher.update(bytes);
                if several {
                    let (_, whole) = self.begun()?;
                    whole.append(bytes)?;
                    self.tell()?;
                }
                Ok(())
            })?;
        }
        if several {
            self.progress.size = 0;
            // The old ones go with the row, which names them.
            self.settle()?;
        } else {
            self.progress.segments = segments;
        }
        Ok(hasher.finish())
    }

    /// Says now and then that bytes arrive, and under which name, so that they can be given up when we are gone.
    fn tell(&mut self) -> Result<()> {
        let Some((name, segment)) = &self.segment else { return Ok(()) };
        let Some(writing) = segment.id() else { return Ok(()) };
        if self.told == 0 || segment.size() - self.told >= TOUCH_BYTES {
            self.told = segment.size();
            self.postgres.touch_upload(&self.id, name, writing)?;
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.objects.remove_soon(std::mem::take(&mut self.made));
    }
}

impl super::Session for Session {
    fn id(&self) -> &str {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.progress.size + self.segment.as_ref().map_or(0, |(_, segment)| segment.size())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let (_, segment) = self.begun()?;
        segment.append(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.tell()
    }

    fn acknowledge(&mut self) -> std::result::Result<(), Failure> {
        if self.whole || self.segment.as_ref().is_none_or(|(_, segment)| segment.size() == 0) {
            return Ok(());
        }
        self.settle()?;
        self.progress.digest = self.hasher.clone().map(|hasher| hasher.finish().to_string());
        if self.postgres.acknowledge_upload(&self.id, &self.progress)? {
            self.progress.version += 1;
            self.made.clear();
            return Ok(());
        }
        // Somebody else was faster, or the upload is gone.
        Err(busy(&self.id))
    }

    fn verify(&mut self, wanted: &Digest) -> std::result::Result<(), Failure> {
        let algorithm = wanted.algorithm();
        if !algorithm.hasher_known() {
            return Err(incomputable(&algorithm));
        }
        let size = self.offset();
        let untouched = self.segment.is_none() && algorithm == self.algorithm;
        let found = match &self.hasher {
            Some(hasher) if algorithm == self.algorithm => hasher.clone().finish(),
            _ => match self.progress.digest.as_ref().filter(|_| untouched).and_then(|text| text.parse().ok()) {
                Some(digest) => digest,
                None => {
                    self.settle()?;
                    self.gather(&algorithm)?
                }
            },
        };
        if found == *wanted { Ok(()) } else { Err(mismatch(size, &found, wanted)) }
    }

    fn store(&mut self, digest: &Digest) -> Result<()> {
        // What is still in memory goes straight to its place.
        if self.progress.segments.is_empty() {
            let bytes = match &self.segment {
                None => Some([].as_slice()),
                Some((_, segment)) => segment.bytes(),
            };
            if let Some(bytes) = bytes {
                let mut blob = self.objects.blob_segment(digest);
                blob.append(bytes)?;
                return blob.finish().map(|_| ());
            }
        }
        self.settle()?;
        if self.progress.segments.len() > 1 {
            let mut blob = self.objects.blob_segment(digest);
            for (name, _) in &self.progress.segments {
                self.objects.read_through(name, &mut |bytes| blob.append(bytes))?;
            }
            return blob.finish().map(|_| ());
        }
        match self.progress.segments.first() {
            Some((name, size)) => self.objects.adopt(name, *size, digest),
            None => self.objects.blob_segment(digest).finish().map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_testkit::postgres::Postgres as Server;
    use knarr_testkit::s3::S3;

    use super::*;
    use crate::blobs::PART_BYTES;
    use crate::upload::contract;

    #[test]
    fn objects_and_rows_keep_the_contract() {
        let (Some(s3), Some(server)) = (S3::start().unwrap(), Server::start().unwrap()) else { return };
        let scratch = tempfile::tempdir().unwrap();
        let address = server.database().unwrap();
        let objects = Arc::new(crate::blobs::open_for_tests(&s3, scratch.path()));
        let open = || {
            let objects = Arc::new(crate::blobs::open_for_tests(&s3, scratch.path()));
            Shared::new(objects, Arc::new(crate::metadata::open_for_tests(&address)))
        };
        contract::check(open, &*objects, PART_BYTES);
        // Nothing is left, neither of those that ended well nor of those that were refused.
        let left = || {
            let mut left = Vec::new();
            objects
                .names("uploads", &mut |name, _| {
                    left.push(name.to_owned());
                    Ok(())
                })
                .unwrap();
            left
        };
        knarr_testkit::wait::until("what nobody misses is removed", || left().is_empty().then_some(()));
        assert_eq!(server.execute(&address, "SELECT count(*) FROM uploads").unwrap(), "0");
    }

    #[test]
    fn what_an_upload_of_a_dead_process_left_is_removed() {
        let (Some(s3), Some(server)) = (S3::start().unwrap(), Server::start().unwrap()) else { return };
        let scratch = tempfile::tempdir().unwrap();
        let address = server.database().unwrap();
        let objects = Arc::new(crate::blobs::open_for_tests(&s3, scratch.path()));
        let uploads = Shared::new(objects.clone(), Arc::new(crate::metadata::open_for_tests(&address)));
        let id = uploads.begin("a", Algorithm::Sha256).unwrap();
        let mut upload = uploads.find("a", &id).unwrap();
        upload.append(&vec![1; PART_BYTES + 1]).unwrap();
        // It dies here: nothing of it is undone.
        std::mem::forget(upload);
        let mut stray = objects.segment("uploads/0123/4567");
        stray.append(b"x").unwrap();
        stray.finish().unwrap();
        assert_eq!(uploads.find("a", &id).unwrap().offset(), 0);
        assert_eq!(uploads.expire(Duration::ZERO).unwrap(), 1);
        let mut left = 0;
        objects
            .names("uploads", &mut |_, _| {
                left += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!((left, uploads.find("a", &id).is_err()), (0, true));
    }
}
