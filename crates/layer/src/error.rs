//! What goes wrong between a tar and a tree.

use std::io;
use std::path::PathBuf;

use knarr_spec::media_type::Compression;

/// A failed unpack or pack: what, where, why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes could not be read or did not decompress; the source says which.
    #[error("layer tar: after {at} bytes{}", of(.form))]
    Read {
        /// Uncompressed bytes that were good.
        at: u64,
        /// What we were decompressing.
        form: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The stream is compressed otherwise than its media type says.
    #[error("layer: declared {}, but its bytes are {found}", name(.declared))]
    Mislabelled {
        /// What the media type says.
        declared: Compression,
        /// What the first bytes say.
        found: &'static str,
    },
    /// The stream is in a form no layer may have.
    #[error("layer: its bytes are {found}, and layers are tar, tar+gzip or tar+zstd")]
    Unsupported {
        /// What the first bytes say.
        found: &'static str,
    },
    /// A tar header that cannot be read.
    #[error("layer tar: header at byte {at}: {fault}")]
    Header {
        /// Where the header starts in the uncompressed tar.
        at: u64,
        /// Why.
        fault: HeaderFault,
    },
    /// An entry that is refused.
    #[error("layer tar: entry {name:?}: {refusal}")]
    Refused {
        /// The entry as the tar spells it.
        name: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// A bound of [`Limits`](crate::Limits) was crossed.
    #[error("layer tar: after {at} bytes: {what} exceeds the limit of {limit} ({field})")]
    Limit {
        /// Uncompressed bytes read so far.
        at: u64,
        /// What was too much.
        what: String,
        /// The bound.
        limit: u64,
        /// The field of [`Limits`](crate::Limits).
        field: &'static str,
    },
    /// The tree could not be written or read.
    #[error("layer entry {name:?}")]
    Tree {
        /// The entry.
        name: PathBuf,
        /// The failed call.
        source: knarr_sys::Error,
    },
    /// Something in a tree that no layer tar can hold, or that changed while it was packed.
    #[error("pack {name:?}: {why}")]
    Unpackable {
        /// The path in the tree.
        name: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// A file's data could not be read.
    #[error("pack {name:?}: read its data")]
    Unreadable {
        /// The path in the tree.
        name: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A [`recipe`](crate::recipe) that cannot be followed.
    #[error("recipe of a layer")]
    Recipe {
        /// Why.
        source: io::Error,
    },
    /// The packed bytes could not be written.
    #[error("write layer")]
    Write(#[source] io::Error),
}

/// Why a tar header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The archive ends inside a header or inside an entry's data.
    #[error("the archive is cut off")]
    CutOff,
    /// Header checksum.
    #[error("its checksum is {found}, its bytes sum up to {computed}; this is no tar or it is damaged")]
    Checksum {
        /// As written.
        found: u64,
        /// As computed.
        computed: u64,
    },
    /// A number field.
    #[error("field {0} is no number")]
    Number(&'static str),
    /// A pax record.
    #[error("pax record {0}")]
    Pax(String),
    /// A sparse map.
    #[error("sparse map: {0}")]
    Sparse(&'static str),
    /// A type we have no meaning for.
    #[error("type {:?} is not one a layer can hold", char::from(*.0))]
    Type(u8),
}

/// Why an entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `..` leads above the root of the layer.
    #[error("its name climbs out of the layer")]
    ClimbsOut,
    /// An empty name, or something other than a directory at the root.
    #[error("the root of a layer can only be a directory")]
    RootNotDirectory,
    /// `.wh.` without a name, or of `.` or `..`.
    #[error("a whiteout must name what it hides")]
    WhiteoutWithoutName,
    /// `.wh.x/y`.
    #[error("a whiteout has nothing below it")]
    BelowWhiteout,
    /// A parent is a file or a link that leads nowhere.
    #[error("{0:?} is not a directory")]
    ParentNotDirectory(PathBuf),
    /// A hard link whose target is not there.
    #[error("hard link to {0:?}, which this layer does not hold before it")]
    LinkTargetMissing(PathBuf),
    /// A hard link to a directory.
    #[error("hard link to {0:?}, which is a directory")]
    LinkToDirectory(PathBuf),
    /// An archive of files would replace a directory by something else.
    #[error("cannot overwrite directory with non-directory")]
    OverDirectory,
    /// An archive of files would replace something by a directory.
    #[error("cannot overwrite non-directory with directory")]
    OverNonDirectory,
    /// A symbolic link without a target.
    #[error("symbolic link without a target")]
    EmptyLink,
    /// An owner that does not exist in the user namespace.
    #[error("the layer owns it by {kind} {id}, outside of the {count} ids mapped: {ranges}")]
    UnmappedOwner {
        /// `uid` or `gid`.
        kind: &'static str,
        /// As the layer writes it.
        id: u64,
        /// Ids that are mapped.
        count: u64,
        /// The ranges, `0–65535`.
        ranges: String,
    },
}

impl Error {
    /// How to fix it, where there is a way.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Error::Refused { refusal: Refusal::UnmappedOwner { .. }, .. } => {
                "give the user more subordinate ids in /etc/subuid and /etc/subgid (usermod --add-subuids, --add-subgids)"
            }
            Error::Refused { refusal: Refusal::LinkTargetMissing(_), .. } => {
                "rebuild the image: a layer must carry the file its hard links point to"
            }
            Error::Header { .. } | Error::Read { .. } => {
                "pull the image again; if it fails again, the layer was pushed damaged"
            }
            Error::Mislabelled { .. } => "the image's manifest is wrong; build or push it again",
            Error::Limit { .. } => "if this image is meant to be so large, raise the limit",
            Error::Tree { source, .. } if source.errno == knarr_sys::Errno::NOSPC => "free some space, then try again",
            _ => return None,
        })
    }
}

pub(crate) fn name(compression: &Compression) -> &'static str {
    match compression {
        Compression::None => "a plain tar",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

/// ` of gzip`, or nothing.
fn of(form: &str) -> String {
    if form.is_empty() { String::new() } else { format!(" of {form}") }
}
