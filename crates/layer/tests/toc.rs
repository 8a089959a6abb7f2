//! Tables of contents that we write, and those that lie.

use std::io::Read;
use std::ops::Range;

use knarr_layer::listing::{Content, Item, Listing};
use knarr_layer::toc::{self, Fault, Form, Promise, Spot, Table};
use knarr_layer::{Compression, Limits, list};
use knarr_spec::Digest;
use knarr_spec::image::Annotations;
use tar::{EntryType, Header};

const BIG: usize = 9 << 20;

fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, link: &str, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        match link {
            "" => builder.append_data(&mut header, name, content).unwrap(),
            link => builder.append_link(&mut header, name, link).unwrap(),
        }
    };
    add("d/", EntryType::Directory, "", b"");
    add("d/one", EntryType::Regular, "", &b"one ".repeat(1000));
    add("d/empty", EntryType::Regular, "", b"");
    add("d/link", EntryType::Symlink, "one", b"");
    add("d/hard", EntryType::Link, "d/one", b"");
    add("d/.wh.gone", EntryType::Regular, "", b"");
    add(&format!("d/{}", "long".repeat(60)), EntryType::Regular, "", b"named at length");
    add("d/big", EntryType::Regular, "", &(0..BIG).map(|at| (at % 251) as u8).collect::<Vec<_>>());
    builder.into_inner().unwrap()
}

fn listed(blob: &[u8]) -> Listing {
    list(blob, None, &Limits::default()).unwrap()
}

fn bare(items: &[Item]) -> Vec<Item> {
    let bare = |item: &Item| match item.clone() {
        Item::Entry(mut entry) => {
            entry.content = Content::default();
            Item::Entry(entry)
        }
        other => other,
    };
    items.iter().map(bare).collect()
}

/// Reads the table as somebody does who has nothing but annotations and parts of the blob.
fn table(blob: &[u8], annotations: &Annotations) -> Result<(Table, Promise, Spot), Fault> {
    let blob_bytes = blob.len() as u64;
    let promise = toc::promise(annotations, blob_bytes)?.expect("a promise");
    let tail = &blob[blob.len() - toc::FOOTER_BYTES_MAX as usize..];
    let spot = toc::footer(promise.form, tail, blob_bytes)?;
    assert!(promise.spot.is_none_or(|promised| promised == spot));
    let range = spot.range();
    let table = toc::read(&blob[range.start as usize..range.end as usize], &promise, &spot)?;
    Ok((table, promise, spot))
}

type Opened<'b> = std::io::Result<Box<dyn Read + 'b>>;

fn part<'b>(blob: &'b [u8]) -> impl FnMut(Range<u64>) -> Opened<'b> + use<'b> {
    |range| Ok(Box::new(&blob[range.start as usize..range.end as usize]))
}

fn file<'t>(table: &'t Table, path: &str) -> &'t knarr_layer::Listed {
    let entry = |item: &'t Item| match item {
        Item::Entry(entry) if entry.path == path.as_bytes() => Some(&**entry),
        _ => None,
    };
    table.items.iter().find_map(entry).expect(path)
}

#[test]
fn the_table_of_zstd_chunked_says_what_the_tar_says() {
    let tar = tar();
    let (blob, annotations) = toc::write_chunked(&mut &tar[..], Vec::new(), None).unwrap();
    let (table, promise, spot) = table(&blob, &annotations).unwrap();
    assert_eq!(bare(&table.items), bare(&listed(&tar).items));
    toc::check_contents(&table.items, promise.form, &mut part(&blob)).unwrap();
    let Spot::Chunked { split: Some(split), .. } = spot else { panic!("no tar-split") };
    let packed = &blob[split.at as usize..(split.at + split.packed_bytes) as usize];
    let mut again = Vec::new();
    toc::assemble(&table, packed, split, &mut part(&blob), &mut again).unwrap();
    assert!(again == tar);
}

