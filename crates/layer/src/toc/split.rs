//! tar-split: the bytes of a tar between its files' data, one JSON object a line.
//!
//! Law: a line is bounded; files come in the order of the table. What is put together is compared by whoever knows the diff id.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::content::copy_content;
use super::table::agrees;
use super::{Fault, Form, LINE_BYTES_MAX, Piece, Table};
use crate::Kind;
use crate::listing::{Item, Listed};
use crate::unpack::Place;

/// A line: 1 is a file, 2 what stands between files.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
pub(super) struct Line {
    #[serde(rename = "type")]
    pub kind: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The name where it is no UTF-8, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_raw: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    pub payload: Option<String>,
    pub position: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Line {
    /// The name as the tar has it.
    fn bytes(&self) -> Option<Vec<u8>> {
        let name = match &self.name_raw {
            Some(raw) => STANDARD.decode(raw).ok()?,
            None => self.name.clone().into_bytes(),
        };
        (!name.contains(&0)).then_some(name)
    }
}

/// Puts the tar together again: what stands between files from the packed tar-split, files from the blob, bytes of which `open`
/// gives.
pub fn assemble<'b>(
    table: &Table,
    packed: &[u8],
    split: Piece,
    open: &mut dyn FnMut(Range<u64>) -> io::Result<Box<dyn Read + 'b>>,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    let what = "tar-split";
    if let Some(promised) = &table.split_digest {
        agrees(packed, promised)?;
    }
    let unpack = |source| Fault::Unpack { what, source };
    let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(unpack)?;
    let mut lines = BufReader::new(decoder.take(split.bytes));
    let mut files = table.items.iter().filter_map(with_data);
    let mut text = Vec::new();
    loop {
        text.clear();
        (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(unpack)?;
        match text.last() {
            None => break,
            Some(b'\n') => {}
            Some(_) if text.len() as u64 == LINE_BYTES_MAX => return Err(Fault::Limit { what, limit: LINE_BYTES_MAX }),
            Some(_) => {}
        }
        let line: Line = serde_json::from_slice(&text).map_err(|source| Fault::Json { what, source })?;
        let bad = |what| Fault::Entry { name: line.name.chars().take(200).collect(), what };
        match (line.kind, line.size) {
            (2, _) => {
                let bytes = STANDARD.decode(line.payload.as_deref().unwrap_or_default());
                let bytes = bytes.map_err(|_| bad("a payload that is no base64"))?;
                out.write_all(&bytes).map_err(Fault::Write)?;
            }
            (1, 0) => {}
            (1, size) => {
                let file = files.next().ok_or_else(|| bad("tar-split has a file more than the table"))?;
                let name = line.bytes().ok_or_else(|| bad("its name is none"))?;
                let same = Place::of(&name).is_ok_and(|place| place.path() == file.path);
                if !same || file.bytes != size {
                    return Err(bad("tar-split and the table have different files"));
                }
                copy_content(file, Form::Chunked, open, out)?;
            }
            _ => return Err(bad("a line of a type nobody knows")),
        }
    }
    match files.next() {
        None => Ok(()),
        Some(file) => {
            let name = String::from_utf8_lossy(&file.path).into_owned();
            Err(Fault::Entry { name, what: "the table has a file more than tar-split" })
        }
    }
}

fn with_data(item: &Item) -> Option<&Listed> {
    match item {
        Item::Entry(entry) if entry.kind == Kind::File && entry.bytes > 0 => Some(entry),
        _ => None,
    }
}

/// CRC-64 of ISO 3309, as Go's `crc64.ISO` has it and tar-split sums files.
#[derive(Default)]
pub(super) struct Crc64(u64);

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
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let sum = bytes.iter().fold(!self.0, |sum, byte| CRC64_TABLE[((sum as u8) ^ byte) as usize] ^ (sum >> 8));
        self.0 = !sum;
    }

    pub(super) fn bytes(&self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_gos() {
        let mut sum = Crc64::default();
        sum.update(b"a");
        assert_eq!(sum.0, 0x3420_0000_0000_0000);
    }
}
