//! The compressed forms of a layer, told by their first bytes; and two more that archives come in.
//!
//! Spec: image-spec layer.md, media types; RFC 1952 (a file may have several members), RFC 8878 (several frames,
//! skippable ones among them, which is how zstd:chunked hides its index); xz and bzip2, of several streams too.
//! Law: what is declared is checked, never trusted; nothing is decompressed that was not named.

use std::io::{self, BufReader, Chain, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
pub use knarr_spec::media_type::Compression;
use lzma_rust2::XzReader;

use crate::Error;

/// Bytes read at once from the compressed side.
const READ_BYTES: usize = 128 << 10;

/// Largest window a zstd frame may ask for, as a power of two: 128 MiB, the format's recommended ceiling. More is
/// memory a stranger makes us allocate.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Enough of the beginning to tell every form apart; a tar shows its magic at 257.
const SNIFF_BYTES: usize = 512;

/// Memory an xz stream may ask for: what `xz -9` needs, and room. More is memory a stranger makes us allocate.
const XZ_MEMORY_KIB_MAX: u32 = 128 << 10;

/// Forms that archives come in and no layer is declared as. They are read and never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Old {
    fn name(self) -> &'static str {
        match self {
            Old::Xz => "xz",
            Old::Bzip2 => "bzip2",
        }
    }
}

/// What the first bytes of a stream say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// A form a layer may have.
    Layer(Compression),
    /// A form an archive may have.
    Old(Old),
    /// Some other known form, by name.
    Foreign(&'static str),
}

/// Whether a stream has the magic of a compressed form.
fn begins_as(form: Compression, start: &[u8]) -> bool {
    match form {
        Compression::None => false,
        Compression::Gzip => start.starts_with(&[0x1f, 0x8b]),
        Compression::Zstd => start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
    }
}

/// Tells the form of a stream by its first 512 bytes (or all, if it has fewer).
pub fn sniff(start: &[u8]) -> Sniffed {
    const FOREIGN: [(&[u8], &str); 4] =
        [(b"\x04\x22\x4d\x18", "lz4"), (b"PK\x03\x04", "zip"), (b"{", "JSON"), (b"<", "HTML or XML")];
    let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
    let tar = start.get(257..262) == Some(b"ustar");
    match start {
        _ if tar => Sniffed::Layer(Compression::None),
        [0x1f, 0x8b, ..] => Sniffed::Layer(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Sniffed::Layer(Compression::Zstd),
        _ if skippable => Sniffed::Layer(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Sniffed::Old(Old::Xz),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Sniffed::Old(Old::Bzip2),
        _ => match FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) {
            Some((_, name)) => Sniffed::Foreign(name),
            None => Sniffed::Layer(Compression::None),
        },
    }
}

/// A stream whose first bytes were looked at and put back.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// The uncompressed bytes of a layer.
pub enum Decompressor<R: Read> {
    /// As they come.
    Plain(BufReader<Whole<R>>),
    /// Through gzip.
    Gzip(Box<MultiGzDecoder<BufReader<Whole<R>>>>),
    /// Through zstd.
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Whole<R>>>>),
    /// Through xz.
    Xz(Box<XzReader<BufReader<Whole<R>>>>),
    /// Through bzip2.
    Bzip2(Box<MultiBzDecoder<BufReader<Whole<R>>>>),
}

