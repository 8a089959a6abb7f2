//! From bytes of output to lines of the log.
//!
//! Spec: moby's `daemon/logger/copier.go` and `jsonfilelog/jsonlog`: lines are split at [`LINE_BYTES_MAX`], a piece without its
//! end has no `\n` in `log`, all pieces of a line carry the time of the first, `<`, `>`, `&` and the line separators are escaped,
//! bytes that are no UTF-8 become U+FFFD. Unlike moby a piece never ends inside a character.
//! Law: pure.

use crate::time::write_rfc3339;

/// A line is cut into pieces of so many bytes, as docker does: bounds what is held in memory until a line ends.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// Which of the container's descriptors a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Descriptor 1, or the terminal.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// One stream's bytes that are no whole line yet.
#[derive(Debug)]
pub(crate) struct Splitter {
    stream: Stream,
    held: Vec<u8>,
    /// Since when a line is unfinished; its pieces all carry this time.
    begun_ns: Option<u64>,
}

impl Splitter {
    pub(crate) fn new(stream: Stream) -> Splitter {
        Splitter { stream, held: Vec::new(), begun_ns: None }
    }

    /// Takes the first line or piece off `bytes`, appends it to `out` and returns how many bytes it took; `None` when all that is
    /// left is held for later.
    pub(crate) fn split(&mut self, bytes: &[u8], now_ns: u64, out: &mut Vec<u8>) -> Option<usize> {
        if bytes.is_empty() {
            return None;
        }
        let window = &bytes[..bytes.len().min(LINE_BYTES_MAX - self.held.len())];
        if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
            let time_ns = self.begun_ns.take().unwrap_or(now_ns);
            write_line(out, [&self.held, &bytes[..=end]], self.stream, time_ns);
            self.held.clear();
            return Some(end + 1);
        }
        let begun_ns = *self.begun_ns.get_or_insert(now_ns);
        if self.held.len() + window.len() < LINE_BYTES_MAX {
            self.held.extend_from_slice(window);
            return None;
        }
        self.held.extend_from_slice(window);
        let kept = whole_characters(&self.held);
        write_line(out, [&self.held[..kept], &[]], self.stream, begun_ns);
        self.held.drain(..kept);
        Some(window.len())
    }

    /// What is left at the end of the stream, a piece without its end; `false` when nothing was.
    pub(crate) fn finish(&mut self, now_ns: u64, out: &mut Vec<u8>) -> bool {
        if self.held.is_empty() {
            return false;
        }
        write_line(out, [&self.held, &[]], self.stream, self.begun_ns.take().unwrap_or(now_ns));
        self.held.clear();
        true
    }
}

/// The length of `bytes` without a character that has only begun at its end.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    match bytes[tail..].iter().rposition(|byte| *byte >= 0xc0) {
        Some(at) if std::str::from_utf8(&bytes[tail + at..]).is_err_and(|error| error.error_len().is_none()) => {
            tail + at
        }
        _ => bytes.len(),
    }
}

/// Appends one line of the log.
fn write_line(out: &mut Vec<u8>, text: [&[u8]; 2], stream: Stream, time_ns: u64) {
    out.extend_from_slice(b"{\"log\":\"");
    match text {
        // A character may begin in what was held and end in what came now.
        [held, _] if !held.is_empty() => escape(out, &text.concat()),
        [_, fresh] => escape(out, fresh),
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    write_rfc3339(out, time_ns);
    out.extend_from_slice(b"\"}\n");
}

fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        escape_text(out, chunk.valid());
        // One replacement for each byte, as Go's decoder of UTF-8 gives.
        (0..chunk.invalid().len()).for_each(|_| out.extend_from_slice(b"\\ufffd"));
    }
}

