//! Writes zstd:chunked: a layer whose files can be found and fetched one by one.
//!
//! ```text
//! ┌ headers ┐┌ file ┐┌ headers ┐┌ file ┐ … ┌ trailer ┐┌ table of contents ┐┌ tar-split ┐┌ footer ┐
//!   each a zstd frame of its own                        skippable frames, which readers of plain zstd pass over
//! ```
//! Law: the tar inside is the one that came, byte for byte; what is said of it in the table is found in it. A tar with what a
//! table cannot hold (names that are no UTF-8, sparse files) gets none, which could only lie about it.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_spec::Digest;
use knarr_spec::image::Annotations;
use sha2::{Digest as _, Sha256};

use super::apart::{Apart, Part};
use super::document::{Document, Row};
use super::footer::{CHUNKED_MAGIC, SKIPPABLE, SKIPPABLE_HEAD_BYTES, TABLE_KIND};
use super::split::{Crc64, Line};
use super::{CHUNKED_DIGEST, CHUNKED_POSITION, CHUNKED_SPLIT};

const LEVEL_DEFAULT: i32 = 3;

/// A layer being written.
struct Writer<W: Write> {
    out: Counting<W>,
    level: i32,
    rows: Vec<Row>,
    /// tar-split's lines, compressed as they come.
    split: zstd::stream::write::Encoder<'static, Vec<u8>>,
    split_bytes: u64,
    lines: u64,
}

/// Writes the tar `plain` to `out`; what the layer's descriptor must say beside.
pub fn write<W: Write>(plain: &mut dyn Read, out: W, level: Option<i32>) -> io::Result<(W, Annotations)> {
    let level = level.unwrap_or(LEVEL_DEFAULT);
    let split = zstd::stream::write::Encoder::new(Vec::new(), level)?;
    let out = Counting { out, bytes: 0 };
    let mut writer = Writer { out, level, rows: Vec::new(), split, split_bytes: 0, lines: 0 };
    let mut apart = Apart::new(plain);
    loop {
        match apart.next()? {
            Part::Entry { padding, headers, row, bytes } => {
                writer.between(&[padding, headers].concat())?;
                writer.file(&mut apart, *row, bytes)?;
            }
            Part::End { padding, rest } => {
                writer.between(&[padding, rest].concat())?;
                break;
            }
        }
    }
    if apart.lossy || apart.has_idle_data { Ok((writer.out.out, Annotations::new())) } else { writer.end() }
}

impl<W: Write> Writer<W> {
    fn file(&mut self, apart: &mut Apart<'_>, mut row: Row, bytes: u64) -> io::Result<()> {
        let mut payload = None;
        if bytes > 0 {
            row.offset = self.out.bytes;
            let mut sum = Crc64::default();
            let mut hash = Sha256::new();
            let mut frame = zstd::stream::write::Encoder::new(&mut self.out, self.level)?;
            apart.data(bytes, |data| {
                hash.update(data);
                sum.update(data);
                frame.write_all(data)
            })?;
            frame.finish()?;
            apart.end_data(bytes)?;
            row.end_offset = self.out.bytes;
            row.digest = Digest::from_hash(&knarr_spec::Algorithm::Sha256, &hash.finalize()).to_string();
            payload = Some(STANDARD.encode(sum.bytes()));
        }
        let line = Line { kind: 1, name: row.name.clone(), size: row.size, payload, ..Line::default() };
        self.rows.push(row);
        self.line(line)
    }

    /// Writes what stands between two files, as a frame and as a line.
    fn between(&mut self, between: &[u8]) -> io::Result<()> {
        if between.is_empty() {
            return Ok(());
        }
        let mut frame = zstd::stream::write::Encoder::new(&mut self.out, self.level)?;
        frame.write_all(between)?;
        frame.finish()?;
        self.line(Line { kind: 2, payload: Some(STANDARD.encode(between)), ..Line::default() })
    }

    fn line(&mut self, line: Line) -> io::Result<()> {
        let line = Line { position: self.lines, ..line };
        let mut text = serde_json::to_vec(&line).expect("text and numbers");
        text.push(b'\n');
        self.lines += 1;
        self.split_bytes += text.len() as u64;
        self.split.write_all(&text)
    }