/// Whoever puts the tar together from the table's files would not find the data.
#[test]
fn a_whiteout_with_content_is_written_without_a_table() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(7);
    builder.append_data(&mut header, "d/.wh.gone", &b"content"[..]).unwrap();
    let tar = builder.into_inner().unwrap();
    let (blob, annotations) = toc::write_chunked(&mut &tar[..], Vec::new(), None).unwrap();
    assert!(annotations.is_empty(), "{annotations:?}");
    assert_eq!(listed(&blob).diff_id, listed(&tar).diff_id);
}

#[test]
fn the_table_of_estargz_says_what_the_tar_says_and_big_files_come_in_pieces() {
    let tar = tar();
    let (blob, written) = toc::write_stargz(&mut &tar[..], Vec::new(), None).unwrap();
    let whole = listed(&blob);
    assert_eq!(whole.diff_id, written.diff_id);
    let (table, promise, _) = table(&blob, &written.annotations).unwrap();
    assert_eq!(bare(&table.items), bare(&whole.items));
    // What came, a landmark before it, the table behind it.
    assert_eq!(bare(&whole.items)[1..whole.items.len() - 1], bare(&listed(&tar).items));
    assert_eq!(file(&table, "d/big").content.chunks.len(), 3);
    toc::check_contents(&table.items, promise.form, &mut part(&blob)).unwrap();
    let mut data = Vec::new();
    toc::copy_content(file(&table, "d/one"), Form::Stargz, &mut part(&blob), &mut data).unwrap();
    assert_eq!(data, b"one ".repeat(1000));
    assert_eq!(written.annotations["io.containers.estargz.uncompressed-size"], whole.tar_bytes.to_string());
}

#[test]
fn an_estargz_layer_is_made_again_without_its_old_table() {
    let (first, written) = toc::write_stargz(&mut &tar()[..], Vec::new(), None).unwrap();
    let plain = knarr_layer::decompress(&first[..], Some(Compression::Gzip));
    let (second, again) = toc::write_stargz(&mut plain.unwrap(), Vec::new(), None).unwrap();
    assert_eq!((second, again), (first, written));
}

#[test]
fn a_table_nobody_vouches_for_is_not_read() {
    let (blob, mut annotations) = toc::write_chunked(&mut &tar()[..], Vec::new(), None).unwrap();
    let name = "io.github.containers.zstd-chunked.manifest-checksum".to_owned();
    annotations.insert(name, Digest::sha256_of(b"another").to_string());
    assert!(matches!(table(&blob, &annotations), Err(Fault::Mismatch { .. })));
    let (mut blob, written) = toc::write_stargz(&mut &tar()[..], Vec::new(), None).unwrap();
    let at = blob.len() - 51 - 100;
    blob[at] ^= 1;
    assert!(table(&blob, &written.annotations).is_err());
}

