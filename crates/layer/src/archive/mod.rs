//! A tar as a sequence of entries: headers, extended headers and sparse maps merged into one value each.
//!
//! Spec: POSIX pax (ustar, pax), GNU tar (long names, base 256, sparse), star; read as Go's archive/tar reads them, since
//! an archive that two readers understand differently is an attack (TARmageddon, CVE-2025-62518).
//! Law: pax `size` decides how much data follows; links, devices, directories and fifos have none, whatever is written.
//! Not here: what the names mean.

pub mod header;
pub mod number;
pub mod pax;
pub mod sparse;

use knarr_sys::at::Timespec;

use self::header::{BLOCK_BYTES, Block, Layout};
use self::pax::{Pax, Xattr};
use self::sparse::Sparse;
use crate::recipe::Data;
use crate::stream::Stream;
use crate::{Error, HeaderFault, Limits};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry of the archive.
#[derive(Debug)]
pub struct Entry {
    /// The name as written.
    pub name: Vec<u8>,
    /// The target of a link as written.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time.
    pub mtime: Timespec,
    /// Access time, where given.
    pub atime: Option<Timespec>,
    /// Major and minor of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
    /// ACLs in text form: `acl.access`, `acl.default`.
    pub acls: Vec<Xattr>,
    /// Where data goes, if there are holes.
    pub sparse: Option<Sparse>,
}

/// Headers that describe the next one.
#[derive(Default, PartialEq)]
struct Preceding {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// A tar being read.
pub struct Archive<'a, 's> {
    stream: &'a mut Stream<'s>,
    limits: &'a Limits,
    entries: u64,
    /// Data of the current entry not yet taken, and the padding behind it.
    data_left: u64,
    padding: u64,
}

impl<'a, 's> Archive<'a, 's> {
    /// Reads the tar in `stream`.
    pub fn new(stream: &'a mut Stream<'s>, limits: &'a Limits) -> Archive<'a, 's> {
        Archive { stream, limits, entries: 0, data_left: 0, padding: 0 }
    }

    /// Entries read so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The next entry; `None` at the end. Data of the one before that was not taken is passed over.
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut preceding = Preceding::default();
        loop {
            self.pass_data()?;
            let at = self.stream.position();
            let Some(block) = self.read_header()? else {
                return if preceding == Preceding::default() { Ok(None) } else { Err(self.stream.cut_off()) };
            };
            let fault = |fault| Error::Header { at, fault };
            let layout = header::layout(&block).map_err(fault)?;
            let fields = header::fields(&block, layout).map_err(fault)?;
            match fields.kind {
                b'x' => preceding.pax = pax::parse(&self.read_extended(fields.size)?).map_err(fault)?,
                // No reader of layers applies global headers (git-archive writes its commit there).
                b'g' => drop(self.read_extended(fields.size)?),
                b'L' => preceding.long_name = Some(self.read_long(fields.size)?),
                b'K' => preceding.long_link = Some(self.read_long(fields.size)?),
                _ => return self.merge(at, &block, layout, fields, preceding).map(Some),
            }
        }
    }

    /// Where the data of the current entry stands, none of which was taken yet.
    pub fn data(&self) -> Data {
        Data { at: self.stream.position(), bytes: self.data_left }
    }