    fn end(mut self) -> io::Result<(W, Annotations)> {
        let split = self.split.finish()?;
        let tar_split_digest = Digest::sha256_of(&split).to_string();
        let table = Document { version: 1, entries: self.rows, tar_split_digest };
        let table = serde_json::to_vec(&table).expect("text and numbers");
        let packed = zstd::encode_all(&table[..], self.level)?;
        let table_at = self.out.bytes + SKIPPABLE_HEAD_BYTES;
        self.out.skippable(&packed)?;
        let split_at = self.out.bytes + SKIPPABLE_HEAD_BYTES;
        self.out.skippable(&split)?;
        let numbers = [
            table_at,
            packed.len() as u64,
            table.len() as u64,
            TABLE_KIND,
            split_at,
            split.len() as u64,
            self.split_bytes,
        ];
        let mut footer: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        footer.extend_from_slice(CHUNKED_MAGIC);
        self.out.skippable(&footer)?;
        let annotations = Annotations::from([
            (CHUNKED_DIGEST.to_owned(), Digest::sha256_of(&packed).to_string()),
            (CHUNKED_POSITION.to_owned(), format!("{table_at}:{}:{}:{TABLE_KIND}", packed.len(), table.len())),
            (CHUNKED_SPLIT.to_owned(), format!("{split_at}:{}:{}", split.len(), self.split_bytes)),
        ]);
        Ok((self.out.out, annotations))
    }
}

/// Counts what goes through.
pub(super) struct Counting<W: Write> {
    pub out: W,
    pub bytes: u64,
}

impl<W: Write> Counting<W> {
    fn skippable(&mut self, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(|_| io::Error::other("a table of more than 4 GiB"))?;
        self.write_all(&SKIPPABLE)?;
        self.write_all(&length.to_le_bytes())?;
        self.write_all(content)
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use tar::{EntryType, Header};

    use super::*;

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind, content: &[u8]| {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(0o640);
            header.set_uid(7);
            header.set_gid(8);
            header.set_mtime(1_700_000_000);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content).unwrap();
        };
        add("d/", EntryType::Directory, b"");
        add("d/one", EntryType::Regular, &b"one ".repeat(1000));
        add("d/empty", EntryType::Regular, b"");
        add(&format!("d/{}", "long".repeat(60)), EntryType::Regular, b"named at length");
        builder.into_inner().unwrap()
    }

    fn slice(blob: &[u8], position: &str) -> Vec<u8> {
        let numbers: Vec<usize> = position.split(':').map(|number| number.parse().unwrap()).collect();
        zstd::decode_all(&blob[numbers[0]..numbers[0] + numbers[1]]).unwrap()
    }

    #[test]
    fn it_is_the_same_tar_for_who_knows_only_zstd() {
        let (blob, _) = write(&mut &tar()[..], Vec::new(), None).unwrap();
        let mut plain = Vec::new();
        crate::decompress(&blob[..], Some(knarr_spec::media_type::Compression::Zstd))
            .unwrap()
            .read_to_end(&mut plain)
            .unwrap();
        assert_eq!(plain, tar());
    }

    #[test]
    fn files_are_found_by_the_table() {
        let (blob, annotations) = write(&mut &tar()[..], Vec::new(), None).unwrap();
        let table = slice(&blob, &annotations["io.github.containers.zstd-chunked.manifest-position"]);
        let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
        assert_eq!(table["entries"].as_array().unwrap().len(), 4);
        let file = &table["entries"][1];
        assert_eq!(
            (file["name"].as_str(), file["type"].as_str(), file["size"].as_u64()),
            (Some("d/one"), Some("reg"), Some(4000))
        );
        assert_eq!(file["modtime"], "2023-11-14T22:13:20Z");
        let (offset, end) = (file["offset"].as_u64().unwrap() as usize, file["endOffset"].as_u64().unwrap() as usize);
        assert_eq!(zstd::decode_all(&blob[offset..end]).unwrap(), b"one ".repeat(1000));
        assert_eq!(table["entries"][3]["name"].as_str().unwrap().len(), 242);
    }

    #[test]
    fn the_tar_can_be_put_together_from_tar_split_and_files() {
        let (blob, annotations) = write(&mut &tar()[..], Vec::new(), None).unwrap();
        let table = slice(&blob, &annotations["io.github.containers.zstd-chunked.manifest-position"]);
        let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
        let lines = slice(&blob, &annotations["io.github.containers.zstd-chunked.tarsplit-position"]);
        let mut made = Vec::new();
        let mut files = table["entries"].as_array().unwrap().iter();
        for line in String::from_utf8(lines).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let payload = line["payload"].as_str().map(|text| STANDARD.decode(text).unwrap());
            match line["type"].as_u64() {
                Some(2) => made.extend(payload.unwrap()),
                _ => {
                    let file = files.next().unwrap();
                    assert_eq!(file["name"], line["name"]);
                    if let (Some(offset), Some(end)) = (file["offset"].as_u64(), file["endOffset"].as_u64()) {
                        made.extend(zstd::decode_all(&blob[offset as usize..end as usize]).unwrap());
                    }
                }
            }
        }
        assert_eq!(made, tar());
    }
}