impl<R: Read> Decompressor<R> {
    /// Opens a stream. `declared` is what the media type says, `None` where there is none (`docker save`).
    pub fn open(mut reader: R, declared: Option<Compression>) -> Result<Decompressor<R>, Error> {
        let start = read_start(&mut reader).map_err(|source| Error::Read {
            at: 0,
            form: declared.as_ref().map_or("", crate::error::name),
            source,
        })?;
        let form = match declared {
            // What is declared and begins so is that, whatever else it looks like: a tar's magic may stand in compressed bytes.
            Some(declared) if begins_as(declared, &start) => Form::Layer(declared),
            _ => agree(declared, sniff(&start), start.is_empty())?,
        };
        let whole = BufReader::with_capacity(READ_BYTES, Cursor::new(start).chain(reader));
        Ok(match form {
            Form::Old(Old::Xz) => Decompressor::Xz(Box::new(XzReader::new_mem_limit(whole, true, XZ_MEMORY_KIB_MAX))),
            Form::Old(Old::Bzip2) => Decompressor::Bzip2(Box::new(MultiBzDecoder::new(whole))),
            Form::Layer(Compression::None) => Decompressor::Plain(whole),
            Form::Layer(Compression::Gzip) => Decompressor::Gzip(Box::new(MultiGzDecoder::new(whole))),
            Form::Layer(Compression::Zstd) => {
                let failed = |source| Error::Read { at: 0, form: "zstd", source };
                let mut decoder = zstd::stream::read::Decoder::with_buffer(whole).map_err(failed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
                Decompressor::Zstd(Box::new(decoder))
            }
        })
    }

    /// What is being decompressed; nothing of a plain stream.
    pub fn form(&self) -> &'static str {
        match self {
            Decompressor::Plain(_) => "",
            Decompressor::Gzip(_) => "gzip",
            Decompressor::Zstd(_) => "zstd",
            Decompressor::Xz(_) => Old::Xz.name(),
            Decompressor::Bzip2(_) => Old::Bzip2.name(),
        }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Decompressor::Plain(reader) => reader.read(into),
            Decompressor::Gzip(reader) => reader.read(into),
            Decompressor::Zstd(reader) => reader.read(into),
            Decompressor::Xz(reader) => reader.read(into),
            Decompressor::Bzip2(reader) => reader.read(into),
        }
    }
}

/// The uncompressed bytes of a layer; what is `declared` is checked against the first bytes.
pub fn decompress<R: Read>(reader: R, declared: Option<Compression>) -> Result<Decompressor<R>, Error> {
    Decompressor::open(reader, declared)
}

