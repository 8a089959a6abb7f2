//! One block of 512 bytes as a tar header.
//!
//! Spec: POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"; star's manual, `star(4)`. The layout is
//! the `tar` crate's.

use knarr_sys::at::Timespec;
use tar::Header;

use super::number;
use crate::HeaderFault;

/// Bytes of a header, and what data is padded to.
pub const BLOCK_BYTES: usize = 512;

/// A block of the archive.
pub type Block = [u8; BLOCK_BYTES];

/// Which of the historical layouts a header has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Before POSIX: no device numbers, no prefix.
    V7,
    /// POSIX, with a name prefix of 155 bytes.
    Ustar,
    /// star, with a prefix of 131 bytes and times behind it.
    Star,
    /// GNU before pax; what others call prefix holds times and sparse maps.
    Gnu,
}

/// The layout of a block, which must sum up to its checksum.
pub fn layout(block: &Block) -> Result<Layout, HeaderFault> {
    let header = Header::from_byte_slice(block);
    check_sum(block, &header.as_old().cksum)?;
    let ustar = &block[257..265];
    Ok(match ustar {
        b"ustar  \0" => Layout::Gnu,
        _ if ustar.starts_with(b"ustar\0") && block[508..512] == *b"tar\0" => Layout::Star,
        _ if ustar.starts_with(b"ustar\0") => Layout::Ustar,
        _ => Layout::V7,
    })
}

/// The sum of all bytes with the checksum field as spaces; historical tars summed signed bytes.
fn check_sum(block: &Block, field: &[u8]) -> Result<(), HeaderFault> {
    let found = number::field(field).ok_or(HeaderFault::Number("checksum"))?;
    let outside = || block[..148].iter().chain(&block[156..]);
    let unsigned: i64 = 8 * 32 + outside().map(|&byte| i64::from(byte)).sum::<i64>();
    let signed: i64 = 8 * 32 + outside().map(|&byte| i64::from(byte.cast_signed())).sum::<i64>();
    if found == unsigned || found == signed {
        return Ok(());
    }
    Err(HeaderFault::Checksum { found: found.cast_unsigned(), computed: unsigned.cast_unsigned() })
}

/// What every layout says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The type flag.
    pub kind: u8,
    /// Permission bits; some tars put the file type here too.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of data that follow.
    pub size: u64,
    /// Modification time.
    pub mtime: Timespec,
    /// Major and minor of a device.
    pub device: (u32, u32),
}

/// Reads the fields of `block`.
pub fn fields(block: &Block, layout: Layout) -> Result<Fields, HeaderFault> {
    let old = Header::from_byte_slice(block).as_old();
    let unsigned = |bytes: &[u8], name| {
        number::field(bytes).and_then(|value| u64::try_from(value).ok()).ok_or(HeaderFault::Number(name))
    };
    let kind = old.linkflag[0];
    Ok(Fields {
        kind,
        mode: (unsigned(&old.mode, "mode")? & 0o7777) as u32,
        uid: unsigned(&old.uid, "uid")?,
        gid: unsigned(&old.gid, "gid")?,
        size: unsigned(&old.size, "size")?,
        mtime: Timespec { tv_sec: number::field(&old.mtime).ok_or(HeaderFault::Number("mtime"))?, tv_nsec: 0 },
        device: if matches!(kind, b'3' | b'4') { device(block, layout)? } else { (0, 0) },
    })
}

fn device(block: &Block, layout: Layout) -> Result<(u32, u32), HeaderFault> {
    if layout == Layout::V7 {
        return Ok((0, 0));
    }
    let number = |bytes: &[u8], name| {
        number::field(bytes).and_then(|value| u32::try_from(value).ok()).ok_or(HeaderFault::Number(name))
    };
    Ok((number(&block[329..337], "device major")?, number(&block[337..345], "device minor")?))
}

/// Writes the entry's name, with its prefix, behind what `name` holds.
pub fn name(block: &Block, layout: Layout, name: &mut Vec<u8>) {
    let prefix = match layout {
        Layout::Ustar => until_nul(&block[345..500]),
        Layout::Star => until_nul(&block[345..476]),
        Layout::V7 | Layout::Gnu => b"",
    };
    if !prefix.is_empty() {
        name.extend_from_slice(prefix);
        name.push(b'/');
    }
    name.extend_from_slice(until_nul(&block[..100]));
}

/// The target of a link.
pub fn link(block: &Block) -> &[u8] {
    until_nul(&block[157..257])
}

/// Text of a field that ends at its first NUL, if any.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())]
}
