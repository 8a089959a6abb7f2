//! Tables of contents from a stranger, and those we write of a stranger's tar.

use std::io::{self, Read};
use std::ops::Range;

use knarr_layer::listing::{Content, Item, Listed};
use knarr_layer::toc::{self, Fault, Form, Promise, Spot, Table};
use knarr_layer::{Compression, Kind, Limits, list};
use knarr_spec::Digest;

/// Bytes of files that are read out of one input.
const CONTENT_BYTES_MAX: u64 = 1 << 20;

/// Panics where a law is broken: the first byte says what the others are.
pub fn check(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => blob(Form::Chunked, rest),
        1 => blob(Form::Stargz, rest),
        2 => annotations(rest),
        _ => tar(rest),
    }
}

/// A blob whose table the manifest vouches for, whatever it is.
fn blob(form: Form, blob: &[u8]) {
    let Ok(spot) = toc::footer(form, blob, blob.len() as u64) else { return };
    let Some((table, packed)) = believed(form, blob, &spot) else { return };
    let table_at = spot.range().start;
    let mut bytes = 0;
    for item in &table.items {
        let path = match item {
            Item::Entry(entry) => {
                bytes = u64::saturating_add(bytes, entry.bytes);
                consistent(entry, table_at);
                &entry.path
            }
            Item::Whiteout(path) | Item::Opaque(path) => path,
        };
        let odd = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
        assert!(path.is_empty() || !path.split(|byte| *byte == b'/').any(odd), "{path:?}");
        assert!(!path.contains(&0));
    }
    if bytes > CONTENT_BYTES_MAX {
        return;
    }
    let mut open = |range: Range<u64>| -> io::Result<Box<dyn Read + '_>> { Ok(Box::new(part(blob, range))) };
    let _ = toc::check_contents(&table.items, form, &mut open);
    if let Spot::Chunked { split: Some(split), .. } = spot {
        assert_eq!(packed.len() as u64, spot.range().end - table_at);
        let between = part(blob, split.at..split.at + split.packed_bytes);
        let _ = toc::assemble(&table, between, split, &mut open, &mut io::sink());
    }
}

fn consistent(entry: &Listed, table_at: u64) {
    let sum: u64 = entry.content.chunks.iter().map(|chunk| chunk.bytes).sum();
    assert!(entry.content.chunks.is_empty() || sum == entry.bytes, "{entry:?}");
    for chunk in &entry.content.chunks {
        assert!(chunk.bytes > 0 && chunk.at.is_none_or(|at| at < chunk.end && chunk.end <= table_at), "{entry:?}");
    }
}

/// The table at `spot`, with whatever digest it has.
fn believed<'b>(form: Form, blob: &'b [u8], spot: &Spot) -> Option<(Table, &'b [u8])> {
    let packed = part(blob, spot.range());
    let promise = |digest| Promise { form, digest, spot: None };
    let digest = match toc::read(packed, &promise(Digest::sha256_of(b"another")), spot) {
        Err(Fault::Mismatch { got, .. }) => got,
        Err(_) => return None,
        Ok(_) => panic!("a table was read that nobody vouches for"),
    };
    toc::read(packed, &promise(digest), spot).ok().map(|table| (table, packed))
}

fn part(blob: &[u8], range: Range<u64>) -> &[u8] {
    &blob[range.start as usize..range.end as usize]
}

/// Three texts with NULs between them: digest, position, tar-split's position.
fn annotations(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let names = ["manifest-checksum", "manifest-position", "tarsplit-position"];
    let named = |(name, value): (&str, &str)| (format!("io.github.containers.zstd-chunked.{name}"), value.to_owned());
    let map = names.into_iter().zip(text.split('\0')).map(named).collect();
    let blob_bytes = 1 << 20;
    if let Ok(Some(Promise { spot: Some(spot), .. })) = toc::promise(&map, blob_bytes) {
        assert!(spot.range().start <= spot.range().end && spot.range().end <= blob_bytes);
    }
}

/// What we write of a tar is read again and says what the tar says.
fn tar(tar: &[u8]) {
    let limits = Limits { tar_bytes_max: 4 << 20, entries_max: 500, sparse_pieces_max: 500, ..Limits::default() };
    let Ok(listing) = list(tar, Some(Compression::None), &limits) else { return };
    if let Ok((blob, annotations)) = toc::write_chunked(&mut &tar[..], Vec::new(), Some(1)) {
        let again = list(&blob[..], Some(Compression::Zstd), &limits).expect("what we wrote we read");
        assert_eq!(again.diff_id, listing.diff_id);
        if !annotations.is_empty() {
            says_the_same(&blob, Form::Chunked, &annotations, &listing.items);
        }
    }
    if let Ok((blob, written)) = toc::write_stargz(&mut &tar[..], Vec::new(), Some(1)) {
        let again = list(&blob[..], Some(Compression::Gzip), &limits).expect("what we wrote we read");
        assert_eq!(again.diff_id, written.diff_id);
        says_the_same(&blob, Form::Stargz, &written.annotations, &again.items);
    }
}

fn says_the_same(blob: &[u8], form: Form, annotations: &std::collections::BTreeMap<String, String>, expect: &[Item]) {
    let promise = toc::promise(annotations, blob.len() as u64).expect("our own").expect("a promise");
    let spot = toc::footer(form, blob, blob.len() as u64).expect("our own");
    assert!(promise.spot.is_none_or(|promised| promised == spot));
    // Names may be refused that a tar of no layer has.
    let Ok(table) = toc::read(part(blob, spot.range()), &promise, &spot) else { return };
    let plain = |items: &[Item]| items.iter().cloned().map(bare).collect::<Vec<_>>();
    assert_eq!(plain(&table.items), plain(expect));
    let mut open = |range: Range<u64>| -> io::Result<Box<dyn Read + '_>> { Ok(Box::new(part(blob, range))) };
    toc::check_contents(&table.items, form, &mut open).expect("our own");
    if let Spot::Chunked { split: Some(split), .. } = spot {
        let between = part(blob, split.at..split.at + split.packed_bytes);
        let mut tar = Vec::new();
        toc::assemble(&table, between, split, &mut open, &mut tar).expect("our own");
        let limits = Limits::default();
        let plain = list(blob, Some(Compression::Zstd), &limits).expect("our own");
        assert_eq!(plain.diff_id.0, Digest::sha256_of(&tar));
    }
}

fn bare(item: Item) -> Item {
    match item {
        Item::Entry(mut entry) => {
            entry.content = Content::default();
            // A link's target is as long as it likes; devices of others are not looked at.
            if entry.kind == Kind::File {
                entry.link.clear()
            }
            Item::Entry(entry)
        }
        other => other,
    }
}