fn read_start(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(SNIFF_BYTES);
    reader.take(SNIFF_BYTES as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// A form that is read.
enum Form {
    Layer(Compression),
    Old(Old),
}

/// An empty stream is no gzip and no zstd, but where nothing is declared it is the empty tar some tools write.
fn agree(declared: Option<Compression>, sniffed: Sniffed, empty: bool) -> Result<Form, Error> {
    match (declared, sniffed) {
        (None, Sniffed::Layer(found)) => Ok(Form::Layer(found)),
        (None, Sniffed::Old(found)) => Ok(Form::Old(found)),
        (Some(declared), Sniffed::Old(found)) => Err(Error::Mislabelled { declared, found: found.name() }),
        (None, Sniffed::Foreign(found)) => Err(Error::Unsupported { found }),
        (Some(declared), Sniffed::Layer(found)) if declared == found => Ok(Form::Layer(found)),
        (Some(declared), Sniffed::Layer(_)) if empty => Err(Error::Mislabelled { declared, found: "none at all" }),
        (Some(declared), Sniffed::Layer(found)) => {
            Err(Error::Mislabelled { declared, found: crate::error::name(&found) })
        }
        (Some(declared), Sniffed::Foreign(found)) => Err(Error::Mislabelled { declared, found }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn tar() -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[257..262].copy_from_slice(b"ustar");
        bytes
    }

    fn check(bytes: &[u8], declared: Option<Compression>, expect: &[u8]) {
        let mut out = Vec::new();
        decompress(bytes, declared).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(out, expect);
    }

    fn refuses(bytes: &[u8], declared: Option<Compression>) -> String {
        decompress(bytes, declared).err().expect("refused").to_string()
    }

    #[test]
    fn several_gzip_members_are_one_stream() {
        let tar = tar();
        let (first, second) = tar.split_at(300);
        check(&[gzip(first), gzip(b""), gzip(second)].concat(), Some(Compression::Gzip), &tar);
    }

    #[test]
    fn several_zstd_frames_are_one_stream_with_skippable_ones_between() {
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let skippable = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
        let all = [skippable.clone(), frame(b"hello "), skippable.clone(), frame(b"world"), skippable].concat();
        check(&all, Some(Compression::Zstd), b"hello world");
        check(&all, None, b"hello world");
    }

    #[test]
    fn a_declaration_that_lies_is_named() {
        let error = refuses(&gzip(b"x"), Some(Compression::Zstd));
        assert_eq!(error, "layer: declared zstd, but its bytes are gzip");
        let error = refuses(&tar(), Some(Compression::Gzip));
        assert_eq!(error, "layer: declared gzip, but its bytes are a plain tar");
        let error = refuses(b"<html>", Some(Compression::Gzip));
        assert_eq!(error, "layer: declared gzip, but its bytes are HTML or XML");
        let error = refuses(b"", Some(Compression::Gzip));
        assert_eq!(error, "layer: declared gzip, but its bytes are none at all");
    }

    #[test]
    fn xz_and_bzip2_are_read_where_nothing_is_declared() {
        // `printf hello | xz`, `printf hello | bzip2`.
        const XZ: &[u8] = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x04hello\0\0\0\0\xb1\x37\xb9\xdb\xe5\xda\x1e\x9b\0\x01\x1d\x05\xb8-\x80\xaf\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ";
        const BZIP2: &[u8] =
            b"BZh91AY&SY\x191e=\0\0\0\x81\0\x02D\xa0\0!\x9ah3M\x073\x8b\xb9\"\x9c(H\x0c\x98\xb2\x9e\x80";
        for packed in [XZ, BZIP2] {
            check(packed, None, b"hello");
            check(&[packed, packed].concat(), None, b"hellohello");
            let mut out = Vec::new();
            assert!(decompress(&packed[..packed.len() - 6], None).unwrap().read_to_end(&mut out).is_err());
        }
        assert_eq!(refuses(XZ, Some(Compression::Gzip)), "layer: declared gzip, but its bytes are xz");
    }

    #[test]
    fn lz4_is_named_and_refused() {
        let error = refuses(b"\x04\x22\x4d\x18", None);
        assert_eq!(error, "layer: its bytes are lz4, and layers are tar, tar+gzip or tar+zstd");
    }

    #[test]
    fn a_tar_whose_first_name_looks_like_a_magic_is_a_tar() {
        let mut bytes = tar();
        bytes[..2].copy_from_slice(&[0x1f, 0x8b]);
        check(&bytes, Some(Compression::None), &bytes);
    }

    #[test]
    fn compressed_bytes_with_a_tars_magic_in_them_are_what_is_declared() {
        let mut plain = vec![7; 1000];
        let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        // Behind a header of ten bytes and a block's of five.
        plain[242..247].copy_from_slice(b"ustar");
        stored.write_all(&plain).unwrap();
        let stored = stored.finish().unwrap();
        assert_eq!(&stored[257..262], b"ustar");
        check(&stored, Some(Compression::Gzip), &plain);
    }

    #[test]
    fn a_cut_off_stream_is_an_error_and_not_an_end() {
        for whole in [gzip(&tar()), zstd::encode_all(&tar()[..], 1).unwrap()] {
            let cut = &whole[..whole.len() - 3];
            let mut out = Vec::new();
            assert!(decompress(cut, None).unwrap().read_to_end(&mut out).is_err());
        }
    }

    #[test]
    fn garbage_behind_a_gzip_member_is_an_error() {
        let mut out = Vec::new();
        let bytes = [gzip(&tar()), b"garbage".to_vec()].concat();
        assert!(decompress(&bytes[..], None).unwrap().read_to_end(&mut out).is_err());
    }
}
