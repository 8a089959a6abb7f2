//! Tables of contents of layers that can be read file by file: zstd:chunked and eStargz.
//!
//! ```text
//! annotations ─► Promise (form, digest, perhaps the spot)      nothing is believed that the manifest does not promise
//!     └► footer ─► Spot (which bytes of the blob)
//!           └► bytes ─► digest agrees ─► Table (items of a listing, with their places in the blob)
//! ```
//! Spec: containers/storage's zstd:chunked, version 1; stargz-snapshotter's `docs/estargz.md`, and CRFS's footer before it.
//! Law: reading is pure, and bounded by the constants below. A table is read only if its digest is the one the layer's
//! annotation promises: the manifest vouches for it, the blob's own digest cannot while the blob is not read. A table may still
//! lie about the tar; [`assemble`] and [`check_contents`] tell.
//! Not here: asking for the bytes (`distribution`).

mod apart;
mod chunked;
mod content;
mod document;
mod footer;
mod split;
mod stargz;
mod table;
mod time;

use std::io;

use knarr_spec::Digest;
use knarr_spec::digest::DigestError;
use knarr_spec::image::Annotations;

pub use self::chunked::write as write_chunked;
pub use self::content::{check_contents, copy_content};
pub use self::footer::{FOOTER_BYTES_MAX, footer};
pub use self::split::assemble;
pub use self::stargz::{INDEX_NAME, Stargz, write as write_stargz};
pub use self::table::{Table, read};

/// Largest table, packed or not, and largest tar-split. 150 MiB, as containers/storage has it: a layer of half a million files.
pub const TABLE_BYTES_MAX: u64 = 150 << 20;

/// Entries of a table. A million: twice the largest layer we promise to be fast with; each costs a quarter kilobyte of memory.
pub const ENTRIES_MAX: usize = 1 << 20;

/// Bytes of one line of tar-split: the headers between two files, in base64.
const LINE_BYTES_MAX: u64 = 8 << 20;

const CHUNKED_DIGEST: &str = "io.github.containers.zstd-chunked.manifest-checksum";
const CHUNKED_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
const CHUNKED_SPLIT: &str = "io.github.containers.zstd-chunked.tarsplit-position";
const STARGZ_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
const STARGZ_BYTES: &str = "io.containers.estargz.uncompressed-size";

/// The forms there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// zstd frames, and the table in a skippable one.
    Chunked,
    /// gzip members, and the table in the last but one.
    Stargz,
}

impl Form {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Form::Chunked => "zstd:chunked",
            Form::Stargz => "eStargz",
        }
    }
}

/// What a layer's annotations promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The form of the layer.
    pub form: Form,
    /// Of the table: as it is packed for zstd:chunked, unpacked for eStargz.
    pub digest: Digest,
    /// Where the table is, if that is promised too; else the footer says.
    pub spot: Option<Spot>,
}

/// Which bytes of the blob hold the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// zstd:chunked.
    Chunked {
        /// The table.
        table: Piece,
        /// The bytes between the files.
        split: Option<Piece>,
    },
    /// eStargz: everything between here and the footer.
    Stargz {
        /// First byte of the gzip member with the table.
        at: u64,
        /// Where the footer begins.
        end: u64,
    },
}

/// A compressed piece of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// First byte.
    pub at: u64,
    /// Bytes in the blob.
    pub packed_bytes: u64,
    /// Bytes when unpacked.
    pub bytes: u64,
}

impl Spot {
    /// The bytes to ask for.
    pub fn range(&self) -> std::ops::Range<u64> {
        match self {
            Spot::Chunked { table, .. } => table.at..table.at + table.packed_bytes,
            Spot::Stargz { at, end } => *at..*end,
        }
    }
}

