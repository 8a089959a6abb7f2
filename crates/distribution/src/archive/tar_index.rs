//! Where the members of a tar are.
//!
//! Spec: POSIX pax, GNU long names. Law: one pass over the headers, nothing of the contents is read but long names; memory is
//! bounded by [`limits::ARCHIVE_MEMBERS_MAX`] and [`EXTENSION_BYTES_MAX`]; of two members with one name the last counts, as
//! when it is unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{EntryType, Header, PaxExtensions};

use super::members::{Members, Section};
use crate::error::ArchiveProblem;
use crate::{Problem, limits};

/// Tar's unit.
const BLOCK: u64 = 512;

/// Longest extended header. The names in image archives need a hundred bytes.
const EXTENSION_BYTES_MAX: u64 = 64 << 10;

/// The members of a tar.
#[derive(Debug)]
pub(super) struct TarIndex {
    file: Arc<File>,
    path: PathBuf,
    members: HashMap<String, Member>,
}

#[derive(Debug, PartialEq, Eq)]
enum Member {
    File {
        start: u64,
        bytes: u64,
    },
    /// To another name in the archive, already resolved against the link's own directory.
    Link(String),
    /// Neither.
    Other,
}

/// What extended headers say of the entry that follows.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    bytes: Option<u64>,
}

impl TarIndex {
    /// Reads the headers of `file`; `path` is what errors call it.
    pub(super) fn read(file: File, path: &Path) -> Result<TarIndex, Problem> {
        let failed = |source| Problem::File { path: path.to_owned(), source };
        let length = file.metadata().map_err(failed)?.len();
        let mut scan = Scan { file: &file, length, at: 0, members: HashMap::new() };
        scan.run().map_err(|problem| match problem {
            ScanError::Io(source) => failed(source),
            ScanError::Bad(problem) => Problem::Archive(problem),
        })?;
        let members = scan.members;
        Ok(TarIndex { file: Arc::new(file), path: path.to_owned(), members })
    }
}

impl Members for TarIndex {
    fn section(&self, name: &str) -> Result<Option<Section>, Problem> {
        let mut at = name;
        for _ in 0..=limits::ARCHIVE_LINKS_MAX {
            match self.members.get(at) {
                None => return Ok(None),
                Some(Member::Link(target)) => at = target,
                Some(Member::Other) => return Err(Problem::Archive(ArchiveProblem::NotAFile(name.to_owned()))),
                Some(Member::File { start, bytes }) => {
                    let (file, path) = (self.file.clone(), self.path.clone());
                    return Ok(Some(Section { file, path, start: *start, bytes: *bytes }));
                }
            }
        }
        Err(Problem::Archive(ArchiveProblem::LinkLoop(name.to_owned())))
    }
}

enum ScanError {
    Io(std::io::Error),
    Bad(ArchiveProblem),
}

