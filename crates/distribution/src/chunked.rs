//! zstd:chunked: a layer whose files can be found and fetched one by one.
//!
//! ```text
//! ┌ headers ┐┌ file ┐┌ headers ┐┌ file ┐ … ┌ trailer ┐┌ table of contents ┐┌ tar-split ┐┌ footer ┐
//!   each a zstd frame of its own                        skippable frames, which readers of plain zstd pass over
//! ```
//! Spec: containers/storage's description of the format, version 1: a table of contents in JSON, the bytes between the files
//! as tar-split's lines, a footer of 64 bytes.
//! Law: the tar inside is the one that came, byte for byte; what is said of it in the table is found in it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tar::{EntryType, Header, PaxExtensions};

use crate::hash::Hash;
use knarr_spec::image::Annotations;

/// Tar's unit.
const BLOCK: usize = 512;

/// Longest extended header that is read for names and attributes.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// Bytes moved at once.
const CHUNK_BYTES: usize = 256 << 10;

const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
const FOOTER_MAGIC: &[u8; 8] = b"GNUlInUx";
/// Magic number and length of a skippable frame.
const SKIPPABLE_HEAD_BYTES: u64 = 8;
/// The only form of a table there is.
const TABLE_TYPE: u64 = 1;
const LEVEL_DEFAULT: i32 = 3;

#[derive(Serialize)]
struct Table {
    version: u32,
    entries: Vec<Entry>,
    #[serde(rename = "tarSplitDigest")]
    tar_split_digest: String,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    uid: u64,
    gid: u64,
    modtime: String,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    end_offset: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A line of tar-split: 1 is a file, 2 what stands between files.
#[derive(Serialize)]
struct Line<'l> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'l str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    payload: Option<String>,
    position: u64,
}

/// What extended headers say of the entry that follows.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<String>,
    xattrs: BTreeMap<String, String>,
}

/// A layer being written.
struct Writer<W: Write> {
    out: Counting<W>,
    level: i32,
    entries: Vec<Entry>,
    /// tar-split's lines, compressed as they come.
    split: zstd::stream::write::Encoder<'static, Vec<u8>>,
    split_bytes: u64,
    lines: u64,
    /// Bytes between two files, not yet written.
    between: Vec<u8>,
}

/// Writes the tar `plain` to `out`; what the layer's descriptor must say beside.
pub(crate) fn write<W: Write>(plain: &mut dyn Read, out: W, level: Option<i32>) -> io::Result<(W, Annotations)> {
    let level = level.unwrap_or(LEVEL_DEFAULT);
    let split = zstd::stream::write::Encoder::new(Vec::new(), level)?;
    let out = Counting { out, bytes: 0 };
    let mut writer = Writer { out, level, entries: Vec::new(), split, split_bytes: 0, lines: 0, between: Vec::new() };
    writer.tar(plain)?;
    writer.end()
}

