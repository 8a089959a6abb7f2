//! A tar taken apart byte for byte, for writers of tables: what stands before a file's data, what a table says of it, its data.
//!
//! Law: the pieces put together again are the tar, whatever it is; headers are read as unpacking reads them, so that a table says
//! what the tree will be.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::Row;
use super::time;
use crate::archive::header::{self, BLOCK_BYTES, Block};
use crate::archive::pax::{self, Pax, SparseRecords};
use crate::unpack::{Meaning, Place};
use crate::{HeaderFault, Kind, Limits};

/// Bytes moved at once.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) struct Apart<'r> {
    plain: &'r mut dyn Read,
    /// What fills up the block of the data taken last.
    padding: Vec<u8>,
    /// Something was met that a table cannot hold: a name that is no UTF-8, a sparse file, a time beyond its calendar.
    pub lossy: bool,
    /// An entry had data that no file of the tree has: a whiteout with content.
    pub has_idle_data: bool,
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

/// Headers that describe the next one.
#[derive(Default)]
struct Preceding {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'r> Apart<'r> {
    pub(super) fn new(plain: &'r mut dyn Read) -> Apart<'r> {
        Apart { plain, padding: Vec::new(), lossy: false, has_idle_data: false }
    }

    pub(super) fn next(&mut self) -> io::Result<Part> {
        let padding = std::mem::take(&mut self.padding);
        let mut headers = Vec::new();
        let mut preceding = Preceding::default();
        loop {
            let mut block = [0; BLOCK_BYTES];
            let got = fill(self.plain, &mut block)?;
            headers.extend_from_slice(&block[..got]);
            if got < BLOCK_BYTES || block == [0; BLOCK_BYTES] {
                self.plain.read_to_end(&mut headers)?;
                return Ok(Part::End { padding, rest: headers });
            }
            let layout = header::layout(&block).map_err(bad)?;
            let fields = header::fields(&block, layout).map_err(bad)?;
            match fields.kind {
                b'x' => preceding.pax = pax::parse(&self.extension(fields.size, &mut headers)?).map_err(bad)?,
                b'g' => drop(self.extension(fields.size, &mut headers)?),
                b'L' => preceding.long_name = Some(self.long(fields.size, &mut headers)?),
                b'K' => preceding.long_link = Some(self.long(fields.size, &mut headers)?),
                b'S' => return Err(io::Error::other("a sparse file of GNU tar's old form")),
                _ => {
                    let mut name = Vec::new();
                    header::name(&block, layout, &mut name);
                    let (row, bytes) = self.row(&block, name, &fields, preceding)?;
                    return Ok(Part::Entry { padding, headers, row: Box::new(row), bytes });
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
        self.padding = vec![0; (bytes.next_multiple_of(BLOCK_BYTES as u64) - bytes) as usize];
        self.plain.read_exact(&mut self.padding)
    }

    /// What fills up the block behind `bytes` of data is dropped.
    pub(super) fn pass_padding(&mut self, bytes: u64) -> io::Result<()> {
        self.end_data(bytes)?;
        self.padding.clear();
        Ok(())
    }

    fn extension(&mut self, size: u64, headers: &mut Vec<u8>) -> io::Result<Vec<u8>> {
        let bytes_max = Limits::default().extended_header_bytes_max;
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= bytes_max) else {
            return Err(io::Error::other(format!("an extended header of more than {bytes_max} bytes")));
        };
        let mut data = vec![0; size.next_multiple_of(BLOCK_BYTES)];
        self.plain.read_exact(&mut data)?;
        headers.extend_from_slice(&data);
        data.truncate(size);
        Ok(data)
    }

    fn long(&mut self, size: u64, headers: &mut Vec<u8>) -> io::Result<Vec<u8>> {
        Ok(header::until_nul(&self.extension(size, headers)?).to_vec())
    }

    fn text(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        self.lossy |= matches!(text, std::borrow::Cow::Owned(_));
        text.into_owned()
    }

    /// What a table says of an entry, and how much data follows.
    fn row(
        &mut self,
        block: &Block,
        name: Vec<u8>,
        fields: &header::Fields,
        preceding: Preceding,
    ) -> io::Result<(Row, u64)> {
        let Preceding { pax, long_name, long_link } = preceding;
        let name = long_name.or(pax.path).unwrap_or(name);
        let link = long_link.or(pax.link).unwrap_or_else(|| header::link(block).to_vec());
        let kind = crate::archive::kind(fields.kind, &name).map_err(bad)?;
        let bytes = if kind == Kind::File { pax.size.unwrap_or(fields.size) } else { 0 };
        let mtime = pax.mtime.unwrap_or(fields.mtime);
        let modtime = time::written(mtime.tv_sec, mtime.tv_nsec);
        self.lossy |= pax.sparse != SparseRecords::default() || modtime.is_none();
        let is_itself = Place::of(&name).is_ok_and(|place| place.meaning() == Ok(Meaning::Itself));
        self.has_idle_data |= bytes > 0 && !is_itself;
        let is_link = matches!(kind, Kind::HardLink | Kind::Symlink);
        let row = Row {
            kind: match kind {
                Kind::File => "reg",
                Kind::HardLink => "hardlink",
                Kind::Symlink => "symlink",
                Kind::CharDevice => "char",
                Kind::BlockDevice => "block",
                Kind::Directory => "dir",
                Kind::Fifo => "fifo",
            }
            .to_owned(),
            name: self.text(&name),
            link_name: if is_link { self.text(&link) } else { String::new() },
            mode: fields.mode.into(),
            size: bytes,
            uid: pax.uid.unwrap_or(fields.uid),
            gid: pax.gid.unwrap_or(fields.gid),
            modtime: modtime.unwrap_or_default(),
            dev_major: fields.device.0.into(),
            dev_minor: fields.device.1.into(),
            xattrs: pax.xattrs.iter().map(|(name, value)| (self.text(name), STANDARD.encode(value))).collect(),
            ..Row::default()
        };
        Ok((row, bytes))
    }
}

fn bad(fault: HeaderFault) -> io::Error {
    io::Error::other(fault.to_string())
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