/// Why there is no table to be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// An annotation that says nothing.
    #[error("annotation {name}: {value:?} is not understood")]
    Annotation {
        /// Its name.
        name: &'static str,
        /// What stands there.
        value: String,
    },
    /// A digest that is none.
    #[error("annotation {name}")]
    Digest {
        /// Its name.
        name: &'static str,
        /// Why.
        source: DigestError,
    },
    /// The blob does not end as its form asks.
    #[error("it does not end as {} does", .0.name())]
    Footer(Form),
    /// Places outside of the blob.
    #[error("{what} at {at}, {bytes} bytes, is not within the blob of {blob_bytes} bytes")]
    Outside {
        /// What is there.
        what: &'static str,
        /// First byte.
        at: u64,
        /// How many.
        bytes: u64,
        /// The blob's size.
        blob_bytes: u64,
    },
    /// A bound was crossed.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What was too much.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// Not what the manifest promised.
    #[error("it is {got}, the manifest promises {promised}")]
    Mismatch {
        /// What is there.
        got: Digest,
        /// What should be.
        promised: Digest,
    },
    /// Something that does not unpack.
    #[error("unpack {what}")]
    Unpack {
        /// What it is.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Not JSON, or not of this shape.
    #[error("{what} is no JSON of its kind")]
    Json {
        /// What it is.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// An entry that means nothing.
    #[error("entry {name:?}: {what}")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// An entry no layer may have.
    #[error(transparent)]
    Refused(#[from] crate::Error),
    /// A file that is not what the table says.
    #[error("file {name:?}: {what}")]
    Content {
        /// Its name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The blob could not be read.
    #[error("read the blob")]
    Read(#[source] io::Error),
    /// What was read could not be written.
    #[error("write")]
    Write(#[source] io::Error),
}

/// What the annotations of a layer of `blob_bytes` promise; `None` where they know of no table.
pub fn promise(annotations: &Annotations, blob_bytes: u64) -> Result<Option<Promise>, Fault> {
    let digest = |name: &'static str| {
        let text = annotations.get(name);
        text.map(|text| text.parse::<Digest>().map_err(|source| Fault::Digest { name, source })).transpose()
    };
    if let Some(digest) = digest(CHUNKED_DIGEST)? {
        let table = numbers::<4>(annotations, CHUNKED_POSITION)?;
        let split = numbers::<3>(annotations, CHUNKED_SPLIT)?;
        let spot = match table {
            Some([at, packed_bytes, bytes, kind]) => {
                let table = Piece { at, packed_bytes, bytes };
                let split = split.map(|[at, packed_bytes, bytes]| Piece { at, packed_bytes, bytes });
                Some(footer::chunked_spot(table, split, kind, blob_bytes)?)
            }
            None => None,
        };
        return Ok(Some(Promise { form: Form::Chunked, digest, spot }));
    }
    let promised = digest(STARGZ_DIGEST)?;
    Ok(promised.map(|digest| Promise { form: Form::Stargz, digest, spot: None }))
}

/// Numbers with colons between them; more may follow.
fn numbers<const N: usize>(annotations: &Annotations, name: &'static str) -> Result<Option<[u64; N]>, Fault> {
    let Some(value) = annotations.get(name) else { return Ok(None) };
    let mut words = value.split(':');
    let mut numbers = [0; N];
    for number in &mut numbers {
        let word = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        let fault = || Fault::Annotation { name, value: value.chars().take(200).collect() };
        *number = word.and_then(|word| word.parse().ok()).ok_or_else(fault)?;
    }
    Ok(Some(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(pairs: &[(&str, &str)], expect: Result<Option<(Form, bool)>, &str>) {
        let annotations = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        match (promise(&annotations, 1000), expect) {
            (Ok(got), Ok(expect)) => {
                assert_eq!(got.map(|promise| (promise.form, promise.spot.is_some())), expect, "{pairs:?}")
            }
            (Err(fault), Err(expect)) => assert!(fault.to_string().contains(expect), "{fault}"),
            (got, expect) => panic!("{pairs:?}: {got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn annotations_promise_a_table_or_nothing() {
        check(&[], Ok(None));
        check(&[(CHUNKED_POSITION, "1:2:3:1")], Ok(None));
        check(&[(CHUNKED_DIGEST, SUM)], Ok(Some((Form::Chunked, false))));
        check(&[(CHUNKED_DIGEST, SUM), (CHUNKED_POSITION, "800:100:900:1")], Ok(Some((Form::Chunked, true))));
        check(&[(STARGZ_DIGEST, SUM)], Ok(Some((Form::Stargz, false))));
    }

    #[test]
    fn annotations_that_lie_are_named() {
        check(&[(CHUNKED_DIGEST, "x")], Err("manifest-checksum"));
        for position in ["", "1:2:3", "1:2:3:-1", "+1:2:3:1", "99999999999999999999:1:1:1", "1:2:3:"] {
            check(&[(CHUNKED_DIGEST, SUM), (CHUNKED_POSITION, position)], Err("not understood"));
        }
        check(&[(CHUNKED_DIGEST, SUM), (CHUNKED_POSITION, "800:201:900:1")], Err("not within"));
        check(&[(CHUNKED_DIGEST, SUM), (CHUNKED_POSITION, "18446744073709551615:2:900:1")], Err("not within"));
        check(&[(CHUNKED_DIGEST, SUM), (CHUNKED_POSITION, "800:20:9000000000:1")], Err("limit"));
        check(&[(CHUNKED_DIGEST, SUM), (CHUNKED_POSITION, "800:20:900:2")], Err("does not end"));
    }
}
