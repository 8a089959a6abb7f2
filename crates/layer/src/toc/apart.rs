//! A tar taken apart byte for byte, for writers of tables: what stands before a file's data, what a table says of it, its data.
//!
//! Law: the pieces put together again are the tar, whatever it is.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tar::{EntryType, Header, PaxExtensions};

use super::document::Row;
use super::time;

/// Tar's unit.
pub(super) const BLOCK: usize = 512;

/// Where a header says what its entry is: `tar` does not tell old files from new ones.
const KIND_AT: usize = 156;

/// Longest extended header that is read for names and attributes.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// Bytes moved at once.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) struct Apart<'r> {
    plain: &'r mut dyn Read,
    /// What fills up the block of the data taken last.
    padding: Vec<u8>,
    /// Something was met that a table cannot hold: a name that is no UTF-8, a sparse file, a time beyond its calendar, a number
    /// that is none.
    pub lossy: bool,
}

/// The next piece of a tar.
pub(super) enum Part {
    /// An entry, whose data has to be taken next.
    Entry {
        /// What fills up the block of the data before.
        padding: Vec<u8>,
        /// Its headers.
        headers: Vec<u8>,
        /// What a table says of it.
        row: Box<Row>,
        /// How much data follows.
        bytes: u64,
    },
    /// All the rest.
    End {
        /// As in an entry.
        padding: Vec<u8>,
        /// Blocks of zeros, and whatever somebody put behind them.
        rest: Vec<u8>,
    },
}

/// What extended headers say of the entry that follows.
#[derive(Default)]
struct Extended {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<String>,
    xattrs: Vec<(Vec<u8>, String)>,
    sparse: bool,
}

impl<'r> Apart<'r> {
    pub(super) fn new(plain: &'r mut dyn Read) -> Apart<'r> {
        Apart { plain, padding: Vec::new(), lossy: false }
    }

    pub(super) fn next(&mut self) -> io::Result<Part> {
        let padding = std::mem::take(&mut self.padding);
        let mut headers = Vec::new();
        let mut extended = Extended::default();
        loop {
            let mut block = [0; BLOCK];
            let got = fill(self.plain, &mut block)?;
            headers.extend_from_slice(&block[..got]);
            if got < BLOCK || block.iter().all(|byte| *byte == 0) {
                self.plain.read_to_end(&mut headers)?;
                return Ok(Part::End { padding, rest: headers });
            }
            let header = Header::from_byte_slice(&block);
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                    let data = self.extension(header.entry_size()?, &mut headers)?;
                    extended.read(kind, &data)?;
                }
                EntryType::XGlobalHeader => drop(self.extension(header.entry_size()?, &mut headers)?),
                EntryType::GNUSparse => return Err(io::Error::other("a sparse file of GNU tar's old form")),
                _ => {
                    let size = extended.size.unwrap_or(header.entry_size()?);
                    let row = Box::new(self.row(header, &extended, size)?);
                    let bytes = if row.kind == "reg" { size } else { 0 };
                    return Ok(Part::Entry { padding, headers, row, bytes });
                }
            }
        }
    }

    /// Gives the `bytes` of data of the entry that came last, piece by piece.
    pub(super) fn data(&mut self, bytes: u64, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(bytes).unwrap_or(CHUNK_BYTES))];
        let mut left = bytes;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.plain.read_exact(&mut buffer[..wanted])?;
            take(&buffer[..wanted])?;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// What fills up the block behind `bytes` of data comes with the next part.
    pub(super) fn end_data(&mut self, bytes: u64) -> io::Result<()> {
        self.padding = vec![0; (bytes.next_multiple_of(BLOCK as u64) - bytes) as usize];
        self.plain.read_exact(&mut self.padding)
    }

    /// What fills up the block behind `bytes` of data is dropped.
    pub(super) fn pass_padding(&mut self, bytes: u64) -> io::Result<()> {
        self.end_data(bytes)?;
        self.padding.clear();
        Ok(())
    }

    fn extension(&mut self, size: u64, headers: &mut Vec<u8>) -> io::Result<Vec<u8>> {
        if size > EXTENSION_BYTES_MAX {
            return Err(io::Error::other(format!("an extended header of more than {EXTENSION_BYTES_MAX} bytes")));
        }
        let mut data = vec![0; (size as usize).next_multiple_of(BLOCK)];
        self.plain.read_exact(&mut data)?;
        headers.extend_from_slice(&data);
        data.truncate(size as usize);
        Ok(data)
    }

    fn text(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        self.lossy |= matches!(text, std::borrow::Cow::Owned(_));
        text.into_owned()
    }

    fn row(&mut self, header: &Header, extended: &Extended, size: u64) -> io::Result<Row> {
        // GNU's names go before pax's, as in every reader of ours.
        let name = extended.long_name.clone().or_else(|| extended.path.clone());
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extended.long_link.clone().or_else(|| extended.link.clone());
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let kind = match header.as_bytes()[KIND_AT] {
            // Before POSIX a directory was a file whose name ends in a slash.
            0 if name.ends_with(b"/") => "dir",
            0 | b'0' | b'7' => "reg",
            b'1' => "hardlink",
            b'2' => "symlink",
            b'3' => "char",
            b'4' => "block",
            b'5' => "dir",
            b'6' => "fifo",
            other => return Err(io::Error::other(format!("an entry of type {:?}", char::from(other)))),
        };
        let uid = extended.uid.map_or_else(|| header.uid(), Ok);
        let gid = extended.gid.map_or_else(|| header.gid(), Ok);
        let mode = header.mode().map(u64::from);
        // What stands there may mean something to a reader that knows more of tar.
        let mut number = |got: io::Result<u64>| {
            self.lossy |= got.is_err();
            got.unwrap_or_default()
        };
        let (uid, gid, mode, mtime) = (number(uid), number(gid), number(mode), number(header.mtime()));
        let modtime = time::written(extended.mtime.as_deref(), mtime);
        self.lossy |= extended.sparse || modtime.is_none();
        let modtime = modtime.unwrap_or_default();
        let device = |number: io::Result<Option<u32>>| number.ok().flatten().map_or(0, u64::from);
        let xattrs = extended.xattrs.iter().map(|(name, value)| (self.text(name), value.clone())).collect();
        Ok(Row {
            kind: kind.to_owned(),
            name: self.text(&name),
            link_name: link.as_deref().map(|link| self.text(link)).unwrap_or_default(),
            mode: mode & 0o7777,
            size: if kind == "reg" { size } else { 0 },
            uid,
            gid,
            modtime,
            dev_major: device(header.device_major()),
            dev_minor: device(header.device_minor()),
            xattrs,
            ..Row::default()
        })
    }
}

impl Extended {
    fn read(&mut self, kind: EntryType, data: &[u8]) -> io::Result<()> {
        let bare = |data: &[u8]| data.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match kind {
            EntryType::GNULongName => self.long_name = Some(bare(data)),
            EntryType::GNULongLink => self.long_link = Some(bare(data)),
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
                            self.sparse |= key.starts_with(b"GNU.sparse.");
                            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                                self.xattrs.push((name.to_vec(), STANDARD.encode(record.value_bytes())));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
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