struct Scan<'f> {
    file: &'f File,
    length: u64,
    at: u64,
    members: HashMap<String, Member>,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), ScanError> {
        let mut extended = Extended::default();
        while let Some(header) = self.header()? {
            let start = self.at;
            let bytes = self.body(&header, extended.bytes)?;
            match header.entry_type() {
                EntryType::XGlobalHeader => {}
                EntryType::XHeader => self.pax(start, bytes, &mut extended)?,
                EntryType::GNULongName => extended.path = Some(self.long_name(start, bytes)?),
                EntryType::GNULongLink => extended.link = Some(self.long_name(start, bytes)?),
                _ => self.add(&header, start, bytes, std::mem::take(&mut extended))?,
            }
        }
        Ok(())
    }

    /// The next header; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, ScanError> {
        // Some writers leave out the two empty blocks.
        if self.at == self.length {
            return Ok(None);
        }
        let mut header = Header::new_old();
        self.exact(header.as_mut_bytes(), self.at)?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if header.cksum().ok() != Some(checksum(header.as_bytes())) {
            let what = if self.at == 0 { "it is no tar archive: " } else { "" };
            return Err(damaged(format!("{what}the header at byte {} has a wrong checksum", self.at)));
        }
        self.at += BLOCK;
        Ok(Some(header))
    }

    /// Steps over the content that follows `header`; returns its size.
    fn body(&mut self, header: &Header, extended: Option<u64>) -> Result<u64, ScanError> {
        let size = header.entry_size().map_err(|_| damaged(format!("the header at byte {} has no size", self.at)))?;
        let data = matches!(header.entry_type(), EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        let bytes = extended.filter(|_| data).unwrap_or(size);
        let end = bytes.checked_next_multiple_of(BLOCK).and_then(|padded| padded.checked_add(self.at));
        // The padding of the last member may be missing.
        match end {
            Some(end) if self.at + bytes <= self.length => self.at = end.min(self.length),
            _ => return Err(damaged("it is cut off".to_owned())),
        }
        Ok(bytes)
    }

    fn extension(&self, start: u64, bytes: u64) -> Result<Vec<u8>, ScanError> {
        if bytes > EXTENSION_BYTES_MAX {
            return Err(damaged(format!("an extended header of {bytes} bytes, more than {EXTENSION_BYTES_MAX}")));
        }
        let mut content = vec![0; bytes as usize];
        self.exact(&mut content, start)?;
        Ok(content)
    }

    fn long_name(&self, start: u64, bytes: u64) -> Result<Vec<u8>, ScanError> {
        let mut name = self.extension(start, bytes)?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn pax(&self, start: u64, bytes: u64, extended: &mut Extended) -> Result<(), ScanError> {
        let content = self.extension(start, bytes)?;
        for record in PaxExtensions::new(&content) {
            let record = record.map_err(|_| damaged("a pax header that is none".to_owned()))?;
            match record.key_bytes() {
                b"path" => extended.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => extended.link = Some(record.value_bytes().to_vec()),
                b"size" => extended.bytes = record.value().ok().and_then(|text| text.parse().ok()),
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, header: &Header, start: u64, bytes: u64, extended: Extended) -> Result<(), ScanError> {
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        // Names we look for are ASCII and inside; others are nobody's.
        let Some(name) = inside("", &String::from_utf8_lossy(&path)) else { return Ok(()) };
        let link = extended.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let link = link.unwrap_or_default();
        let link = String::from_utf8_lossy(&link);
        let member = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => Member::File { start, bytes },
            EntryType::Link => inside("", &link).map_or(Member::Other, Member::Link),
            EntryType::Symlink => inside(parent(&name), &link).map_or(Member::Other, Member::Link),
            _ => Member::Other,
        };
        if self.members.len() == limits::ARCHIVE_MEMBERS_MAX {
            return Err(ScanError::Bad(ArchiveProblem::TooManyMembers));
        }
        self.members.insert(name, member);
        Ok(())
    }

    fn exact(&self, into: &mut [u8], at: u64) -> Result<(), ScanError> {
        self.file.read_exact_at(into, at).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged("it is cut off".to_owned()),
            _ => ScanError::Io(error),
        })
    }
}

fn damaged(what: String) -> ScanError {
    ScanError::Bad(ArchiveProblem::Damaged(what))
}

