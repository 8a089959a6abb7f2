//! Extended headers: `length key=value\n`, over and over.
//!
//! Spec: POSIX pax, "pax Extended Header"; `SCHILY.xattr.` (star), `LIBARCHIVE.xattr.` (libarchive), `GNU.sparse.` (GNU tar
//! manual, "Storing Sparse Files").
//! Law: values are bytes; an attribute may hold newlines and NULs, so records are found by their length alone.

use base64::Engine as _;
use knarr_sys::at::Timespec;

use super::number;
use crate::HeaderFault;

/// An extended attribute: name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// What an extended header says. An empty value takes a record back, and so does a later one of the same key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pax {
    /// `path`.
    pub path: Option<Vec<u8>>,
    /// `linkpath`.
    pub link: Option<Vec<u8>>,
    /// `size`.
    pub size: Option<u64>,
    /// `uid`.
    pub uid: Option<u64>,
    /// `gid`.
    pub gid: Option<u64>,
    /// `mtime`.
    pub mtime: Option<Timespec>,
    /// `atime`.
    pub atime: Option<Timespec>,
    /// Extended attributes, in the order of their first record.
    pub xattrs: Vec<Xattr>,
    /// `SCHILY.acl.access` and `SCHILY.acl.default`, as text.
    pub acls: Vec<Xattr>,
    /// `GNU.sparse.*`.
    pub sparse: SparseRecords,
}

/// The records of the three pax forms of sparse files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SparseRecords {
    /// `GNU.sparse.major`.
    pub major: Option<u64>,
    /// `GNU.sparse.minor`.
    pub minor: Option<u64>,
    /// `GNU.sparse.name`: the real name.
    pub name: Option<Vec<u8>>,
    /// `GNU.sparse.size` or `GNU.sparse.realsize`.
    pub size: Option<u64>,
    /// `GNU.sparse.map`, or `GNU.sparse.offset` and `GNU.sparse.numbytes` in turn: offset, length, offset, length, …
    pub map: Vec<u64>,
}

/// Key, value, and the bytes behind the record.
type Record<'b> = (&'b [u8], &'b [u8], &'b [u8]);

/// Reads an extended header.
pub fn parse(mut bytes: &[u8]) -> Result<Pax, HeaderFault> {
    let mut pax = Pax::default();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes)?;
        put(&mut pax, key, value)?;
        bytes = rest;
    }
    Ok(pax)
}

fn record(bytes: &[u8]) -> Result<Record<'_>, HeaderFault> {
    let bad =
        |why: &str| HeaderFault::Pax(format!("{:?}…: {why}", String::from_utf8_lossy(&bytes[..bytes.len().min(32)])));
    let space = bytes.iter().position(|&b| b == b' ').ok_or_else(|| bad("no length"))?;
    let length = number::decimal(&bytes[..space]).ok_or_else(|| bad("its length is no number"))?;
    let length = usize::try_from(length).ok().filter(|&length| length > space + 1 && length <= bytes.len());
    let (record, rest) = bytes.split_at(length.ok_or_else(|| bad("its length is not its length"))?);
    let pair = record[space + 1..].strip_suffix(b"\n").ok_or_else(|| bad("does not end in a newline"))?;
    let equals = pair.iter().position(|&b| b == b'=').ok_or_else(|| bad("no key"))?;
    if equals == 0 || pair[..equals].contains(&0) {
        return Err(bad("its key is empty or holds a NUL"));
    }
    Ok((&pair[..equals], &pair[equals + 1..], rest))
}

fn put(pax: &mut Pax, key: &[u8], value: &[u8]) -> Result<(), HeaderFault> {
    let bad = || HeaderFault::Pax(format!("{}: not a value for it", String::from_utf8_lossy(key)));
    let number = || optional(value, number::decimal).ok_or_else(bad);
    let time = || optional(value, number::time).ok_or_else(bad);
    let text = || optional(value, without_nul).ok_or_else(bad);
    match key {
        b"path" => pax.path = text()?,
        b"linkpath" => pax.link = text()?,
        b"size" => pax.size = number()?,
        b"uid" => pax.uid = number()?,
        b"gid" => pax.gid = number()?,
        b"mtime" => pax.mtime = time()?,
        b"atime" => pax.atime = time()?,
        b"SCHILY.acl.access" | b"SCHILY.acl.default" => set(&mut pax.acls, &key[b"SCHILY.".len()..], value),
        b"GNU.sparse.major" => pax.sparse.major = number()?,
        b"GNU.sparse.minor" => pax.sparse.minor = number()?,
        b"GNU.sparse.name" => pax.sparse.name = text()?,
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => pax.sparse.size = number()?,
        b"GNU.sparse.map" => {
            let numbers = value.split(|&b| b == b',').map(number::decimal);
            pax.sparse.map = numbers.collect::<Option<Vec<u64>>>().ok_or_else(bad)?;
        }
        b"GNU.sparse.offset" if pax.sparse.map.len().is_multiple_of(2) => pax.sparse.map.extend(number()?),
        b"GNU.sparse.numbytes" if !pax.sparse.map.len().is_multiple_of(2) => pax.sparse.map.extend(number()?),
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => return Err(bad()),
        _ => return put_xattr(&mut pax.xattrs, key, value),
    }
    Ok(())
}

