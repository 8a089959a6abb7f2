//! What layers hold, without making it: one layer's list, and what several lists show on top of each other.
//!
//! Spec: image-spec layer.md, "Applying Changesets", "Whiteouts".
//! Law: pure once the tar is read. A list says what its layer says; links are not followed.
//! Not here: where a list comes from when it is no tar ([`toc`](crate::toc)).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::Bound;
use std::os::unix::fs::FileExt;

use knarr_spec::{DiffId, Digest};

use crate::archive::sparse::Piece;
use crate::archive::{Archive, Entry};
use crate::stream::Stream;
use crate::unpack::{Meaning, Place, refused};
use crate::{Compression, Error, Kind, Limits, Refusal};

/// One name of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Relative, without `.` and `..`; empty for the root.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The target of a link as written.
    pub link: Vec<u8>,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of a file.
    pub bytes: u64,
    /// Modification time in seconds since 1970.
    pub modified_s: i64,
    /// Major and minor of a device.
    pub device: (u32, u32),
    /// Where its data is in the blob, which only a table of contents knows.
    pub content: Content,
}

impl Listed {
    /// The path its data stands under in its layer: of a hard link the file's.
    pub fn data_path(&self) -> Vec<u8> {
        let target = Some(&self.link).filter(|_| self.kind == Kind::HardLink).and_then(|link| Place::of(link).ok());
        target.map_or_else(|| self.path.clone(), |place| place.path().to_vec())
    }
}

/// A file's data, as a table of contents describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Of the whole file.
    pub digest: Option<Digest>,
    /// In order, without gaps, together as long as the file; none where only the tar knows.
    pub chunks: Vec<Chunk>,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where the compressed bytes begin in the blob; `None` for zeros, which are not there.
    pub at: Option<u64>,
    /// Where they end at the latest.
    pub end: u64,
    /// Uncompressed bytes to pass over.
    pub inner: u64,
    /// Uncompressed bytes that are the file's.
    pub bytes: u64,
    /// Of these.
    pub digest: Option<Digest>,
}

/// What a layer does at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Puts this there.
    Entry(Box<Listed>),
    /// Hides this path of the layers below.
    Whiteout(Vec<u8>),
    /// Hides all that the layers below have in this directory.
    Opaque(Vec<u8>),
}

/// A layer's list, and what its tar is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In the order of the tar.
    pub items: Vec<Item>,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed tar.
    pub tar_bytes: u64,
}

/// Lists the layer in `reader`.
pub fn list(reader: impl Read, compression: Option<Compression>, limits: &Limits) -> Result<Listing, Error> {
    let mut stream = Stream::direct(reader, compression, limits)?;
    let mut archive = Archive::new(&mut stream, limits);
    let mut items = Vec::new();
    while let Some(entry) = archive.next()? {
        let bytes = entry.sparse.as_ref().map_or(archive.data().bytes, |sparse| sparse.file_bytes);
        items.extend(item(of_tar(entry, bytes))?);
    }
    let end = stream.finish()?;
    Ok(Listing { items, diff_id: end.diff_id, tar_bytes: end.tar_bytes })
}

/// An entry of a tar, its path as written.
pub(crate) fn of_tar(entry: Entry, bytes: u64) -> Listed {
    Listed {
        path: entry.name,
        kind: entry.kind,
        link: if matches!(entry.kind, Kind::HardLink | Kind::Symlink) { entry.link } else { Vec::new() },
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        bytes: if entry.kind == Kind::File { bytes } else { 0 },
        modified_s: entry.mtime.tv_sec,
        device: if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) { entry.device } else { (0, 0) },
        content: Content::default(),
    }
}

/// What an entry whose path is as written means; nothing where nobody reads it.
pub(crate) fn item(mut entry: Listed) -> Result<Option<Item>, Error> {
    let refuse = |refusal| refused(&entry.path, refusal);
    let place = Place::of(&entry.path).map_err(refuse)?;
    match place.meaning().map_err(refuse)? {
        // What overlayfs takes for a whiteout is one, wherever it stands.
        Meaning::Itself if entry.kind == Kind::CharDevice && entry.device == (0, 0) => {
            Ok(Some(Item::Whiteout(place.path().to_vec())))
        }
        Meaning::Itself if place.is_root() && entry.kind != Kind::Directory => Err(refuse(Refusal::RootNotDirectory)),
        Meaning::Itself => {
            entry.path = place.path().to_vec();
            Ok(Some(Item::Entry(Box::new(entry))))
        }
        Meaning::Whiteout(hidden) => Ok(Some(Item::Whiteout(hidden.path().to_vec()))),
        Meaning::Opaque => Ok(Some(Item::Opaque(place.parent().to_vec()))),
        Meaning::Nothing => Ok(None),
    }
}