impl<W: Write> Writer<W> {
    fn tar(&mut self, plain: &mut dyn Read) -> io::Result<()> {
        let mut extended = Extended::default();
        loop {
            let mut block = [0; BLOCK];
            let got = fill(plain, &mut block)?;
            self.between.extend_from_slice(&block[..got]);
            if got < BLOCK || block.iter().all(|byte| *byte == 0) {
                // The end, and whatever somebody put behind it.
                return plain.read_to_end(&mut self.between).map(drop);
            }
            let header = Header::from_byte_slice(&block);
            let kind = header.entry_type();
            let size = extended.size.unwrap_or(header.entry_size()?);
            match kind {
                EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                    let data = self.extension(plain, header.entry_size()?)?;
                    extended.read(kind, &data)?;
                }
                EntryType::XGlobalHeader => drop(self.extension(plain, header.entry_size()?)?),
                EntryType::GNUSparse => return Err(io::Error::other("a sparse file of GNU tar's old form")),
                _ => {
                    let entry = entry(header, &std::mem::take(&mut extended), size)?;
                    self.file(plain, entry, if kind.is_file() || kind.is_contiguous() { size } else { 0 })?;
                }
            }
        }
    }

    /// The data of an extended header, which stays between files.
    fn extension(&mut self, plain: &mut dyn Read, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION_BYTES_MAX {
            return Err(io::Error::other(format!("an extended header of more than {EXTENSION_BYTES_MAX} bytes")));
        }
        let mut data = vec![0; (size as usize).next_multiple_of(BLOCK)];
        plain.read_exact(&mut data)?;
        self.between.extend_from_slice(&data);
        data.truncate(size as usize);
        Ok(data)
    }

    fn file(&mut self, plain: &mut dyn Read, mut entry: Entry, size: u64) -> io::Result<()> {
        self.flush_between()?;
        let mut payload = None;
        if size > 0 {
            entry.offset = self.out.bytes;
            let mut sum = Crc64::default();
            let mut hash = Hash::sha256();
            let mut frame = zstd::stream::write::Encoder::new(&mut self.out, self.level)?;
            let mut buffer = vec![0; CHUNK_BYTES.min(size as usize)];
            let mut left = size;
            while left > 0 {
                let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                plain.read_exact(&mut buffer[..wanted])?;
                frame.write_all(&buffer[..wanted])?;
                hash.update(&buffer[..wanted]);
                sum.update(&buffer[..wanted]);
                left -= wanted as u64;
            }
            frame.finish()?;
            entry.end_offset = self.out.bytes;
            entry.digest = hash.finish().to_string();
            payload = Some(STANDARD.encode(sum.0.to_be_bytes()));
            let mut padding = vec![0; (size.next_multiple_of(BLOCK as u64) - size) as usize];
            plain.read_exact(&mut padding)?;
            self.between.extend_from_slice(&padding);
        }
        let (name, size) = (entry.name.clone(), entry.size);
        self.line(1, &name, size, payload)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes what stands between two files, as a frame and as a line.
    fn flush_between(&mut self) -> io::Result<()> {
        let between = std::mem::take(&mut self.between);
        if between.is_empty() {
            return Ok(());
        }
        let mut frame = zstd::stream::write::Encoder::new(&mut self.out, self.level)?;
        frame.write_all(&between)?;
        frame.finish()?;
        self.line(2, "", 0, Some(STANDARD.encode(&between)))
    }

    fn line(&mut self, kind: u8, name: &str, size: u64, payload: Option<String>) -> io::Result<()> {
        let line = Line { kind, name, size, payload, position: self.lines };
        let mut text = serde_json::to_vec(&line).expect("text and numbers");
        text.push(b'\n');
        self.lines += 1;
        self.split_bytes += text.len() as u64;
        self.split.write_all(&text)
    }

    fn end(mut self) -> io::Result<(W, Annotations)> {
        self.flush_between()?;
        let split = self.split.finish()?;
        let table = Table {
            version: 1,
            entries: self.entries,
            tar_split_digest: knarr_spec::Digest::sha256_of(&split).to_string(),
        };
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
            TABLE_TYPE,
            split_at,
            split.len() as u64,
            self.split_bytes,
        ];
        let mut footer: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        footer.extend_from_slice(FOOTER_MAGIC);
        self.out.skippable(&footer)?;
        let name = |what: &str| format!("io.github.containers.zstd-chunked.{what}");
        let annotations = Annotations::from([
            (name("manifest-checksum"), knarr_spec::Digest::sha256_of(&packed).to_string()),
            (name("manifest-position"), format!("{table_at}:{}:{}:{TABLE_TYPE}", packed.len(), table.len())),
            (name("tarsplit-position"), format!("{split_at}:{}:{}", split.len(), self.split_bytes)),
        ]);
        Ok((self.out.out, annotations))
    }
}