/// star's form wins over libarchive's, which writes both.
fn put_xattr(xattrs: &mut Vec<Xattr>, key: &[u8], value: &[u8]) -> Result<(), HeaderFault> {
    let bad = || HeaderFault::Pax(format!("{}: not a value for it", String::from_utf8_lossy(key)));
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        set(xattrs, name, value);
    } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
        let name = percent_decode(name).filter(|name| !name.contains(&0)).ok_or_else(bad)?;
        let padding = value.iter().rev().take_while(|&&byte| byte == b'=').count();
        let value = base64::engine::general_purpose::STANDARD_NO_PAD.decode(&value[..value.len() - padding]);
        if !xattrs.iter().any(|(known, _)| *known == name) {
            set(xattrs, &name, &value.map_err(|_| bad())?);
        }
    }
    Ok(())
}

fn set(list: &mut Vec<Xattr>, name: &[u8], value: &[u8]) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value.to_vec(),
        None => list.push((name.to_vec(), value.to_vec())),
    }
}

fn without_nul(value: &[u8]) -> Option<Vec<u8>> {
    if value.contains(&0) { None } else { Some(value.to_vec()) }
}

/// `Some(None)` for an empty value, which takes the record back.
fn optional<T>(value: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
                (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
            }
            _ => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with its length, which counts its own digits.
    fn rec(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [key.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = body.len() + 2;
        while length != body.len() + 1 + length.to_string().len() {
            length = body.len() + 1 + length.to_string().len();
        }
        [format!("{length} ").as_bytes(), &body].concat()
    }

    fn refused(bytes: &[u8]) {
        assert!(parse(bytes).is_err(), "{:?} was accepted", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn records_are_found_by_length_so_values_may_hold_newlines() {
        let header = [rec("SCHILY.xattr.user.x", b"a\n12 path=evil\n\0b"), rec("path", b"good")].concat();
        let pax = parse(&header).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"good"[..]));
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"a\n12 path=evil\n\0b".to_vec())]);
    }

    #[test]
    fn the_last_record_of_a_key_wins_and_an_empty_one_takes_it_back() {
        let pax = parse(&[rec("path", b"a"), rec("path", b"b"), rec("uid", b"1"), rec("uid", b"")].concat()).unwrap();
        assert_eq!((pax.path.as_deref(), pax.uid), (Some(&b"b"[..]), None));
    }

    #[test]
    fn malformed_records_are_refused() {
        refused(b"path=x\n");
        refused(b"9 path=x\n9999 y=");
        refused(b"3 path=x\n");
        refused(b"9 path=xy");
        refused(b"6 =xy\n");
        refused(b"8 pathx\n");
        refused(b"99999999999999999999999 path=x\n");
        refused(&rec("path", b"a\0b"));
        refused(&rec("pa\0th", b"a"));
        refused(&rec("uid", b"-1"));
        refused(&rec("size", b"1x"));
        refused(&rec("mtime", b"yesterday"));
    }

    #[test]
    fn libarchive_attributes_are_decoded_and_star_ones_win() {
        let header = [
            rec("LIBARCHIVE.xattr.user.a%3Db", b"aGVsbG8"),
            rec("LIBARCHIVE.xattr.user.c", b"aGVsbG8="),
            rec("SCHILY.xattr.user.c", b"star"),
        ];
        let pax = parse(&header.concat()).unwrap();
        let expect = [(b"user.a=b".to_vec(), b"hello".to_vec()), (b"user.c".to_vec(), b"star".to_vec())];
        assert_eq!(pax.xattrs, expect);
    }

    #[test]
    fn sparse_pairs_of_form_0_0_come_in_turn() {
        let pair = [rec("GNU.sparse.offset", b"0"), rec("GNU.sparse.numbytes", b"5")].concat();
        assert_eq!(parse(&pair).unwrap().sparse.map, [0, 5]);
        refused(&rec("GNU.sparse.numbytes", b"5"));
        refused(&[rec("GNU.sparse.offset", b"0"), rec("GNU.sparse.offset", b"5")].concat());
        assert_eq!(parse(&rec("GNU.sparse.map", b"0,1,5,2")).unwrap().sparse.map, [0, 1, 5, 2]);
    }
}