/// A zstd:chunked blob with this table and one frame before it, of "data".
fn forged(entries: &str) -> Result<Table, Fault> {
    let mut blob = zstd::encode_all(&b"data"[..], 1).unwrap();
    let json = format!(r#"{{"version":1,"entries":[{entries}]}}"#);
    let packed = zstd::encode_all(json.as_bytes(), 1).unwrap();
    let at = blob.len() as u64;
    blob.extend(&packed);
    let piece = toc::Piece { at, packed_bytes: packed.len() as u64, bytes: json.len() as u64 };
    let promise = Promise { form: Form::Chunked, digest: Digest::sha256_of(&packed), spot: None };
    toc::read(&packed, &promise, &Spot::Chunked { table: piece, split: None })
}

fn refuses(entries: &str, expect: &str) {
    let fault = forged(entries).unwrap_err().to_string();
    assert!(fault.contains(expect), "{entries}: {fault}");
}

#[test]
fn tables_that_contradict_themselves_are_refused() {
    let reg =
        |more: &str| format!(r#"{{"type":"reg","name":"f","size":4,"uid":0,"gid":0,"offset":0,"endOffset":13{more}}}"#);
    assert_eq!(forged(&reg("")).unwrap().items.len(), 1);
    refuses(&reg("").replace("13", "500"), "not before the table");
    refuses(&reg("").replace("13", "0"), "not before the table");
    refuses(&reg(r#","chunkSize":5"#), "beyond its end");
    refuses(&reg(r#","chunkSize":2"#), "not as long");
    refuses(&reg(r#","chunkOffset":1"#), "do not follow");
    refuses(&reg(r#","chunkType":"holes""#), "type nobody knows");
    refuses(&reg(r#","digest":"x""#), "its digest is none");
    refuses(&reg(r#","modtime":"yesterday""#), "its time is none");
    refuses(&reg("").replace("\"f\"", "\"../f\""), "climbs out");
    refuses(&reg("").replace("\"f\"", "\"a\\u0000b\""), "NUL");
    refuses(&reg("").replace("\"f\"", "\"\""), "can only be a directory");
    refuses(r#"{"type":"chunk","name":"f","size":4}"#, "a chunk of no file");
    refuses(r#"{"type":"door","name":"f"}"#, "type nobody knows");
    refuses(r#"{"type":"symlink","name":"f"}"#, "a link to nothing");
    refuses(r#"{"type":"reg","name":"f","size":-1}"#, "no JSON of its kind");
    let more = |name: &str, offset| {
        format!(r#",{{"type":"chunk","name":"{name}","offset":7,"endOffset":13,"chunkOffset":{offset}}}"#)
    };
    refuses(&(reg(r#","chunkSize":2"#) + &more("g", 2)), "of another file");
    refuses(&(reg(r#","chunkSize":2"#) + &more("f", 3)), "do not follow");
    assert_eq!(forged(&(reg(r#","chunkSize":2"#) + &more("f", 2))).unwrap().items.len(), 1);
}

/// As containers/storage writes them: only the first row says where the file ends.
#[test]
fn chunks_end_where_the_next_one_begins() {
    let first = r#"{"type":"reg","name":"f","size":9,"offset":0,"endOffset":13,"chunkSize":4}"#;
    let zeros = r#"{"type":"chunk","name":"f","chunkType":"zeros","chunkOffset":4,"chunkSize":2}"#;
    let last = r#"{"type":"chunk","name":"f","offset":7,"chunkOffset":6,"chunkSize":3}"#;
    let table = forged(&[first, zeros, last].join(",")).unwrap();
    let chunks = &file(&table, "f").content.chunks;
    let places: Vec<_> = chunks.iter().map(|chunk| (chunk.at, chunk.end, chunk.bytes)).collect();
    assert_eq!(places, [(Some(0), 7, 4), (None, 0, 2), (Some(7), 13, 3)]);
}

#[test]
fn a_file_that_is_not_its_digest_is_not_given() {
    let (blob, annotations) = toc::write_chunked(&mut &tar()[..], Vec::new(), None).unwrap();
    let (table, ..) = table(&blob, &annotations).unwrap();
    let mut other = file(&table, "d/one").clone();
    other.content.digest = Some(Digest::sha256_of(b"another"));
    other.content.chunks[0].digest = None;
    let fault = toc::copy_content(&other, Form::Chunked, &mut part(&blob), &mut Vec::new()).unwrap_err();
    assert!(fault.to_string().contains("not what the table says"), "{fault}");
    other.content.digest = None;
    let fault = toc::copy_content(&other, Form::Chunked, &mut part(&blob), &mut Vec::new()).unwrap_err();
    assert!(fault.to_string().contains("does not say what it is"), "{fault}");
}

#[test]
fn names_that_are_no_utf8_get_no_table() {
    let mut tar = tar();
    let at = tar.windows(5).position(|name| name == b"d/one").unwrap();
    tar[at + 2] = 0xff;
    let header = at / 512 * 512;
    let sum: u32 =
        (0..512).map(|byte| if (148..156).contains(&byte) { 32 } else { u32::from(tar[header + byte]) }).sum();
    tar[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let (blob, annotations) = toc::write_chunked(&mut &tar[..], Vec::new(), None).unwrap();
    assert!(annotations.is_empty());
    assert_eq!(listed(&blob), listed(&tar));
    assert!(toc::write_stargz(&mut &tar[..], Vec::new(), None).is_err());
}
