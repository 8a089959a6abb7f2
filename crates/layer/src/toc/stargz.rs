//! Writes eStargz: a gzip member of its own for each chunk of a file, the table as the last file of the tar, and a footer.
//!
//! ```text
//! ┌ .no.prefetch.landmark, headers ┐┌ chunk, padding, headers ┐ … ┌ chunk, padding ┐┌ stargz.index.json, end ┐┌ footer ┐
//! ```
//! Spec: stargz-snapshotter's `docs/estargz.md`.
//! Law: for whoever knows only gzip it is a tar with two more files. So its diff id is another one than that of the tar that came.

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder};
use knarr_spec::image::Annotations;
use knarr_spec::{Algorithm, DiffId, Digest};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::apart::{Apart, Part};
use super::chunked::Counting;
use super::document::{Document, Row};
use super::footer::stargz_footer;
use super::{STARGZ_BYTES, STARGZ_DIGEST};
use crate::archive::header::BLOCK_BYTES;

/// The table's name in the tar.
pub const INDEX_NAME: &str = "stargz.index.json";
/// What says that nothing need be fetched ahead.
const NO_PREFETCH: &str = ".no.prefetch.landmark";
const PREFETCH: &str = ".prefetch.landmark";
/// What is in a landmark.
const LANDMARK: [u8; 1] = [0xf];

/// Bytes of a file in one member, as the writers of others have it.
const CHUNK_BYTES: u64 = 4 << 20;

const LEVEL_DEFAULT: u32 = 6;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stargz {
    /// Of the tar inside.
    pub diff_id: DiffId,
    /// What the layer's descriptor must say beside.
    pub annotations: Annotations,
}

/// A layer being written.
struct Writer<W: Write> {
    /// Where members go.
    out: Option<Counting<W>>,
    /// The member that is open.
    member: Option<flate2::write::GzEncoder<Counting<W>>>,
    level: Compression,
    /// Of the tar inside.
    hash: Sha256,
    tar_bytes: u64,
    rows: Vec<Row>,
}

/// Writes the tar `plain` to `out` as eStargz. What a table cannot hold is an error.
pub fn write<W: Write>(plain: &mut dyn Read, out: W, level: Option<i32>) -> io::Result<(W, Stargz)> {
    let level = level.map_or(LEVEL_DEFAULT, |level| level.clamp(0, 9) as u32);
    let mut writer = Writer {
        out: Some(Counting { out, bytes: 0 }),
        member: None,
        level: Compression::new(level),
        hash: Sha256::new(),
        tar_bytes: 0,
        rows: Vec::new(),
    };
    writer.landmark()?;
    let mut apart = Apart::new(plain);
    loop {
        match apart.next()? {
            Part::End { padding, .. } => {
                writer.put(&padding)?;
                break;
            }
            // A layer that is eStargz already has these, of another table.
            Part::Entry { padding, row, bytes, .. } if is_ours(&row.name) => {
                writer.put(&padding)?;
                apart.data(bytes, |_| Ok(()))?;
                apart.pass_padding(bytes)?;
            }
            Part::Entry { padding, headers, row, bytes } => {
                writer.put(&padding)?;
                writer.put(&headers)?;
                writer.file(&mut apart, *row, bytes)?;
            }
        }
    }
    if apart.lossy {
        return Err(io::Error::other(
            "it has a sparse file, a name that is no UTF-8 or a time that eStargz's table cannot hold",
        ));
    }
    writer.end()
}

fn is_ours(name: &str) -> bool {
    let name = name.trim_start_matches("./").trim_start_matches('/');
    [INDEX_NAME, NO_PREFETCH, PREFETCH].contains(&name)
}

impl<W: Write> Writer<W> {
    /// Bytes of the tar, in the member that is open or a new one.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let member = match self.member.take() {
            Some(member) => member,
            // Like our layers: no name, no time, an unknown system.
            None => GzBuilder::new().mtime(0).write(self.out.take().expect("one of both is there"), self.level),
        };
        self.hash.update(bytes);
        self.tar_bytes += bytes.len() as u64;
        self.member.insert(member).write_all(bytes)
    }

    /// Ends the member; where the next one begins.
    fn end_member(&mut self) -> io::Result<u64> {
        if let Some(member) = self.member.take() {
            self.out = Some(member.finish()?);
        }
        Ok(self.out.as_ref().map_or(0, |out| out.bytes))
    }

    fn landmark(&mut self) -> io::Result<()> {
        let header = header(NO_PREFETCH, LANDMARK.len() as u64);
        self.put(header.as_bytes())?;
        let digest = Digest::sha256_of(&LANDMARK).to_string();
        let offset = self.end_member()?;
        self.put(&LANDMARK)?;
        self.put(&[0; BLOCK_BYTES - LANDMARK.len()])?;
        self.rows.push(Row {
            kind: "reg".into(),
            name: NO_PREFETCH.into(),
            mode: 0o644,
            size: LANDMARK.len() as u64,
            digest: digest.clone(),
            chunk_digest: digest,
            offset,
            ..Row::default()
        });
        Ok(())
    }

    fn file(&mut self, apart: &mut Apart<'_>, row: Row, bytes: u64) -> io::Result<()> {
        let first = self.rows.len();
        if bytes == 0 {
            self.rows.push(row);
            return Ok(());
        }
        let mut whole = Sha256::new();
        let mut done = 0;
        let mut next = row;
        while done < bytes {
            let take = CHUNK_BYTES.min(bytes - done);
            let more = Row { kind: "chunk".into(), name: next.name.clone(), ..Row::default() };
            next.offset = self.end_member()?;
            next.chunk_offset = done;
            // As others write it: 0 in the last.
            next.chunk_size = if done + take < bytes { take } else { 0 };
            let mut hash = Sha256::new();
            apart.data(take, |data| {
                hash.update(data);
                whole.update(data);
                self.put(data)
            })?;
            next.chunk_digest = Digest::from_hash(&Algorithm::Sha256, &hash.finalize()).to_string();
            self.rows.push(std::mem::replace(&mut next, more));
            done += take;
        }
        apart.end_data(bytes)?;
        self.rows[first].digest = Digest::from_hash(&Algorithm::Sha256, &whole.finalize()).to_string();
        Ok(())
    }

    fn end(mut self) -> io::Result<(W, Stargz)> {
        let at = self.end_member()?;
        let table = Document { version: 1, entries: std::mem::take(&mut self.rows), tar_split_digest: String::new() };
        let table = serde_json::to_vec(&table).expect("text and numbers");
        self.put(header(INDEX_NAME, table.len() as u64).as_bytes())?;
        self.put(&table)?;
        self.put(&vec![0; table.len().next_multiple_of(BLOCK_BYTES) - table.len() + 2 * BLOCK_BYTES])?;
        self.end_member()?;
        let mut out = self.out.take().expect("no member is open");
        out.write_all(&stargz_footer(at))?;
        let annotations = Annotations::from([
            (STARGZ_DIGEST.to_owned(), Digest::sha256_of(&table).to_string()),
            (STARGZ_BYTES.to_owned(), self.tar_bytes.to_string()),
        ]);
        let diff_id = DiffId(Digest::from_hash(&Algorithm::Sha256, &self.hash.finalize()));
        Ok((out.out, Stargz { diff_id, annotations }))
    }
}

/// The header of a file that the tar has not.
fn header(name: &str, bytes: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_path(name).expect("a short name");
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    header.set_cksum();
    header
}