    /// Data of the current entry that can be looked at now; none at its end.
    pub fn peek_data(&mut self) -> Result<&[u8], Error> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        if self.stream.peek()?.is_empty() {
            return Err(self.stream.cut_off());
        }
        let bytes = self.stream.peek()?;
        Ok(&bytes[..bytes.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX))])
    }

    /// Takes data that was looked at.
    pub fn consume_data(&mut self, bytes: usize) {
        self.stream.consume(bytes);
        self.data_left -= bytes as u64;
    }

    fn pass_data(&mut self) -> Result<(), Error> {
        if self.stream.skip(self.data_left)? < self.data_left {
            return Err(self.stream.cut_off());
        }
        // Some writers leave out the padding of the last entry.
        self.stream.skip(self.padding)?;
        (self.data_left, self.padding) = (0, 0);
        Ok(())
    }

    fn expect_data(&mut self, bytes: u64) {
        self.data_left = bytes;
        self.padding = bytes.next_multiple_of(BLOCK_BYTES as u64) - bytes;
    }

    /// A header; `None` at the end: two blocks of zeros, or nothing at all.
    fn read_header(&mut self) -> Result<Option<Block>, Error> {
        let mut block = [0; BLOCK_BYTES];
        for zeros in 0..2 {
            match self.stream.read_up_to(&mut block)? {
                0 => return Ok(None),
                BLOCK_BYTES => {}
                _ => return Err(self.stream.cut_off()),
            }
            if block != [0; BLOCK_BYTES] {
                // A lone block of zeros is no end and no header either.
                let lone = zeros == 1;
                let fault = HeaderFault::Checksum { found: 0, computed: 0 };
                return if lone {
                    Err(Error::Header { at: self.stream.position() - 1024, fault })
                } else {
                    Ok(Some(block))
                };
            }
        }
        Ok(None)
    }

    fn read_extended(&mut self, bytes: u64) -> Result<Vec<u8>, Error> {
        let max = self.limits.extended_header_bytes_max;
        let Some(bytes) = usize::try_from(bytes).ok().filter(|bytes| *bytes <= max) else {
            return Err(self.limit(format!("an extended header of {bytes} bytes"), max, "extended_header_bytes_max"));
        };
        let mut data = vec![0; bytes];
        self.stream.read_exact(&mut data)?;
        self.stream.skip((bytes.next_multiple_of(BLOCK_BYTES) - bytes) as u64)?;
        Ok(data)
    }

    fn read_long(&mut self, bytes: u64) -> Result<Vec<u8>, Error> {
        Ok(header::until_nul(&self.read_extended(bytes)?).to_vec())
    }

    fn merge(
        &mut self,
        at: u64,
        block: &Block,
        layout: Layout,
        fields: header::Fields,
        preceding: Preceding,
    ) -> Result<Entry, Error> {
        let fault = |fault| Error::Header { at, fault };
        let Preceding { pax, long_name, long_link } = preceding;
        let mut name = Vec::new();
        header::name(block, layout, &mut name);
        let name = long_name.or(pax.path).unwrap_or(name);
        let kind = kind(fields.kind, &name).map_err(fault)?;
        let mut data_bytes = if kind == Kind::File { pax.size.unwrap_or(fields.size) } else { 0 };
        if i64::try_from(data_bytes).is_err() {
            return Err(fault(HeaderFault::Number("size")));
        }
        let total = data_bytes.next_multiple_of(BLOCK_BYTES as u64);
        let sparse = match kind {
            Kind::File => self.sparse(fields.kind, block, &pax.sparse, &mut data_bytes)?,
            _ => None,
        };
        if let Some(sparse) = &sparse {
            sparse.check(data_bytes).map_err(fault)?;
        }
        self.expect_data(data_bytes);
        debug_assert!(self.data_left + self.padding <= total);
        self.entries += 1;
        let entry = Entry {
            name: sparse.as_ref().and(pax.sparse.name).unwrap_or(name),
            link: long_link.or(pax.link).unwrap_or_else(|| header::link(block).to_vec()),
            kind,
            mode: fields.mode,
            uid: pax.uid.unwrap_or(fields.uid),
            gid: pax.gid.unwrap_or(fields.gid),
            mtime: pax.mtime.unwrap_or(fields.mtime),
            atime: pax.atime,
            device: fields.device,
            xattrs: pax.xattrs,
            acls: pax.acls,
            sparse,
        };
        self.check(&entry)?;
        Ok(entry)
    }

    fn sparse(
        &mut self,
        flag: u8,
        block: &Block,
        records: &pax::SparseRecords,
        data_bytes: &mut u64,
    ) -> Result<Option<Sparse>, Error> {
        let pieces_max = self.limits.sparse_pieces_max;
        if flag == b'S' {
            return Sparse::read_old_gnu(self.stream, block, pieces_max).map(Some);
        }
        match (records.major, records.minor) {
            (Some(1), Some(0)) => Sparse::read_1_0(self.stream, records, data_bytes, pieces_max).map(Some),
            _ => Sparse::from_records(records).map_err(|fault| Error::Header { at: self.stream.position(), fault }),
        }
    }

    fn check(&self, entry: &Entry) -> Result<(), Error> {
        let Limits { entries_max, path_bytes_max, xattr_bytes_max, .. } = *self.limits;
        if self.entries > entries_max {
            return Err(self.limit("the number of entries".into(), entries_max, "entries_max"));
        }
        let longest = entry.name.len().max(entry.link.len());
        if longest > path_bytes_max {
            return Err(self.limit(format!("a name of {longest} bytes"), path_bytes_max, "path_bytes_max"));
        }
        let attributes = entry.xattrs.iter().chain(&entry.acls);
        let bytes: usize = attributes.map(|(name, value)| name.len() + value.len()).sum();
        if bytes > xattr_bytes_max {
            let what = format!("{bytes} bytes of extended attributes");
            return Err(self.limit(what, xattr_bytes_max, "xattr_bytes_max"));
        }
        Ok(())
    }

    fn limit(&self, what: String, limit: impl TryInto<u64>, field: &'static str) -> Error {
        Error::Limit { at: self.stream.position(), what, limit: limit.try_into().unwrap_or(u64::MAX), field }
    }
}

/// What a header's flag means for an entry of this name.
pub fn kind(flag: u8, name: &[u8]) -> Result<Kind, HeaderFault> {
    Ok(match flag {
        // Before POSIX a directory was a file whose name ends in a slash.
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(HeaderFault::Type(other)),
    })
}
