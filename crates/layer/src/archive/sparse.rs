//! Sparse files: which pieces of a file the archive stores.
//!
//! Spec: GNU tar manual, "Storing Sparse Files": the old GNU form in the header, pax 0.0 and 0.1 in records, pax 1.0 in
//! front of the data.
//! Law: pieces ascend, do not overlap and end within the file; together they are exactly the data that follows.

use super::header::{BLOCK_BYTES, Block};
use super::number;
use super::pax::SparseRecords;
use crate::stream::Stream;
use crate::{Error, HeaderFault};

/// A stored piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it stands in the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// A sparse file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    /// Bytes of the file, holes included.
    pub file_bytes: u64,
    /// What is stored.
    pub pieces: Vec<Piece>,
}

/// Bytes of an offset or length in the old GNU form.
const FIELD: usize = 12;

impl Sparse {
    /// The old GNU form (type `S`): four pieces in the header, 21 in each block that follows it.
    pub fn read_old_gnu(stream: &mut Stream<'_>, header: &Block, pieces_max: usize) -> Result<Sparse, Error> {
        let at = stream.position();
        let fault = |fault| Error::Header { at, fault };
        let mut pieces = Vec::new();
        let file_bytes = old_gnu_number(&header[483..495]).map_err(fault)?;
        let mut extended = header[482] != 0;
        let mut more = old_gnu_pieces(&header[386..482], &mut pieces).map_err(fault)?;
        while extended {
            check_count(stream, pieces.len(), pieces_max)?;
            let mut block = [0; BLOCK_BYTES];
            stream.read_exact(&mut block)?;
            more = more && old_gnu_pieces(&block[..504], &mut pieces).map_err(fault)?;
            extended = block[504] != 0;
        }
        Ok(Sparse { file_bytes, pieces })
    }

    /// The pax forms 0.0 and 0.1, whose map is in the records; `None` where the records describe no sparse file.
    pub fn from_records(records: &SparseRecords) -> Result<Option<Sparse>, HeaderFault> {
        if records.map.is_empty() {
            return Ok(None);
        }
        let (pairs, odd) = records.map.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(HeaderFault::Sparse("an offset without a length"));
        }
        let pieces = pairs.iter().map(|&[offset, bytes]| Piece { offset, bytes }).collect();
        let file_bytes = records.size.ok_or(HeaderFault::Sparse("no size"))?;
        Ok(Some(Sparse { file_bytes, pieces }))
    }

    /// The pax form 1.0: a count and the numbers, a line each, padded to a block, before the data. `data_bytes` is made
    /// smaller by what the map takes.
    pub fn read_1_0(
        stream: &mut Stream<'_>,
        records: &SparseRecords,
        data_bytes: &mut u64,
        pieces_max: usize,
    ) -> Result<Sparse, Error> {
        let at = stream.position();
        let fault = |why| Error::Header { at, fault: HeaderFault::Sparse(why) };
        let file_bytes = records.size.ok_or_else(|| fault("no size"))?;
        let mut lines = Lines { stream, block: [0; BLOCK_BYTES], at: BLOCK_BYTES, data_bytes };
        let count = lines.next()?.ok_or_else(|| fault("its count is no number"))?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        check_count(lines.stream, count, pieces_max)?;
        let mut pieces = Vec::new();
        for _ in 0..count {
            let (Some(offset), Some(bytes)) = (lines.next()?, lines.next()?) else {
                return Err(fault("a line is no number"));
            };
            pieces.push(Piece { offset, bytes });
        }
        Ok(Sparse { file_bytes, pieces })
    }

    /// Checks the law above.
    pub fn check(&self, data_bytes: u64) -> Result<(), HeaderFault> {
        let (mut end, mut stored) = (0_u64, 0_u64);
        for piece in &self.pieces {
            if piece.offset < end {
                return Err(HeaderFault::Sparse("its pieces overlap or are out of order"));
            }
            end =
                piece.offset.checked_add(piece.bytes).ok_or(HeaderFault::Sparse("a piece ends beyond all numbers"))?;
            stored += piece.bytes;
        }
        if end > self.file_bytes || i64::try_from(self.file_bytes).is_err() {
            return Err(HeaderFault::Sparse("a piece ends behind the file"));
        }
        if stored != data_bytes {
            return Err(HeaderFault::Sparse("its pieces are not the data that follows"));
        }
        Ok(())
    }
}

fn check_count(stream: &Stream<'_>, count: usize, max: usize) -> Result<(), Error> {
    if count <= max {
        return Ok(());
    }
    Err(Error::Limit {
        at: stream.position(),
        what: format!("a sparse map of {count} pieces"),
        limit: max as u64,
        field: "sparse_pieces_max",
    })
}

fn old_gnu_number(bytes: &[u8]) -> Result<u64, HeaderFault> {
    number::field(bytes)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(HeaderFault::Sparse("an offset or length is no number"))
}

/// Pieces until the first empty slot; `false` where there was one.
fn old_gnu_pieces(slots: &[u8], pieces: &mut Vec<Piece>) -> Result<bool, HeaderFault> {
    for slot in slots.chunks_exact(2 * FIELD) {
        if slot[0] == 0 {
            return Ok(false);
        }
        let (offset, bytes) = (old_gnu_number(&slot[..FIELD])?, old_gnu_number(&slot[FIELD..])?);
        pieces.push(Piece { offset, bytes });
    }
    Ok(true)
}

/// Decimal lines in blocks of data.
struct Lines<'a, 's> {
    stream: &'a mut Stream<'s>,
    block: Block,
    at: usize,
    data_bytes: &'a mut u64,
}

impl Lines<'_, '_> {
    /// The number on the next line; `None` where it is none.
    fn next(&mut self) -> Result<Option<u64>, Error> {
        let mut value: Option<u64> = None;
        loop {
            match self.byte()? {
                b'\n' => return Ok(value),
                digit @ b'0'..=b'9' => {
                    let sum = value.unwrap_or(0).checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
                    let Some(sum) = sum else { return Ok(None) };
                    value = Some(sum);
                }
                _ => return Ok(None),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, Error> {
        if self.at == BLOCK_BYTES {
            *self.data_bytes = self
                .data_bytes
                .checked_sub(BLOCK_BYTES as u64)
                .ok_or(Error::Header { at: self.stream.position(), fault: HeaderFault::Sparse("it is cut off") })?;
            self.stream.read_exact(&mut self.block)?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }
}
