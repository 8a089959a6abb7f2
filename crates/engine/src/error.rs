//! What can go wrong in a verb, classified once; the faces map [`Kind`] to exit codes and statuses.
//!
//! Law: texts that scripts know from docker (`No such container: x`) are docker's.

use std::io;
use std::path::{Path, PathBuf};

use crate::policy::PolicyError;
use crate::rootless::RootlessError;
use crate::userdb::UserError;
use crate::wanted::ParseError;

/// The result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error, coarsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The named thing is not there.
    NotFound,
    /// It is there, but in a state or in use so that this cannot be done to it.
    Conflict,
    /// The request cannot be right, whatever is here.
    Invalid,
    /// The user or the machine does not allow it.
    Denied,
    /// Bytes are not what they should be.
    Damaged,
    /// The machine, the network or we ourselves failed.
    Failed,
}

/// What, where, why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] knarr_store::Error),
    /// The supervisor, or the runtime behind it, refused.
    #[error(transparent)]
    Monitor(#[from] knarr_monitor::Error),
    /// A pull or load failed.
    #[error(transparent)]
    Fetch(#[from] knarr_distribution::Error),
    /// An image outside of the store, or a change to one, is not what it must be.
    #[error(transparent)]
    Image(#[from] crate::image::problem::ImageProblem),
    /// The processes of a container could not be stopped for a moment.
    #[error("cannot pause container {name}")]
    Freeze {
        /// Its name.
        name: String,
        /// Why not.
        source: knarr_cgroup::Error,
    },
    /// A layer could not be made or unpacked.
    #[error("{what}")]
    Layer {
        /// What was being done, with what.
        what: String,
        /// Why not.
        source: knarr_layer::Error,
    },
    /// The wish cannot become a runtime document.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The user does not exist in the image.
    #[error(transparent)]
    User(#[from] UserError),
    /// A value does not follow its grammar.
    #[error(transparent)]
    Value(#[from] ParseError),
    /// There is no user namespace to be root in.
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    /// A name is no image reference.
    #[error("{0}")]
    Reference(#[from] knarr_spec::ReferenceError),
    /// A text is no platform.
    #[error("{0}")]
    Platform(#[from] knarr_spec::platform::PlatformError),
    /// `--pull=never`, and the image is not here.
    #[error("No such image: {0}")]
    NotPulled(String),
    /// What is to be pushed is not here.
    #[error("An image does not exist locally with the tag: {0}")]
    NotLocal(String),
    /// The image here is for another platform.
    #[error(
        "image with reference {image} was found but does not provide the specified platform ({wanted}): it is for {have}"
    )]
    OtherPlatform {
        /// As given.
        image: String,
        /// `--platform`.
        wanted: String,
        /// What is here.
        have: String,
    },
    /// The verb needs a running container.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The verb needs a container at rest.
    #[error(
        "cannot {verb} container {name:?}: container is running: stop the container before {gerund} or force {verb}"
    )]
    Running {
        /// `remove`.
        verb: &'static str,
        /// `removing`.
        gerund: &'static str,
        /// Name or id as given.
        name: String,
    },
    /// Containers were made from the image.
    #[error(
        "conflict: unable to remove image {image:?} (must force) - container {container} is using its referenced image"
    )]
    ImageInUse {
        /// As given.
        image: String,
        /// Short id of the first of them.
        container: String,
    },
    /// A running container was made from the image.
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    ImageRuns {
        /// As given.
        image: String,
        /// Short id of the first of them.
        container: String,
    },
    /// The image was named by id and has names in several repositories.
    #[error("conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories")]
    ImageHasNames {
        /// As given.
        image: String,
    },
    /// A bind mount of nothing.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", .0.display())]
    NoBindSource(PathBuf),
    /// A device that is not there or is none.
    #[error("error gathering device information while adding custom device {path:?}: {why}")]
    Device {
        /// As given.
        path: String,
        /// `no such file or directory`, `not a device node`.
        why: String,
    },
    /// `--cidfile` names a file that is there.
    #[error(
        "container ID file found, make sure the other container isn't running or delete {}", .0.display()
    )]
    CidFileExists(PathBuf),
    /// The container did not end after SIGKILL.
    #[error("tried to kill container {name}, but did not receive an exit event within {seconds} s")]
    WillNotDie {
        /// Name or id as given.
        name: String,
        /// How long we waited.
        seconds: u64,
    },
    /// A record of the engine in the database is not what it must be.
    #[error("container {id}: its record cannot be read")]
    Record {
        /// The container.
        id: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The runtime document of a container is not what it must be.
    #[error("read {}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The run directory is not ours alone.
    #[error("{}: {why}", path.display())]
    RunDir {
        /// The directory.
        path: PathBuf,
        /// `belongs to uid 0`, `has mode 777`.
        why: String,
    },
    /// The plan of `--dry-run=plan` has problems.
    #[error("configuration: {0}")]
    Plan(knarr_runtime::Problems),
    /// The log cannot be read because none is kept.
    #[error("configured logging driver does not support reading")]
    NoLog,
    /// A file operation failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
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
}

