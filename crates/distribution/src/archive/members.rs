//! The named contents of an archive or directory, as ranges of files.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::Problem;
use crate::error::ArchiveProblem;
use crate::origin::Stream;

/// Bytes read at once.
pub(super) const CHUNK_BYTES: u64 = 256 << 10;

/// Something with named contents.
pub(super) trait Members: Sync {
    /// The content called `name`, a relative path with `/`; `None` where there is none.
    fn section(&self, name: &str) -> Result<Option<Section>, Problem>;
}

/// A range of a file.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    pub(crate) start: u64,
    pub(crate) bytes: u64,
}

impl Section {
    /// All of it.
    pub(super) fn read(&self, bytes_max: u64) -> Result<Vec<u8>, Problem> {
        if self.bytes > bytes_max {
            return Err(Problem::TooLarge { bytes_max });
        }
        let mut content = vec![0; self.bytes as usize];
        self.file.read_exact_at(&mut content, self.start).map_err(|source| self.failed(source))?;
        Ok(content)
    }

    /// Its first bytes, as many as there are.
    pub(super) fn start(&self, bytes: u64) -> Result<Vec<u8>, Problem> {
        let head = Section { bytes: self.bytes.min(bytes), ..self.clone() };
        head.read(bytes)
    }

    /// It as a stream, from `offset` on.
    pub(crate) fn stream(self, offset: u64) -> SectionStream {
        SectionStream { position: offset, section: self }
    }

    fn failed(&self, source: std::io::Error) -> Problem {
        match source.kind() {
            ErrorKind::UnexpectedEof => Problem::Archive(ArchiveProblem::Damaged("it became shorter".to_owned())),
            _ => Problem::File { path: self.path.clone(), source },
        }
    }
}

/// A section being read.
pub(crate) struct SectionStream {
    section: Section,
    position: u64,
}

impl Stream for SectionStream {
    fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let left = self.section.bytes.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        let start = self.section.start + self.position;
        let piece = Section { start, bytes: left.min(CHUNK_BYTES), ..self.section.clone() };
        let content = piece.read(CHUNK_BYTES)?;
        self.position += content.len() as u64;
        Ok(Some(content.into()))
    }
}

impl Read for SectionStream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let left = self.section.bytes.saturating_sub(self.position).min(into.len() as u64);
        let start = self.section.start + self.position;
        let got = self.section.file.read_at(&mut into[..left as usize], start)?;
        self.position += got as u64;
        Ok(got)
    }
}

/// A directory of the user's.
pub(super) struct Directory {
    root: PathBuf,
    /// Where `blobs/` is, if not in it.
    blobs: Option<PathBuf>,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Directory, Problem> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Directory { root: path.to_owned(), blobs: None }),
            Ok(_) => {
                Err(Problem::File { path: path.to_owned(), source: std::io::Error::from(ErrorKind::NotADirectory) })
            }
            Err(source) => Err(Problem::File { path: path.to_owned(), source }),
        }
    }

    /// With its blobs elsewhere.
    pub(super) fn with_blobs(self, blobs: Option<&Path>) -> Directory {
        Directory { blobs: blobs.map(Path::to_owned), ..self }
    }
}

impl Members for Directory {
    fn section(&self, name: &str) -> Result<Option<Section>, Problem> {
        let path = match (&self.blobs, name.strip_prefix("blobs/")) {
            (Some(blobs), Some(name)) => blobs.join(name),
            _ => self.root.join(name),
        };
        let failed = |source| Problem::File { path: path.clone(), source };
        // Looked at before it is opened: a fifo would make us wait for ever.
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        if !metadata.is_file() {
            return Err(Problem::Archive(ArchiveProblem::NotAFile(name.to_owned())));
        }
        let file = File::open(&path).map_err(failed)?;
        Ok(Some(Section { file: Arc::new(file), start: 0, bytes: metadata.len(), path }))
    }
}