fn escape_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | b'<' | b'>' | b'&' => &hex(*byte),
            // U+2028 and U+2029 end a line in JavaScript.
            0xe2 if matches!(bytes[at..], [_, 0x80, 0xa8 | 0xa9, ..]) => {
                out.extend_from_slice(&bytes[plain..at]);
                out.extend_from_slice(if bytes[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                plain = at + 3;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(escaped);
        plain = at + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// `\u00XX`.
fn hex(byte: u8) -> [u8; 6] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [b'\\', b'u', b'0', b'0', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the reads one by one and returns the `log` field of each line, unescaped by a foreign parser.
    fn logged(reads: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut out) = (Splitter::new(Stream::Stdout), Vec::new());
        for (time, mut rest) in reads.iter().copied().enumerate() {
            while let Some(taken) = splitter.split(rest, time as u64, &mut out) {
                rest = &rest[taken..];
            }
        }
        splitter.finish(99, &mut out);
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| parse(line)["log"].as_str().unwrap().to_owned()).collect()
    }

    fn parse(line: &str) -> serde_json::Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn check(reads: &[&[u8]], lines: &[&str]) {
        assert_eq!(logged(reads), lines);
    }

    fn raw(bytes: &[u8], expect: &str) {
        let mut out = Vec::new();
        escape(&mut out, bytes);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn a_line_is_what_ends_with_a_newline_however_it_was_read() {
        check(&[b"one\ntw", b"o", b"\n\nfour\n"], &["one\n", "two\n", "\n", "four\n"]);
    }

    #[test]
    fn a_last_line_without_its_end_has_no_newline() {
        check(&[b"$ "], &["$ "]);
    }

    #[test]
    fn nothing_written_is_nothing_logged() {
        check(&[], &[]);
    }

    #[test]
    fn a_long_line_comes_in_pieces_of_16_kib_as_docker_cuts_it() {
        let long = [vec![b'x'; LINE_BYTES_MAX + 5], b"\n".to_vec()].concat();
        check(&[&long], &["x".repeat(LINE_BYTES_MAX).as_str(), "xxxxx\n"]);
    }

    #[test]
    fn a_line_of_exactly_16_kib_is_followed_by_its_newline_alone() {
        let long = [vec![b'x'; LINE_BYTES_MAX], b"\n".to_vec()].concat();
        check(&[&long], &["x".repeat(LINE_BYTES_MAX).as_str(), "\n"]);
    }

    #[test]
    fn a_megabyte_read_byte_by_byte_loses_nothing() {
        let reads = vec![&b"y"[..]; 1 << 20];
        assert_eq!(logged(&reads).concat(), "y".repeat(1 << 20));
    }

    #[test]
    fn a_character_is_not_cut_in_two_by_a_long_line() {
        let long = format!("x{}\n", "ü".repeat(LINE_BYTES_MAX));
        assert_eq!(logged(&[long.as_bytes()]).concat(), long);
    }

    #[test]
    fn a_character_is_not_cut_in_two_by_reads() {
        check(&[b"\xe2\x82", b"\xac\n"], &["€\n"]);
    }

    #[test]
    fn bytes_that_are_no_character_become_one_replacement_each() {
        raw(b"a\xff\xc3b", "a\\ufffd\\ufffdb");
    }

    #[test]
    fn escapes_are_dockers() {
        raw(b"\"\\\n\r\t\x01\x1b<>&", "\\\"\\\\\\n\\r\\t\\u0001\\u001b\\u003c\\u003e\\u0026");
        raw("\u{2028}ü€\u{2029}".as_bytes(), "\\u2028ü€\\u2029");
    }

    #[test]
    fn all_pieces_of_a_line_carry_the_time_of_the_first() {
        let (mut splitter, mut out) = (Splitter::new(Stream::Stderr), Vec::new());
        assert_eq!(splitter.split(b"begun", 1_000_000_000, &mut out), None);
        assert_eq!(splitter.split(b"\n", 2_000_000_000, &mut out), Some(1));
        let expect = "{\"log\":\"begun\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:01Z\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn a_line_carries_the_time_of_its_own_first_byte() {
        let (mut splitter, mut out) = (Splitter::new(Stream::Stdout), Vec::new());
        for now_ns in [0, 1_000_000_000] {
            assert_eq!(splitter.split(b"x\n", now_ns, &mut out), Some(2));
            assert_eq!(splitter.split(b"", now_ns, &mut out), None);
        }
        assert!(String::from_utf8(out).unwrap().ends_with("\"time\":\"1970-01-01T00:00:01Z\"}\n"));
    }

    #[test]
    fn any_bytes_make_valid_lines() {
        let noise: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for line in logged(&[&noise]) {
            assert!(line.len() <= 3 * LINE_BYTES_MAX);
        }
    }
}
