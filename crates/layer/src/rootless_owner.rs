//! Who should own a file that its maker had to keep for himself: the attribute `user.rootlesscontainers`.
//!
//! Spec: the rootlesscontainers project's `Resource` message: `uint32 uid = 1; uint32 gid = 2;` in protocol buffers. umoci
//! and PRoot read and write it.
//! Law: pure. What is not such a message says nothing.

use std::ffi::CStr;

/// The attribute's name.
pub const ATTRIBUTE: &CStr = c"user.rootlesscontainers";

/// In an attribute: leave this id as it is.
const KEEP: u32 = u32::MAX;

const UID_TAG: u8 = 0x08;
const GID_TAG: u8 = 0x10;

/// The attribute's value; `None` for root's own files, which need none, and for ids no kernel has.
pub fn encode(uid: u64, gid: u64) -> Option<Vec<u8>> {
    let (uid, gid) = (u32::try_from(uid).ok()?, u32::try_from(gid).ok()?);
    if (uid, gid) == (0, 0) {
        return None;
    }
    let mut value = Vec::new();
    for (tag, id) in [(UID_TAG, uid), (GID_TAG, gid)] {
        if id != 0 {
            value.push(tag);
            push_varint(&mut value, id);
        }
    }
    Some(value)
}

/// Who should own the file, `None` in place of an id that says nothing.
pub fn decode(value: &[u8]) -> Option<(Option<u32>, Option<u32>)> {
    let (mut uid, mut gid) = (0, 0);
    let mut rest = value;
    while let Some((&tag, after)) = rest.split_first() {
        let (id, after) = varint(after)?;
        match tag {
            UID_TAG => uid = id,
            GID_TAG => gid = id,
            _ => return None,
        }
        rest = after;
    }
    let said = |id: u32| (id != KEEP).then_some(id);
    Some((said(uid), said(gid)))
}

fn push_varint(into: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_survive() {
        for (uid, gid) in [(1, 0), (0, 1), (1000, 100), (65534, 65534), (u32::MAX - 1, 300)] {
            let value = encode(u64::from(uid), u64::from(gid)).unwrap();
            assert_eq!(decode(&value), Some((Some(uid), Some(gid))), "{uid}:{gid}");
        }
    }

    #[test]
    fn roots_own_files_need_no_attribute() {
        assert_eq!(encode(0, 0), None);
    }

    #[test]
    fn the_bytes_are_those_of_protocol_buffers() {
        assert_eq!(encode(1000, 5), Some(vec![0x08, 0xe8, 0x07, 0x10, 0x05]));
        assert_eq!(decode(&[0x08, 0xff, 0xff, 0xff, 0xff, 0x0f]), Some((None, Some(0))));
    }

    #[test]
    fn other_bytes_say_nothing() {
        for value in [&b"\x08"[..], b"\x08\xff\xff\xff\xff\xff\x01", b"\x1a\x00", b"hello"] {
            assert_eq!(decode(value), None, "{value:?}");
        }
    }
}