impl Extended {
    fn read(&mut self, kind: EntryType, data: &[u8]) -> io::Result<()> {
        let bare = |data: &[u8]| data.strip_suffix(&[0]).unwrap_or(data).to_vec();
        match kind {
            EntryType::GNULongName => self.path = Some(bare(data)),
            EntryType::GNULongLink => self.link = Some(bare(data)),
            _ => {
                for record in PaxExtensions::new(data) {
                    let record = record?;
                    let number = || record.value().ok().and_then(|text| text.parse().ok());
                    match record.key_bytes() {
                        b"path" => self.path = Some(record.value_bytes().to_vec()),
                        b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                        b"size" => self.size = number(),
                        b"uid" => self.uid = number(),
                        b"gid" => self.gid = number(),
                        b"mtime" => self.mtime = record.value().ok().map(str::to_owned),
                        key => {
                            let name = key.strip_prefix(b"SCHILY.xattr.").map(String::from_utf8_lossy);
                            if let Some(name) = name {
                                self.xattrs.insert(name.into_owned(), STANDARD.encode(record.value_bytes()));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn entry(header: &Header, extended: &Extended, size: u64) -> io::Result<Entry> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let name = extended.path.clone().unwrap_or_else(|| header.path_bytes().into_owned());
    let link = extended.link.clone().or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
    let kind = match header.entry_type() {
        EntryType::Directory => "dir",
        EntryType::Symlink => "symlink",
        EntryType::Link => "hardlink",
        EntryType::Char => "char",
        EntryType::Block => "block",
        EntryType::Fifo => "fifo",
        _ => "reg",
    };
    let device = |number: io::Result<Option<u32>>| number.ok().flatten().map_or(0, u64::from);
    Ok(Entry {
        kind,
        name: text(&name),
        link_name: link.as_deref().map(text).unwrap_or_default(),
        mode: u64::from(header.mode()? & 0o7777),
        size: if kind == "reg" { size } else { 0 },
        uid: extended.uid.unwrap_or(header.uid()?),
        gid: extended.gid.unwrap_or(header.gid()?),
        modtime: time(extended.mtime.as_deref(), header.mtime()?),
        dev_major: device(header.device_major()),
        dev_minor: device(header.device_minor()),
        xattrs: extended.xattrs.clone(),
        ..Entry::default()
    })
}

/// RFC 3339, with as much of a second as was written.
fn time(exact: Option<&str>, seconds: u64) -> String {
    let (whole, fraction) = match exact.and_then(|text| text.split_once('.')) {
        Some((whole, fraction)) => (whole.parse().unwrap_or(seconds as i64), fraction.trim_end_matches('0')),
        None => (exact.and_then(|text| text.parse().ok()).unwrap_or(seconds as i64), ""),
    };
    let (days, rest) = (whole.div_euclid(86_400), whole.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day counted from 1970, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn fill(from: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < block.len() {
        match from.read(&mut block[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Counts what goes through.
struct Counting<W: Write> {
    out: W,
    bytes: u64,
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

/// CRC-64 of ISO 3309, as Go's `crc64.ISO` has it and tar-split sums files.
#[derive(Default)]
struct Crc64(u64);

const CRC64_TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xd800_0000_0000_0000 } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};

impl Crc64 {
    fn update(&mut self, bytes: &[u8]) {
        let sum = bytes.iter().fold(!self.0, |sum, byte| CRC64_TABLE[((sum as u8) ^ byte) as usize] ^ (sum >> 8));
        self.0 = !sum;
    }
}

#[cfg(test)]
mod tests {
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
        knarr_layer::decompress(&blob[..], Some(knarr_spec::media_type::Compression::Zstd))
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

    #[test]
    fn the_sum_is_gos() {
        let mut sum = Crc64::default();
        sum.update(b"a");
        assert_eq!(sum.0, 0x3420_0000_0000_0000);
    }

    #[test]
    fn times_are_written_with_their_fraction() {
        assert_eq!(time(Some("1700000000.25"), 0), "2023-11-14T22:13:20.25Z");
        assert_eq!(time(Some("-1"), 0), "1969-12-31T23:59:59Z");
        assert_eq!(time(None, 0), "1970-01-01T00:00:00Z");
    }
}
