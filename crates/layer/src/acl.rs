//! POSIX ACLs: the kernel's binary form and star's text form.
//!
//! Spec: `acl(5)`; linux/posix_acl_xattr.h (version 2, little endian, entries of tag, permissions, id); pax records
//! `SCHILY.acl.access` and `SCHILY.acl.default` as `star(1)` and GNU tar write them.

use std::ffi::CStr;

use crate::{IdMap, Refusal};

/// The attribute with a file's ACL.
pub const ACCESS: &CStr = c"system.posix_acl_access";
/// The attribute with the ACL that new files in a directory get.
pub const DEFAULT: &CStr = c"system.posix_acl_default";

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const ENTRY_BYTES: usize = 8;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// The binary form of a text, `user::rwx,user:lisa:rw-:1001,…`: separated by commas or newlines, with a number behind
/// named users and groups (or instead of the name). `None` where that number is missing or the text is no ACL.
pub fn from_text(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let lines = text.split([',', '\n']).map(|line| line.split('#').next().unwrap_or_default().trim());
    let mut entries = lines.filter(|line| !line.is_empty()).map(entry).collect::<Option<Vec<_>>>()?;
    // The kernel wants them ascending by tag and id.
    entries.sort_unstable();
    let mut binary = VERSION.to_vec();
    for (tag, id, permissions) in entries {
        binary.extend(tag.to_le_bytes().iter().chain(&permissions.to_le_bytes()).chain(&id.to_le_bytes()));
    }
    Some(binary)
}

fn entry(line: &str) -> Option<(u16, u32, u16)> {
    let mut parts = line.split(':');
    let (tag, name, permissions) = (parts.next()?, parts.next()?, parts.next()?);
    let id = match (name, parts.next()) {
        ("", _) => NO_ID,
        (_, Some(number)) => number.parse().ok()?,
        (number, None) => number.parse().ok()?,
    };
    let tag = match (tag, id) {
        ("user" | "u", NO_ID) => USER_OBJ,
        ("user" | "u", _) => USER,
        ("group" | "g", NO_ID) => GROUP_OBJ,
        ("group" | "g", _) => GROUP,
        ("mask" | "m", NO_ID) => MASK,
        ("other" | "o", NO_ID) => OTHER,
        _ => return None,
    };
    Some((tag, id, bits(permissions)?))
}

fn bits(text: &str) -> Option<u16> {
    text.bytes().try_fold(0, |bits, letter| {
        Some(
            bits | match letter {
                b'r' => 4,
                b'w' => 2,
                b'x' => 1,
                b'-' => 0,
                _ => return None,
            },
        )
    })
}

/// The same ACL with the ids of this namespace. A value that is no ACL is left for the kernel to refuse.
pub fn shift(value: &[u8], ids: &IdMap) -> Result<Vec<u8>, Refusal> {
    let mut shifted = value.to_vec();
    if !value.starts_with(&VERSION) {
        return Ok(shifted);
    }
    for entry in shifted[VERSION.len()..].chunks_exact_mut(ENTRY_BYTES) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let id = u64::from(u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]));
        let id = match tag {
            USER => ids.uid(id)?,
            GROUP => ids.gid(id)?,
            _ => continue,
        };
        entry[4..].copy_from_slice(&id.to_le_bytes());
    }
    Ok(shifted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdRange;

    const EXPECT: &[u8] = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x06\0\xe9\x03\0\0\x04\0\x05\0\xff\xff\xff\xff\
        \x10\0\x07\0\xff\xff\xff\xff\x20\0\x00\0\xff\xff\xff\xff";

    #[test]
    fn text_becomes_what_the_kernel_takes() {
        for text in [
            "user::rwx,user:lisa:rw-:1001,group::r-x,mask::rwx,other::---",
            "user::rwx,user:1001:rw-,group::r-x,mask::rwx,other::---",
            "user::rwx\ngroup::r-x\nuser:1001:rw-\t#effective:rw-\nmask::rwx\nother::---\n",
        ] {
            assert_eq!(from_text(text.as_bytes()).as_deref(), Some(EXPECT), "{text}");
        }
    }

    #[test]
    fn names_without_numbers_and_other_texts_are_none() {
        for text in ["user:lisa:rw-", "user::rwz", "who::rwx", "user", "mask:5:rwx", "\u{fffd}"] {
            assert_eq!(from_text(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn named_ids_are_shifted_and_unmapped_ones_refused() {
        let range = IdRange { layer: 0, here: 100_000, count: 65536 };
        let ids = IdMap { uids: vec![range], gids: vec![range] };
        let shifted = shift(EXPECT, &ids).unwrap();
        assert_eq!(shifted[16..20], 101_001_u32.to_le_bytes());
        assert_eq!(shifted[..16], EXPECT[..16]);
        let few = IdRange { count: 10, ..range };
        assert!(shift(EXPECT, &IdMap { uids: vec![few], gids: vec![few] }).is_err());
        assert_eq!(shift(b"junk", &ids).unwrap(), b"junk");
    }
}
