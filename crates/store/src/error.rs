//! What can go wrong in the store, in words, with the way out.
//!
//! Law: an error names the thing it is about; the cause is the `source()` and not repeated in the text. Texts that scripts
//! know from docker (`No such container: x`) are docker's.

use std::io;
use std::path::PathBuf;

use knarr_spec::{DiffId, Digest};

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error, coarsely: the faces map it to exit codes and statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The named thing is not there.
    NotFound,
    /// Something else has the name, or uses the thing.
    Conflict,
    /// The request cannot be right whatever the store holds.
    Invalid,
    /// Bytes on disk or from outside are not what they should be.
    Damaged,
    /// The disk is full.
    NoSpace,
    /// The user may not do this here.
    Denied,
    /// Others kept the database busy for too long.
    Busy,
    /// Anything else the machine refused.
    Io,
}

/// An operation of the store that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{action} {path}", path = path.display())]
    Io {
        /// What was being done, as a verb: `open`, `rename`.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call without a better home failed.
    #[error("{action}")]
    Sys {
        /// What it was for.
        action: &'static str,
        /// The call and its answer.
        source: knarr_sys::Error,
    },
    /// SQLite failed.
    #[error("{action}: database {path}", path = path.display())]
    Database {
        /// What was being done.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// SQLite found a page it cannot make sense of.
    #[error("{action}: database {path} is damaged", path = path.display())]
    Damaged {
        /// What was being done.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Other processes held the database for the whole of [`crate::BUSY_WAIT_S_MAX`].
    #[error("{action}: database {path}: other processes kept it locked for {waited_s} s", path = path.display())]
    Busy {
        /// What was being done.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// How long we waited.
        waited_s: u64,
    },
    /// The database was written by a newer knarr.
    #[error("open store: database {path} has schema {found}, this knarr knows up to {known}", path = path.display())]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The directory is another user's.
    #[error("open store: {path} belongs to uid {owner}, we are uid {us}", path = path.display())]
    NotOurs {
        /// The state directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Our effective uid.
        us: u32,
    },
    /// A record in the database is not what its schema says.
    #[error("database record {record}: {field} is not valid")]
    BadRecord {
        /// Which record, as `table key`.
        record: String,
        /// Which field of it.
        field: &'static str,
    },
    /// Content hashed to something else than it was announced as.
    #[error("blob {expected}: the content has digest {actual}")]
    WrongDigest {
        /// The announced digest.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Content has another size than announced.
    #[error("blob {digest}: {actual} bytes came, {expected} were announced")]
    WrongSize {
        /// Of which blob.
        digest: Digest,
        /// Announced bytes.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// A blob that is to be held in memory is larger than the caller allows.
    #[error("blob {digest}: {bytes} bytes, more than the {max} allowed here")]
    TooBig {
        /// Which blob.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The digest's algorithm cannot be computed here.
    #[error("blob {0}: cannot be verified, its algorithm is not known here")]
    UnknownAlgorithm(Digest),
    /// A blob that must be there is not.
    #[error("blob {0} is not in the store")]
    NoSuchBlob(Digest),
    /// A layer that must be there is not.
    #[error("layer {0} is not in the store")]
    NoSuchLayer(DiffId),
    /// The layers handed in are not those the image's config names.
    #[error("image {image}: layer {position} is {actual}, its config promises {expected}")]
    WrongLayer {
        /// The image id.
        image: Digest,
        /// Which layer, 0 is the base.
        position: usize,
        /// What the config names, or `nothing`.
        expected: String,
        /// What was handed in, or `nothing`.
        actual: String,
    },
    /// A document names another digest than the document handed in beside it.
    #[error("image {image}: {document} {actual} is not the one named ({expected})")]
    WrongDocument {
        /// The image id.
        image: Digest,
        /// `config`, `manifest` or `name`.
        document: &'static str,
        /// The digest named.
        expected: Digest,
        /// The digest of what was handed in.
        actual: Digest,
    },
    /// A layer could not be unpacked from its blob.
    #[error("unpack layer {diff_id}")]
    Unpack {
        /// The layer.
        diff_id: DiffId,
        /// What the unpacker said.
        source: knarr_layer::Error,
    },
    /// A blob that is not kept could not be made of its layer.
    #[error("blob {digest} is not kept, and could not be made of layers/{number}")]
    NotMade {
        /// The blob.
        digest: Digest,
        /// The layer's directory.
        number: i64,
        /// Why.
        source: knarr_layer::Error,
    },
    /// No image goes by this name.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// Several images have ids that begin so.
    #[error("Multiple IDs found with provided prefix: {0}")]
    AmbiguousImage(String),
    /// The text is no image reference.
    #[error("{0}")]
    BadReference(#[from] knarr_spec::ReferenceError),
    /// No container goes by this name.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// Several containers have ids that begin so.
    #[error("Multiple IDs found with provided prefix: {0}")]
    AmbiguousContainer(String),
    /// Another container has the name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    ContainerNameInUse {
        /// The wanted name.
        name: String,
        /// The id of the container that has it.
        holder: String,
    },
    /// A container with this id exists.
    #[error("container {0} exists already")]
    ContainerExists(String),
    /// The container has no snapshot.
    #[error("container {0} has no snapshot")]
    NoSuchSnapshot(String),
    /// No volume goes by this name.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// The name cannot be a directory's, or is not one docker accepts.
    #[error("{0:?} is not a volume name: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    BadVolumeName(String),
    /// A container id is not what it must be.
    #[error("{0:?} is not a container id: expected 64 lower-case hex digits")]
    BadContainerId(String),
    /// Containers use the volume.
    #[error("remove {name}: volume is in use - [{containers}]", containers = containers.join(", "))]
    VolumeInUse {
        /// The volume.
        name: String,
        /// Ids of the containers.
        containers: Vec<String>,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { source, .. } => io_kind(source.kind()),
            Error::Sys { source, .. } => io_kind(io::Error::from(source.clone()).kind()),
            Error::Database { source, .. } => database_kind(source),
            Error::Damaged { .. } | Error::BadRecord { .. } => Kind::Damaged,
            Error::WrongDigest { .. } | Error::WrongSize { .. } => Kind::Damaged,
            Error::Unpack { .. } | Error::NotMade { .. } => Kind::Damaged,
            Error::Busy { .. } => Kind::Busy,
            Error::TooNew { .. } | Error::BadReference(_) | Error::TooBig { .. } => Kind::Invalid,
            Error::UnknownAlgorithm(_) | Error::BadVolumeName(_) | Error::BadContainerId(_) => Kind::Invalid,
            Error::WrongLayer { .. } | Error::WrongDocument { .. } => Kind::Invalid,
            Error::NotOurs { .. } => Kind::Denied,
            Error::NoSuchBlob(_) | Error::NoSuchLayer(_) | Error::NoSuchImage(_) => Kind::NotFound,
            Error::NoSuchContainer(_) | Error::NoSuchSnapshot(_) | Error::NoSuchVolume(_) => Kind::NotFound,
            Error::AmbiguousImage(_) | Error::AmbiguousContainer(_) => Kind::Invalid,
            Error::ContainerNameInUse { .. } | Error::ContainerExists(_) | Error::VolumeInUse { .. } => Kind::Conflict,
        }
    }

    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Error::Damaged { .. } | Error::BadRecord { .. } => {
                "run `knarr system check --repair`: it keeps every record that can still be read"
            }
            Error::NotMade { .. } => "run `knarr system check --contents --repair` and pull the image again",
            Error::TooNew { .. } => "use the newer knarr that wrote it, or another directory with --root",
            Error::NotOurs { .. } => "run as its owner, or choose another directory with --root",
            Error::NoSuchLayer(_) | Error::NoSuchBlob(_) => "pull the image again: only what is missing is fetched",
            Error::WrongDigest { .. } | Error::WrongSize { .. } => {
                "the bytes were dropped; try again, and if it repeats distrust the source or a proxy in between"
            }
            Error::Busy { .. } => "look for a stopped or hung knarr process",
            Error::AmbiguousImage(_) | Error::AmbiguousContainer(_) => "give more characters of the id",
            Error::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "remount the file system read-write, or choose another directory with --root"
            }
            _ => match self.kind() {
                Kind::NoSpace => "free some space (`knarr system prune`), then try again: what was finished is kept",
                Kind::Denied => "check owner and mode of the directory, or choose another one with --root",
                _ => return None,
            },
        })
    }
}

fn io_kind(kind: io::ErrorKind) -> Kind {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
        _ => Kind::Io,
    }
}

fn database_kind(error: &rusqlite::Error) -> Kind {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Kind::NoSpace,
        Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied) => Kind::Denied,
        _ => Kind::Io,
    }
}

/// Puts a failed file operation into words.
pub(crate) trait IoContext<T> {
    fn doing(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.into(), source })
    }
}
