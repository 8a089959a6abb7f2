//! A table's bytes become items of a listing.
//!
//! Law: the digest is compared first. What comes out is consistent in itself: names are within the layer, chunks lie before the
//! table, in order, and add up to their file.

use std::io::Read;

use knarr_spec::{Algorithm, Digest};
use sha2::Digest as _;

use super::document::{Document, Row};
use super::time::seconds;
use super::{ENTRIES_MAX, Fault, Form, Promise, Spot, TABLE_BYTES_MAX, stargz};
use crate::archive::Archive;
use crate::listing::{Chunk, Content, Item, Listed, item, of_tar};
use crate::stream::Stream;
use crate::{Compression, Kind, Limits};

/// A table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What the layer holds, in the order of its tar.
    pub items: Vec<Item>,
    /// Of the packed tar-split, where there is one.
    pub split_digest: Option<Digest>,
}

/// A chunk that is not in the blob.
const ZEROS: &str = "zeros";

/// The version both forms have.
const VERSION: u32 = 1;

/// Reads the table in `packed`, the bytes at `spot`.
pub fn read(packed: &[u8], promise: &Promise, spot: &Spot) -> Result<Table, Fault> {
    let (json, index) = match spot {
        Spot::Chunked { table, .. } => {
            agrees(packed, &promise.digest)?;
            (unpacked(packed, table.bytes)?, None)
        }
        Spot::Stargz { .. } => {
            let (json, index) = stargz_json(packed)?;
            agrees(&json, &promise.digest)?;
            (json, Some(index))
        }
    };
    let document: Document =
        serde_json::from_slice(&json).map_err(|source| Fault::Json { what: "the table", source })?;
    if document.version != VERSION {
        return Err(Fault::Entry { name: String::new(), what: "a table of a version nobody knows" });
    }
    let split_digest = match document.tar_split_digest.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|source| Fault::Digest { name: "tarSplitDigest", source })?),
    };
    let mut items = rows(document.entries, promise.form, spot.range().start)?;
    // eStargz's table is a file of the layer, which it does not list.
    items.extend(index.map(|entry| Item::Entry(Box::new(entry))));
    Ok(Table { items, split_digest })
}

/// Compares `bytes` with a promised digest.
pub(super) fn agrees(bytes: &[u8], promised: &Digest) -> Result<(), Fault> {
    let got = match promised.algorithm() {
        Algorithm::Sha512 => Digest::from_hash(&Algorithm::Sha512, &sha2::Sha512::digest(bytes)),
        _ => Digest::sha256_of(bytes),
    };
    if got == *promised { Ok(()) } else { Err(Fault::Mismatch { got, promised: promised.clone() }) }
}

/// Unpacks zstd to exactly `bytes`.
fn unpacked(packed: &[u8], bytes: u64) -> Result<Vec<u8>, Fault> {
    let what = "the table";
    let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(|source| Fault::Unpack { what, source })?;
    let mut json = Vec::new();
    decoder.take(bytes + 1).read_to_end(&mut json).map_err(|source| Fault::Unpack { what, source })?;
    if json.len() as u64 != bytes {
        return Err(Fault::Entry { name: String::new(), what: "the table is not as long as its place says" });
    }
    Ok(json)
}

/// The table in eStargz's tar of one file, and what the tar says of that file.
fn stargz_json(packed: &[u8]) -> Result<(Vec<u8>, Listed), Fault> {
    let limits = Limits { tar_bytes_max: TABLE_BYTES_MAX + (1 << 20), ..Limits::default() };
    let mut stream = Stream::direct(packed, Some(Compression::Gzip), &limits)?;
    let mut archive = Archive::new(&mut stream, &limits);
    let Some(entry) = archive.next()? else { return Err(Fault::Footer(Form::Stargz)) };
    let bytes = archive.data().bytes;
    if entry.name != stargz::INDEX_NAME.as_bytes() || entry.kind != Kind::File || entry.sparse.is_some() {
        return Err(Fault::Footer(Form::Stargz));
    }
    if bytes > TABLE_BYTES_MAX {
        return Err(Fault::Limit { what: "the table", limit: TABLE_BYTES_MAX });
    }
    let mut json = Vec::new();
    loop {
        let data = archive.peek_data()?;
        if data.is_empty() {
            break;
        }
        json.extend_from_slice(data);
        let taken = data.len();
        archive.consume_data(taken);
    }
    Ok((json, of_tar(entry, bytes)))
}