/// Writes the data of the file that the layer has at `path` to `out`; whether there is one. Of several the last counts.
pub fn extract(
    reader: impl Read,
    compression: Option<Compression>,
    limits: &Limits,
    path: &[u8],
    out: &mut File,
) -> Result<bool, Error> {
    let mut stream = Stream::direct(reader, compression, limits)?;
    let mut archive = Archive::new(&mut stream, limits);
    let mut found = false;
    while let Some(entry) = archive.next()? {
        let here = Place::of(&entry.name).is_ok_and(|place| place.path() == path);
        if entry.kind != Kind::File || !here {
            continue;
        }
        found = true;
        let whole = [Piece { offset: 0, bytes: archive.data().bytes }];
        let (bytes, pieces) =
            entry.sparse.as_ref().map_or((0, &whole[..]), |sparse| (sparse.file_bytes, &sparse.pieces[..]));
        out.set_len(0).and_then(|()| out.set_len(bytes)).map_err(Error::Write)?;
        for piece in pieces {
            let (mut at, end) = (piece.offset, piece.offset.saturating_add(piece.bytes));
            while at < end {
                let data = archive.peek_data()?;
                let data = &data[..data.len().min(usize::try_from(end - at).unwrap_or(usize::MAX))];
                if data.is_empty() {
                    break;
                }
                out.write_all_at(data, at).map_err(Error::Write)?;
                let taken = data.len();
                archive.consume_data(taken);
                at += taken as u64;
            }
        }
    }
    stream.finish()?;
    Ok(found)
}

/// What layers show together, the lowest first; with each name the number of the layer it comes from. A hard link has the
/// data of its file.
pub fn merged(layers: impl IntoIterator<Item = Vec<Item>>) -> BTreeMap<Vec<u8>, (usize, Listed)> {
    let mut all = BTreeMap::new();
    for (at, items) in layers.into_iter().enumerate() {
        // A whiteout only hides what is below, in whichever order the entries come.
        for item in &items {
            match item {
                Item::Whiteout(path) => {
                    all.remove(path);
                    remove_below(&mut all, path);
                }
                Item::Opaque(path) => remove_below(&mut all, path),
                Item::Entry(_) => {}
            }
        }
        let shared = hard_linked(&items);
        for item in items {
            let Item::Entry(mut entry) = item else { continue };
            if let Some((bytes, content)) = shared.get(&entry.data_path()).filter(|_| entry.kind == Kind::HardLink) {
                (entry.bytes, entry.content) = (*bytes, content.clone());
            }
            if entry.kind != Kind::Directory {
                remove_below(&mut all, &entry.path);
            }
            all.insert(entry.path.clone(), (at, *entry));
        }
    }
    all
}

/// The data of files that hard links of the same layer lead to: a layer above may replace the file, and the link keeps it.
fn hard_linked(items: &[Item]) -> HashMap<Vec<u8>, (u64, Content)> {
    let entries = || items.iter().filter_map(|item| if let Item::Entry(entry) = item { Some(entry) } else { None });
    let wanted: HashSet<Vec<u8>> =
        entries().filter(|entry| entry.kind == Kind::HardLink).map(|entry| entry.data_path()).collect();
    let files = entries().filter(|entry| entry.kind == Kind::File && wanted.contains(&entry.path));
    files.map(|file| (file.path.clone(), (file.bytes, file.content.clone()))).collect()
}

/// Removes what stands in the directory `path`.
fn remove_below<T>(all: &mut BTreeMap<Vec<u8>, T>, path: &[u8]) {
    if path.is_empty() {
        let root = all.remove(&[][..]);
        all.clear();
        all.extend(root.map(|root| (Vec::new(), root)));
        return;
    }
    let (first, end) = ([path, b"/"].concat(), [path, b"0"].concat());
    let range = (Bound::Included(first), Bound::Excluded(end));
    let below: Vec<Vec<u8>> = all.range::<Vec<u8>, _>(range).map(|(path, _)| path.clone()).collect();
    below.iter().for_each(|path| drop(all.remove(path)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `d` directories, `f` files, `w` whiteouts, `o` opaque directories.
    fn layer(text: &str) -> Vec<Item> {
        let words = text.split(' ').filter(|word| !word.is_empty());
        let item = |word: &str| {
            let (letter, path) = word.split_at(1);
            let path = path.as_bytes().to_vec();
            let kind = if letter == "d" { Kind::Directory } else { Kind::File };
            let entry = Listed {
                path: path.clone(),
                kind,
                link: Vec::new(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                bytes: 0,
                modified_s: 0,
                device: (0, 0),
                content: Content::default(),
            };
            match letter {
                "w" => Item::Whiteout(path),
                "o" => Item::Opaque(path),
                _ => Item::Entry(Box::new(entry)),
            }
        };
        words.map(item).collect()
    }

    fn check(layers: &[&str], expect: &str) {
        let all = merged(layers.iter().map(|text| layer(text)));
        let shown = all.iter().map(|(path, (at, _))| format!("{}={at}", String::from_utf8_lossy(path)));
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expect, "{layers:?}");
    }

    #[test]
    fn the_layer_above_wins() {
        check(&["fa fb", "fb fc"], "a=0 b=1 c=1");
    }

    #[test]
    fn a_whiteout_takes_a_tree_and_nothing_of_its_own_layer() {
        check(&["da fa/x fa0 fab", "wa"], "a0=0 ab=0");
        check(&["da fa/x fa/y", "fa/z wa/x wa/z"], "a=0 a/y=0 a/z=1");
    }

    #[test]
    fn an_opaque_directory_hides_what_is_below_it() {
        check(&["da fa/x fb", "fa/y oa"], "a=0 a/y=1 b=0");
        check(&["da fa/x fb", "o fc"], "c=1");
    }

    #[test]
    fn a_file_in_place_of_a_directory_hides_its_tree() {
        check(&["da fa/x", "fa"], "a=1");
        check(&["fa", "da fa/x"], "a=1 a/x=1");
        check(&["da fa/x", "da"], "a=1 a/x=0");
    }
}