impl Error {
    /// For `map_err`: a file operation that failed.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// For `map_err`: a system call that failed.
    pub(crate) fn sys(action: &'static str) -> impl FnOnce(knarr_sys::Error) -> Error {
        move |source| Error::Sys { action, source }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Store(error) => store_kind(error.kind()),
            Error::Monitor(knarr_monitor::Error::NotRunning { .. } | knarr_monitor::Error::Busy { .. }) => {
                Kind::Conflict
            }
            Error::Fetch(error) => fetch_kind(error.kind()),
            Error::NotPulled(_) | Error::NotLocal(_) | Error::OtherPlatform { .. } => Kind::NotFound,
            Error::Image(problem) => image_kind(problem),
            Error::Policy(_) | Error::User(_) | Error::Value(_) | Error::Reference(_) | Error::Platform(_) => {
                Kind::Invalid
            }
            Error::NoBindSource(_) | Error::Device { .. } | Error::Plan(_) | Error::NoLog => Kind::Invalid,
            Error::NotRunning(_) | Error::Running { .. } | Error::CidFileExists(_) => Kind::Conflict,
            Error::ImageInUse { .. } | Error::ImageRuns { .. } | Error::ImageHasNames { .. } => Kind::Conflict,
            Error::Rootless(_) | Error::RunDir { .. } => Kind::Denied,
            Error::Record { .. } | Error::Document { .. } => Kind::Damaged,
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Kind::Denied,
            _ => Kind::Failed,
        }
    }

    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Store(error) => error.hint().map(str::to_owned),
            Error::Monitor(error) => error.hint(),
            Error::Fetch(error) => error.hint(),
            Error::Image(problem) => problem.hint(),
            Error::Rootless(error) => error.hint().map(str::to_owned),
            Error::NotPulled(name) => Some(format!("pull it first: knarr pull {name}")),
            Error::NotRunning(name) => {
                Some(format!("start it: knarr start {}", name.get(..SHORT_ID_DIGITS).unwrap_or(name)))
            }
            Error::Reference(_) => Some(
                "a name is [HOST[:PORT]/]PATH[:TAG], the path of lower case letters, digits, dots, dashes and slashes"
                    .into(),
            ),
            Error::ImageInUse { .. } | Error::ImageHasNames { .. } => Some("force it with -f".to_owned()),
            Error::RunDir { .. } => Some("set XDG_RUNTIME_DIR to a directory of your own with mode 0700".to_owned()),
            Error::WillNotDie { .. } => {
                Some("it may hang in the kernel: see its state in `ps` and the kernel log".to_owned())
            }
            Error::Policy(PolicyError::NoCommand) => Some("name a command after the image".to_owned()),
            _ => None,
        }
    }

    /// The exit code of a container that could not start: 126 not executable, 127 not found, 125 ours.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Monitor(error) => error.exit_code(),
            _ => crate::exit_code::OURS,
        }
    }
}

/// As much of an id as people read.
const SHORT_ID_DIGITS: usize = 12;

fn store_kind(kind: knarr_store::Kind) -> Kind {
    match kind {
        knarr_store::Kind::NotFound => Kind::NotFound,
        knarr_store::Kind::Conflict => Kind::Conflict,
        knarr_store::Kind::Invalid => Kind::Invalid,
        knarr_store::Kind::Damaged => Kind::Damaged,
        knarr_store::Kind::Denied => Kind::Denied,
        knarr_store::Kind::NoSpace | knarr_store::Kind::Busy | knarr_store::Kind::Io => Kind::Failed,
    }
}

fn image_kind(problem: &crate::image::problem::ImageProblem) -> Kind {
    use crate::image::problem::ImageProblem;
    match problem {
        ImageProblem::NoTag { .. } | ImageProblem::NoDocument { .. } => Kind::NotFound,
        ImageProblem::Exists(_) => Kind::Conflict,
        ImageProblem::NoBlob(_) | ImageProblem::Document { .. } => Kind::Damaged,
        ImageProblem::Change { .. } | ImageProblem::Unsupported(_) => Kind::Invalid,
        _ => Kind::Failed,
    }
}

fn fetch_kind(kind: knarr_distribution::ErrorKind) -> Kind {
    use knarr_distribution::ErrorKind;
    match kind {
        ErrorKind::NotFound | ErrorKind::Platform => Kind::NotFound,
        ErrorKind::Unauthorized | ErrorKind::Forbidden => Kind::Denied,
        ErrorKind::Corrupt => Kind::Damaged,
        ErrorKind::Unsupported | ErrorKind::Invalid => Kind::Invalid,
        ErrorKind::Network | ErrorKind::Local => Kind::Failed,
    }
}
