//! The headers of one entry, in the one form `docs/formats.md` pins: ustar for what fits, pax records for the rest.

use std::collections::BTreeMap;

use knarr_sys::at::Timespec;

use crate::archive::header::{BLOCK_BYTES, Block};

/// Bytes of the name and link fields.
const NAME_BYTES: usize = 100;
/// Largest numbers of the octal fields of 8 and of 12 bytes.
const SMALL_MAX: u64 = 0o7777777;
const LARGE_MAX: u64 = 0o77777777777;

/// One entry to write.
#[derive(Debug, Clone)]
pub struct Header {
    /// The name, with a slash at the end of a directory's.
    pub name: Vec<u8>,
    /// The type flag.
    pub kind: u8,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of data that follow.
    pub size: u64,
    /// Modification time.
    pub mtime: Timespec,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Major and minor of a device.
    pub device: (u32, u32),
    /// Further pax records: attributes, the marks of a sparse file.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Header {
    /// A file of nothing, owned by root, from the epoch: what whiteouts are.
    pub fn empty(name: Vec<u8>) -> Header {
        Header {
            name,
            kind: b'0',
            mode: 0o600,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Timespec { tv_sec: 0, tv_nsec: 0 },
            link: Vec::new(),
            device: (0, 0),
            records: BTreeMap::new(),
        }
    }

    /// The blocks before the data: a pax header with its records where there are any, and the ustar header.
    pub fn blocks(&self) -> Vec<u8> {
        let records = self.all_records();
        let mut blocks = Vec::with_capacity(BLOCK_BYTES);
        if !records.is_empty() {
            let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let mut pax = Header::empty(b"././@PaxHeader".to_vec());
            (pax.kind, pax.mode, pax.size) = (b'x', 0o644, data.len() as u64);
            blocks.extend(pax.block());
            blocks.extend(data);
            blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        blocks.extend(self.block());
        blocks
    }

    /// Records sort by key, so a `BTreeMap` is the order.
    fn all_records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut records = self.records.clone();
        let mut put = |key: &[u8], value: Vec<u8>| drop(records.insert(key.to_vec(), value));
        if !fits(&self.name) {
            put(b"path", self.name.clone());
        }
        if !fits(&self.link) {
            put(b"linkpath", self.link.clone());
        }
        for (key, value) in [(b"uid", self.uid), (b"gid", self.gid)] {
            if u64::from(value) > SMALL_MAX {
                put(key, value.to_string().into_bytes());
            }
        }
        if self.size > LARGE_MAX {
            put(b"size", self.size.to_string().into_bytes());
        }
        if seconds_field(self.mtime).is_none() {
            put(b"mtime", time_text(self.mtime).into_bytes());
        }
        records
    }

    fn block(&self) -> Block {
        let mut block = [0; BLOCK_BYTES];
        text(&mut block[..100], &self.name);
        octal(&mut block[100..108], u64::from(self.mode));
        octal(&mut block[108..116], u64::from(self.uid));
        octal(&mut block[116..124], u64::from(self.gid));
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], self.mtime.tv_sec.try_into().unwrap_or(0));
        block[156] = self.kind;
        text(&mut block[157..257], &self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], u64::from(self.device.0));
        octal(&mut block[337..345], u64::from(self.device.1));
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut block[148..155], sum);
        block
    }
}

fn fits(name: &[u8]) -> bool {
    name.len() <= NAME_BYTES && name.is_ascii()
}

/// What fits of a name, with `_` for what is not ASCII: for readers that do not know pax.
fn text(field: &mut [u8], value: &[u8]) {
    for (place, &byte) in field.iter_mut().zip(value) {
        *place = if byte.is_ascii() { byte } else { b'_' };
    }
}

/// Octal digits that fill the field but for a NUL at its end; zero where a record says the number.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let value = if value >> (3 * digits) == 0 { value } else { 0 };
    field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
}

/// The seconds, if the ustar field says all there is to the time.
fn seconds_field(time: Timespec) -> Option<u64> {
    u64::try_from(time.tv_sec).ok().filter(|&seconds| seconds <= LARGE_MAX && time.tv_nsec == 0)
}

/// Decimal seconds with as many digits of the fraction as there are.
fn time_text(time: Timespec) -> String {
    let (sign, seconds, nanoseconds) = match (time.tv_sec < 0, time.tv_nsec) {
        (true, 0) => ("-", time.tv_sec.unsigned_abs(), 0),
        (true, behind) => ("-", (time.tv_sec + 1).unsigned_abs(), 1_000_000_000 - behind),
        (false, behind) => ("", time.tv_sec.unsigned_abs(), behind),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `length key=value\n`; the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let without_digits = key.len() + value.len() + 3;
    let mut length = without_digits;
    while length != without_digits + length.to_string().len() {
        length = without_digits + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{header, number, pax};

    #[test]
    fn an_ordinary_file_takes_one_block() {
        let header = Header { size: 5, mtime: Timespec { tv_sec: 9, tv_nsec: 0 }, ..Header::empty(b"a/b".to_vec()) };
        let blocks: Block = header.blocks().try_into().unwrap();
        assert_eq!(header::layout(&blocks), Ok(header::Layout::Ustar));
        let fields = header::fields(&blocks, header::Layout::Ustar).unwrap();
        assert_eq!((fields.size, fields.mtime.tv_sec, fields.mode), (5, 9, 0o600));
    }

    #[test]
    fn what_does_not_fit_becomes_records_in_order() {
        let mut header = Header {
            uid: 3_000_000,
            size: 1 << 40,
            mtime: Timespec { tv_sec: -2, tv_nsec: 500_000_000 },
            ..Header::empty("ü".into())
        };
        header.records.insert(b"SCHILY.xattr.user.k".to_vec(), b"v".to_vec());
        let blocks = header.blocks();
        let data = &blocks[512..blocks.len() - 512];
        let text = String::from_utf8_lossy(data).trim_end_matches('\0').to_owned();
        let expect = "25 SCHILY.xattr.user.k=v\n14 mtime=-1.5\n11 path=ü\n22 size=1099511627776\n15 uid=3000000\n";
        assert_eq!(text, expect);
        let back = pax::parse(expect.as_bytes()).unwrap();
        assert_eq!((back.uid, back.size, back.mtime), (Some(3_000_000), Some(1 << 40), Some(header.mtime)));
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for (tv_sec, tv_nsec) in [(0, 1), (-1, 999_999_999), (-1, 1), (-5, 0), (1 << 33, 0), (12, 340_000_000)] {
            let time = Timespec { tv_sec, tv_nsec };
            assert_eq!(number::time(time_text(time).as_bytes()), Some(time), "{}", time_text(time));
        }
    }

    #[test]
    fn a_records_length_counts_its_own_digits() {
        for bytes in [1, 5, 90, 91, 92, 93, 990, 991, 992] {
            let value = vec![b'x'; bytes];
            let record = record(b"path", &value);
            let digits = record.iter().position(|&b| b == b' ').unwrap();
            assert_eq!(std::str::from_utf8(&record[..digits]).unwrap().parse::<usize>().unwrap(), record.len());
        }
    }
}