/// The sum of the header's bytes with its checksum field as spaces.
fn checksum(header: &[u8; 512]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&header[..148]) + 8 * u32::from(b' ') + sum(&header[156..])
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `path`, relative to the directory `base`, without `.`, `..` and doubled slashes; `None` where it leads outside.
fn inside(base: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn entry(kind: EntryType, path: &str, link: &str, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn index(parts: &[Vec<u8>]) -> Result<TarIndex, Problem> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&parts.concat()).unwrap();
        TarIndex::read(file, Path::new("x.tar"))
    }

    fn check(parts: &[Vec<u8>], name: &str, expect: Result<Option<&[u8]>, &str>) {
        let found = index(parts).and_then(|index| index.section(name)?.map(|section| section.read(1000)).transpose());
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found.as_deref(), expect),
            (Err(found), Err(expect)) => assert!(found.to_string().contains(expect), "{found}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn members_are_found_by_name_with_or_without_a_leading_dot() {
        let parts = [
            entry(EntryType::Directory, "./", "", b""),
            entry(EntryType::Regular, "./a/b", "", b"one"),
            entry(EntryType::Regular, "c", "", b"two"),
        ];
        check(&parts, "a/b", Ok(Some(b"one")));
        check(&parts, "c", Ok(Some(b"two")));
        check(&parts, "d", Ok(None));
        check(&parts, "a", Ok(None));
    }

    #[test]
    fn the_last_of_two_members_counts() {
        let parts = [entry(EntryType::Regular, "a", "", b"1"), entry(EntryType::Regular, "a", "", b"2")];
        check(&parts, "a", Ok(Some(b"2")));
    }

    #[test]
    fn links_are_followed_inside_the_archive_only() {
        let parts = [
            entry(EntryType::Regular, "x/layer.tar", "", b"one"),
            entry(EntryType::Symlink, "y/layer.tar", "../x/layer.tar", b""),
            entry(EntryType::Link, "z", "y/layer.tar", b""),
            entry(EntryType::Symlink, "out", "../../etc/passwd", b""),
            entry(EntryType::Symlink, "abs", "/etc/passwd", b""),
            entry(EntryType::Symlink, "loop", "loop", b""),
        ];
        check(&parts, "z", Ok(Some(b"one")));
        check(&parts, "out", Err("out is not a regular file"));
        check(&parts, "abs", Err("abs is not a regular file"));
        check(&parts, "loop", Err("too many links"));
    }

    #[test]
    fn devices_and_fifos_are_no_files() {
        check(&[entry(EntryType::Fifo, "a", "", b"")], "a", Err("not a regular file"));
        check(&[entry(EntryType::Char, "a", "", b"")], "a", Err("not a regular file"));
    }

    #[test]
    fn long_names_and_pax_sizes_are_read() {
        let long = "d/".repeat(90) + "layer.tar";
        let parts = [
            entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes()),
            entry(EntryType::Regular, "short", "", b"one"),
            entry(EntryType::XHeader, "pax", "", b"12 path=p/q\n9 size=3\n"),
            entry(EntryType::Regular, "short", "", b"two"),
        ];
        check(&parts, &long, Ok(Some(b"one")));
        check(&parts, "p/q", Ok(Some(b"two")));
        check(&parts, "short", Ok(None));
    }

    #[test]
    fn a_cut_archive_and_one_that_is_none_are_refused() {
        let mut cut = entry(EntryType::Regular, "a", "", &[1; 600]);
        cut.truncate(800);
        check(&[cut], "a", Err("it is cut off"));
        check(&[vec![b'x'; 512]], "a", Err("wrong checksum"));
        check(&[vec![b'x'; 100]], "a", Err("it is cut off"));
    }

    #[test]
    fn a_size_that_overflows_and_an_endless_name_are_refused() {
        let mut huge = Header::new_gnu();
        huge.set_entry_type(EntryType::Regular);
        huge.set_size(u64::MAX);
        huge.set_cksum();
        check(&[huge.as_bytes().to_vec()], "a", Err("it is cut off"));
        let long = entry(EntryType::GNULongName, "x", "", &vec![b'a'; EXTENSION_BYTES_MAX as usize + 1]);
        check(&[long], "a", Err("extended header"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_index_or_an_error(bytes in proptest::collection::vec(0u8.., 0..3000)) {
            let _ = index(&[bytes]);
        }

        #[test]
        fn a_spoiled_header_is_an_index_or_an_error(at in 0usize..512, value in 0u8..) {
            let mut bytes = entry(EntryType::Regular, "a/b", "c", b"content");
            bytes[at] = value;
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[..512]);
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
            let _ = index(&[bytes]);
        }
    }
}