fn rows(rows: Vec<Row>, form: Form, table_at: u64) -> Result<Vec<Item>, Fault> {
    let mut starts: Vec<u64> = match form {
        Form::Chunked => Vec::new(),
        Form::Stargz => rows.iter().map(|row| row.offset).filter(|offset| *offset > 0).collect(),
    };
    starts.sort_unstable();
    let places = Places { form, starts, table_at };
    let mut items: Vec<Item> = Vec::with_capacity(rows.len().min(ENTRIES_MAX));
    let mut rows = rows.into_iter().peekable();
    while let Some(row) = rows.next() {
        let fault = fault(&row.name);
        let kind = match row.kind.as_str() {
            "reg" => Kind::File,
            "dir" => Kind::Directory,
            "symlink" => Kind::Symlink,
            "hardlink" => Kind::HardLink,
            "char" => Kind::CharDevice,
            "block" => Kind::BlockDevice,
            "fifo" => Kind::Fifo,
            "chunk" => return Err(fault("a chunk of no file")),
            _ => return Err(fault("of a type nobody knows")),
        };
        let mut entry = listed(&row, kind)?;
        if kind == Kind::File && row.size > 0 {
            let mut pieces = vec![row];
            while let Some(more) = rows.next_if(|next| next.kind == "chunk") {
                pieces.push(more);
            }
            let row = &pieces[0];
            if pieces.iter().any(|more| more.name != row.name) {
                return Err(fault("the chunk behind it is of another file"));
            }
            let mut done = 0;
            for (at, piece) in pieces.iter().enumerate() {
                // containers/storage gives the end of the file alone: a chunk ends where the next one begins.
                let next = pieces[at + 1..].iter().find(|next| next.chunk_type != ZEROS).map(|next| next.offset);
                let own = Some(piece.end_offset).filter(|end| at > 0 && *end > 0);
                let end = own.or(next).unwrap_or(row.end_offset);
                done = places.chunk(row, piece, done, end, &mut entry.content.chunks)?;
            }
            if done != row.size {
                return Err(fault("its chunks are not as long as it is"));
            }
            entry.content.digest = digest(&row.digest, &row.name)?;
            // A file in one piece has one digest, wherever it stands.
            if let [chunk] = &mut entry.content.chunks[..] {
                chunk.digest = chunk.digest.take().or_else(|| entry.content.digest.clone());
            }
        }
        items.extend(item(entry)?);
    }
    Ok(items)
}

fn fault(name: &str) -> impl Fn(&'static str) -> Fault + use<> {
    let name: String = name.chars().take(200).collect();
    move |what| Fault::Entry { name: name.clone(), what }
}

fn digest(text: &str, name: &str) -> Result<Option<Digest>, Fault> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| fault(name)("its digest is none")),
    }
}

fn listed(row: &Row, kind: Kind) -> Result<Listed, Fault> {
    let fault = fault(&row.name);
    let limits = Limits::default();
    let (path, link) = (row.name.clone().into_bytes(), row.link_name.clone().into_bytes());
    if path.len().max(link.len()) > limits.path_bytes_max {
        return Err(fault("its name is too long"));
    }
    if path.contains(&0) || link.contains(&0) {
        return Err(fault("its name has a NUL in it"));
    }
    let links = matches!(kind, Kind::Symlink | Kind::HardLink);
    if links && link.is_empty() {
        return Err(fault("a link to nothing"));
    }
    let number = |number: u64| u32::try_from(number).map_err(|_| fault("a device number out of range"));
    let modified_s = match row.modtime.as_str() {
        "" => 0,
        text => seconds(text).ok_or_else(|| fault("its time is none"))?,
    };
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => (number(row.dev_major)?, number(row.dev_minor)?),
        _ => (0, 0),
    };
    Ok(Listed {
        path,
        kind,
        link: if links { link } else { Vec::new() },
        mode: (row.mode & 0o7777) as u32,
        uid: row.uid,
        gid: row.gid,
        bytes: if kind == Kind::File { row.size } else { 0 },
        modified_s,
        device,
        content: Content::default(),
    })
}

/// Where chunks may lie.
struct Places {
    form: Form,
    /// Where gzip members begin, sorted: each ends where the next one begins.
    starts: Vec<u64>,
    table_at: u64,
}

impl Places {
    /// Adds the chunk that `row` describes of `file`, `done` bytes of which were described before; how many are now. `end` is where
    /// its data ends in zstd:chunked.
    fn chunk(&self, file: &Row, row: &Row, done: u64, end: u64, chunks: &mut Vec<Chunk>) -> Result<u64, Fault> {
        let fault = fault(&file.name);
        let left =
            file.size.checked_sub(done).filter(|left| *left > 0).ok_or_else(|| fault("chunks beyond its end"))?;
        if row.chunk_offset != done {
            return Err(fault("its chunks do not follow one another"));
        }
        let bytes = if row.chunk_size == 0 { left } else { row.chunk_size };
        if bytes > left {
            return Err(fault("chunks beyond its end"));
        }
        let (at, end) = match (self.form, row.chunk_type.as_str()) {
            (Form::Chunked, ZEROS) => (None, 0),
            (Form::Chunked, "") => (Some(row.offset), end),
            (Form::Chunked, _) => return Err(fault("a chunk of a type nobody knows")),
            (Form::Stargz, _) => {
                let next = self.starts.partition_point(|start| *start <= row.offset);
                (Some(row.offset), self.starts.get(next).copied().unwrap_or(self.table_at))
            }
        };
        if at.is_some_and(|at| at >= end || end > self.table_at) {
            return Err(fault("its data is not before the table"));
        }
        if self.form == Form::Stargz && row.inner_offset > TABLE_BYTES_MAX {
            return Err(fault("its data is too deep in a member"));
        }
        let inner = if self.form == Form::Stargz { row.inner_offset } else { 0 };
        chunks.push(Chunk { at, end, inner, bytes, digest: digest(&row.chunk_digest, &file.name)? });
        Ok(done + bytes)
    }
}
