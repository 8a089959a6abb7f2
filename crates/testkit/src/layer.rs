//! Builds layer tars entry by entry, honest ones and hostile ones.
//!
//! Spec: image-spec layer.md; whiteouts as empty `.wh.` files. Names are written into the header as raw bytes, because the
//! `tar` crate refuses the very names that hostile archives carry.

use std::io::Write;

use tar::{Builder, EntryType, Header};

/// Time stamp of every entry: 2024-01-01 00:00:00 UTC. A fixed one keeps digests the same from run to run.
const MTIME: u64 = 1_704_067_200;

/// How a layer is packed for transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Plain tar.
    Plain,
    /// gzip, which every registry has.
    Gzip,
    /// zstd (image-spec 1.1).
    Zstd,
}

impl Compression {
    /// Packs `tar`.
    pub fn pack(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Compression::Plain => tar.to_vec(),
            Compression::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(tar).and_then(|()| gzip.finish()).expect("writing to memory")
            }
            Compression::Zstd => zstd::encode_all(tar, 3).expect("writing to memory"),
        }
    }
}

/// A layer in the making. Paths are written as given: no leading `./`, and nothing is checked.
pub struct LayerTar(Builder<Vec<u8>>);

impl Default for LayerTar {
    fn default() -> LayerTar {
        LayerTar::new()
    }
}

impl LayerTar {
    /// An empty layer.
    pub fn new() -> LayerTar {
        LayerTar(Builder::new(Vec::new()))
    }

    /// A directory owned by root.
    pub fn dir(self, path: &str, mode: u32) -> LayerTar {
        self.entry(path, EntryType::Directory, mode, (0, 0), "", b"")
    }

    /// A directory owned by somebody.
    pub fn dir_of(self, path: &str, mode: u32, owner: (u64, u64)) -> LayerTar {
        self.entry(path, EntryType::Directory, mode, owner, "", b"")
    }

    /// A regular file owned by root.
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> LayerTar {
        self.entry(path, EntryType::Regular, mode, (0, 0), "", content.as_ref())
    }

    /// A regular file owned by somebody.
    pub fn file_of(self, path: &str, mode: u32, owner: (u64, u64), content: impl AsRef<[u8]>) -> LayerTar {
        self.entry(path, EntryType::Regular, mode, owner, "", content.as_ref())
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> LayerTar {
        self.entry(path, EntryType::Symlink, 0o777, (0, 0), target, b"")
    }

    /// A hard link to an entry of the same layer.
    pub fn hard_link(self, path: &str, target: &str) -> LayerTar {
        self.entry(path, EntryType::Link, 0o644, (0, 0), target, b"")
    }

    /// A named pipe.
    pub fn fifo(self, path: &str, mode: u32) -> LayerTar {
        self.entry(path, EntryType::Fifo, mode, (0, 0), "", b"")
    }

    /// A character device.
    pub fn device(mut self, path: &str, major: u32, minor: u32) -> LayerTar {
        let mut header = header(path, EntryType::Char, 0o666, (0, 0), "", 0);
        header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).expect("a header with devices");
        self.append(header, b"");
        self
    }

    /// Hides `path` of the layers below.
    pub fn whiteout(self, path: &str) -> LayerTar {
        let (parent, name) = path.rsplit_once('/').map_or(("", path), |(parent, name)| (parent, name));
        let slash = if parent.is_empty() { "" } else { "/" };
        self.file(&format!("{parent}{slash}.wh.{name}"), 0o600, b"")
    }

    /// Hides everything the layers below have in directory `path`.
    pub fn opaque(self, path: &str) -> LayerTar {
        self.file(&format!("{path}/.wh..wh..opq"), 0o600, b"")
    }

    /// A regular file with extended attributes, carried as pax records.
    pub fn file_with_xattrs(mut self, path: &str, mode: u32, content: &[u8], xattrs: &[(&str, &[u8])]) -> LayerTar {
        let names: Vec<String> = xattrs.iter().map(|(name, _)| format!("SCHILY.xattr.{name}")).collect();
        let records = names.iter().map(String::as_str).zip(xattrs.iter().map(|(_, value)| *value));
        self.0.append_pax_extensions(records).expect("writing to memory");
        self.file(path, mode, content)
    }

    /// A regular file of `bytes` bytes of which only some pieces are stored (offset and content, ascending), as GNU's pax
    /// form 0.1.
    pub fn sparse_file(mut self, path: &str, mode: u32, bytes: u64, pieces: &[(u64, &[u8])]) -> LayerTar {
        let map: Vec<String> = pieces.iter().map(|(at, piece)| format!("{at},{}", piece.len())).collect();
        let records = [
            ("GNU.sparse.major", "0".to_owned()),
            ("GNU.sparse.minor", "1".to_owned()),
            ("GNU.sparse.name", path.to_owned()),
            ("GNU.sparse.size", bytes.to_string()),
            ("GNU.sparse.numblocks", pieces.len().to_string()),
            ("GNU.sparse.map", map.join(",")),
        ];
        let records = records.iter().map(|(name, value)| (*name, value.as_bytes()));
        self.0.append_pax_extensions(records).expect("writing to memory");
        let stored: Vec<u8> = pieces.iter().flat_map(|(_, piece)| piece.iter().copied()).collect();
        self.file(path, mode, stored)
    }

    /// An entry of any type with any names.
    pub fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        owner: (u64, u64),
        link: &str,
        content: &[u8],
    ) -> LayerTar {
        let header = header(path, kind, mode, owner, link, content.len() as u64);
        self.append(header, content);
        self
    }

    /// An entry whose header promises `size` bytes while the archive ends after `content`.
    pub fn lying(mut self, path: &str, size: u64, content: &[u8]) -> Vec<u8> {
        let mut header = header(path, EntryType::Regular, 0o644, (0, 0), "", size);
        header.set_cksum();
        self.0.get_mut().extend_from_slice(header.as_bytes());
        self.0.get_mut().extend_from_slice(content);
        self.0.get_ref().clone()
    }

    /// The finished archive, plain.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("writing to memory")
    }

    fn append(&mut self, mut header: Header, content: &[u8]) {
        header.set_cksum();
        self.0.append(&header, content).expect("writing to memory");
    }
}

fn header(path: &str, kind: EntryType, mode: u32, (uid, gid): (u64, u64), link: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(MTIME);
    header.set_size(size);
    let gnu = header.as_gnu_mut().expect("made as GNU");
    copy_name(&mut gnu.name, path);
    copy_name(&mut gnu.linkname, link);
    header
}

fn copy_name(field: &mut [u8; 100], name: &str) {
    assert!(name.len() <= field.len(), "{name}: longer than a header holds");
    field[..name.len()].copy_from_slice(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tar: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("a readable archive");
        entries.map(|entry| String::from_utf8_lossy(&entry.expect("an entry").path_bytes()).into_owned()).collect()
    }

    #[test]
    fn a_whiteout_stands_beside_what_it_hides() {
        let tar = LayerTar::new().whiteout("etc/motd").whiteout("top").opaque("var").finish();
        assert_eq!(paths(&tar), ["etc/.wh.motd", ".wh.top", "var/.wh..wh..opq"]);
    }

    #[test]
    fn a_name_that_climbs_out_is_written_as_it_is() {
        assert_eq!(paths(&LayerTar::new().file("../evil", 0o644, "x").finish()), ["../evil"]);
    }

    #[test]
    fn the_same_entries_make_the_same_bytes() {
        let make = || Compression::Gzip.pack(&LayerTar::new().dir("a", 0o755).file("a/b", 0o644, "x").finish());
        assert_eq!(make(), make());
    }
}
