//! The last bytes of a blob that has a table of contents.
//!
//! ```text
//! zstd:chunked   50 2a 4d 18, length, then in little endian: the table's place, packed bytes, bytes, its kind;
//!                tar-split's place, packed bytes, bytes; "GNUlInUx"                                          8 + 64 bytes
//! eStargz        an empty gzip member whose extra field is "SG", 22, "<place in 16 hex digits>STARGZ"            51 bytes
//! CRFS's stargz  the same with no "SG" and length                                                                47 bytes
//! ```

use super::{Fault, Form, Piece, Spot, TABLE_BYTES_MAX};

/// Enough of the end of a blob to find any footer.
pub const FOOTER_BYTES_MAX: u64 = CHUNKED_BYTES as u64 + SKIPPABLE_HEAD_BYTES;

pub(super) const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Magic number and length of a skippable frame.
pub(super) const SKIPPABLE_HEAD_BYTES: u64 = 8;
pub(super) const CHUNKED_MAGIC: &[u8; 8] = b"GNUlInUx";
const CHUNKED_BYTES: usize = 64;
/// The only kind of table there is.
pub(super) const TABLE_KIND: u64 = 1;

/// A gzip header whose only flag is that of an extra field.
const GZIP_HEAD: [u8; 4] = [0x1f, 0x8b, 8, 4];
const GZIP_HEAD_BYTES: usize = 10;
const STARGZ_MAGIC: &[u8; 6] = b"STARGZ";
const STARGZ_HEX_DIGITS: usize = 16;
/// A stored block of nothing that is the last, no sum, no bytes.
const GZIP_NOTHING: [u8; 13] = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];

/// Finds the table by the end of the blob, of which `tail` is the last [`FOOTER_BYTES_MAX`] bytes or more (or all).
pub fn footer(form: Form, tail: &[u8], blob_bytes: u64) -> Result<Spot, Fault> {
    match form {
        Form::Chunked => chunked(tail, blob_bytes),
        Form::Stargz => stargz(tail, blob_bytes),
    }
}

fn chunked(tail: &[u8], blob_bytes: u64) -> Result<Spot, Fault> {
    let none = Fault::Footer(Form::Chunked);
    let Some(at) = tail.len().checked_sub(FOOTER_BYTES_MAX as usize) else { return Err(none) };
    let (head, body) = tail[at..].split_at(SKIPPABLE_HEAD_BYTES as usize);
    let (words, magic) = body.split_at(CHUNKED_BYTES - CHUNKED_MAGIC.len());
    if head[..4] != SKIPPABLE || head[4..] != (CHUNKED_BYTES as u32).to_le_bytes() || magic != CHUNKED_MAGIC {
        return Err(none);
    }
    let number = |index: usize| {
        let word = words[index * 8..][..8].try_into().expect("eight bytes");
        u64::from_le_bytes(word)
    };
    let piece = |first| Piece { at: number(first), packed_bytes: number(first + 1), bytes: number(first + 2) };
    let split = Some(piece(4)).filter(|split| split.packed_bytes > 0);
    chunked_spot(piece(0), split, number(3), blob_bytes)
}

/// Checks what annotations or a footer say.
pub(super) fn chunked_spot(table: Piece, split: Option<Piece>, kind: u64, blob_bytes: u64) -> Result<Spot, Fault> {
    if kind != TABLE_KIND {
        return Err(Fault::Footer(Form::Chunked));
    }
    within("the table", table, blob_bytes)?;
    split.map(|split| within("tar-split", split, blob_bytes)).transpose()?;
    Ok(Spot::Chunked { table, split })
}

fn within(what: &'static str, piece: Piece, blob_bytes: u64) -> Result<(), Fault> {
    let Piece { at, packed_bytes, bytes } = piece;
    if at.checked_add(packed_bytes).is_none_or(|end| end > blob_bytes) {
        return Err(Fault::Outside { what, at, bytes: packed_bytes, blob_bytes });
    }
    if packed_bytes.max(bytes) > TABLE_BYTES_MAX {
        return Err(Fault::Limit { what, limit: TABLE_BYTES_MAX });
    }
    Ok(())
}

fn stargz(tail: &[u8], blob_bytes: u64) -> Result<Spot, Fault> {
    let none = || Fault::Footer(Form::Stargz);
    let (at, footer_bytes) =
        [&b"SG\x16\0"[..], &[]].iter().find_map(|subfield| stargz_place(tail, subfield)).ok_or_else(none)?;
    let end = blob_bytes.checked_sub(footer_bytes).ok_or_else(none)?;
    let bytes = end.checked_sub(at).ok_or(Fault::Outside { what: "the table", at, bytes: 0, blob_bytes })?;
    if bytes > TABLE_BYTES_MAX {
        return Err(Fault::Limit { what: "the table", limit: TABLE_BYTES_MAX });
    }
    Ok(Spot::Stargz { at, end })
}

/// The place a footer names whose extra field begins with `subfield`, and the footer's size.
fn stargz_place(tail: &[u8], subfield: &[u8]) -> Option<(u64, u64)> {
    let extra_bytes = subfield.len() + STARGZ_HEX_DIGITS + STARGZ_MAGIC.len();
    let bytes = GZIP_HEAD_BYTES + 2 + extra_bytes + GZIP_NOTHING.len();
    let footer = &tail[tail.len().checked_sub(bytes)?..];
    let (head, rest) = footer.split_at(GZIP_HEAD_BYTES);
    let (length, rest) = rest.split_at(2);
    let (extra, nothing) = rest.split_at(extra_bytes);
    let digits = extra.strip_prefix(subfield)?.strip_suffix(STARGZ_MAGIC)?;
    let shaped =
        head.starts_with(&GZIP_HEAD) && length == (extra_bytes as u16).to_le_bytes() && nothing == GZIP_NOTHING;
    let hex = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    let place = u64::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
    shaped.then_some((place, bytes as u64))
}

/// eStargz's footer, for a table at `at`.
pub(super) fn stargz_footer(at: u64) -> Vec<u8> {
    let mut footer = GZIP_HEAD.to_vec();
    // No time, no hint, an unknown system.
    footer.extend([0, 0, 0, 0, 0, 0xff]);
    let extra = [&b"SG\x16\0"[..], format!("{at:016x}").as_bytes(), STARGZ_MAGIC].concat();
    footer.extend((extra.len() as u16).to_le_bytes());
    footer.extend(extra);
    footer.extend(GZIP_NOTHING);
    footer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footer_of_estargz_is_51_bytes_of_empty_gzip() {
        let footer = stargz_footer(0x1234);
        assert_eq!(footer.len(), 51);
        let mut out = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&footer[..]), &mut out).unwrap();
        assert!(out.is_empty());
        let spot = stargz(&[&b"before"[..], &footer].concat(), 0x5000).unwrap();
        assert_eq!(spot, Spot::Stargz { at: 0x1234, end: 0x5000 - 51 });
    }

    #[test]
    fn crfs_wrote_47_bytes() {
        let mut footer = GZIP_HEAD.to_vec();
        footer.extend([0, 0, 0, 0, 0, 0xff, 22, 0]);
        footer.extend(b"0000000000000010STARGZ");
        footer.extend(GZIP_NOTHING);
        assert_eq!(footer.len(), 47);
        assert_eq!(stargz(&footer, 1000).unwrap(), Spot::Stargz { at: 16, end: 953 });
    }

    fn refuses(form: Form, tail: &[u8], blob_bytes: u64, expect: &str) {
        let fault = footer(form, tail, blob_bytes).unwrap_err().to_string();
        assert!(fault.contains(expect), "{fault}");
    }

    #[test]
    fn other_ends_and_places_outside_are_refused() {
        refuses(Form::Stargz, b"", 0, "does not end as eStargz");
        refuses(Form::Stargz, &stargz_footer(0x1234), 0x1000, "not within");
        refuses(Form::Stargz, &stargz_footer(0), 1 << 30, "limit");
        let mut bent = stargz_footer(0x1234);
        bent[20] = b'+';
        refuses(Form::Stargz, &bent, 0x5000, "does not end");
        refuses(Form::Chunked, &[0; 72], 1000, "does not end as zstd:chunked");
        let mut footer = [&SKIPPABLE[..], &64_u32.to_le_bytes()].concat();
        for number in [900_u64, 200, 300, 1, 0, 0, 0] {
            footer.extend(number.to_le_bytes());
        }
        footer.extend(CHUNKED_MAGIC);
        refuses(Form::Chunked, &footer, 1000, "not within");
        let table = Piece { at: 900, packed_bytes: 200, bytes: 300 };
        assert_eq!(chunked(&footer, 2000).unwrap(), Spot::Chunked { table, split: None });
    }
}
