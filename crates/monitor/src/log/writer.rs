//! Appends a container's output to its log and begins a new file when it grows too large.
//!
//! ```text
//! log.jsonl      the current file
//! log.jsonl.1    the one before; up to `files_max - 1` of them
//! ```
//!
//! Law: a failure never stops the container: lines that cannot be written are counted ([`Loss`]), and what a short write left
//! of one is cut off. Each write(2) carries whole lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::line::{LINE_BYTES_MAX, Splitter, Stream};
use crate::LogConfig;

/// So many bytes of whole lines are collected before a write; with one long line on top it bounds the buffer.
const WRITE_BYTES: usize = 32 * 1024;

/// The longest line in a log: every byte escaped as `\u00XX`, and the fields around it.
const LOG_LINE_BYTES_MAX: u64 = 6 * LINE_BYTES_MAX as u64 + 128;

/// What did not reach the disk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Lines that are missing.
    pub lines: u64,
    /// The last reason.
    pub error: Option<String>,
}

/// The open log of a running container.
#[derive(Debug)]
pub(crate) struct LogWriter {
    config: LogConfig,
    file: Option<File>,
    /// The current file's length.
    length: u64,
    lines: Vec<u8>,
    stdout: Splitter,
    stderr: Splitter,
    loss: Loss,
}

impl LogWriter {
    /// Opens the log, or makes it; a line that a kill or a power cut left unfinished is cut off.
    pub(crate) fn open(config: &LogConfig) -> LogWriter {
        let (stdout, stderr) = (Splitter::new(Stream::Stdout), Splitter::new(Stream::Stderr));
        let (config, lines, loss) = (config.clone(), Vec::new(), Loss::default());
        let mut writer = LogWriter { config, file: None, length: 0, lines, stdout, stderr, loss };
        writer.reopen();
        writer
    }

    /// What did not reach the disk so far.
    pub(crate) fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Logs what was read from one stream.
    pub(crate) fn append(&mut self, stream: Stream, mut bytes: &[u8], now_ns: u64) {
        loop {
            let splitter = if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr };
            let Some(taken) = splitter.split(bytes, now_ns, &mut self.lines) else { break };
            bytes = &bytes[taken..];
            self.line_done();
        }
        self.write_lines();
    }

    /// Logs what is left without a newline.
    pub(crate) fn finish(&mut self, now_ns: u64) {
        let unfinished = [self.stdout.finish(now_ns, &mut self.lines), self.stderr.finish(now_ns, &mut self.lines)];
        if unfinished.contains(&true) {
            self.write_lines();
        }
    }

    fn line_done(&mut self) {
        let full = self.config.bytes_max.is_some_and(|max| self.length + self.lines.len() as u64 >= max);
        if full || self.lines.len() >= WRITE_BYTES {
            self.write_lines();
        }
        if full {
            self.rotate();
        }
    }

    fn write_lines(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.reopen();
        }
        let Some(file) = &mut self.file else { return self.lose(0) };
        let written = match file.write(&self.lines) {
            Ok(written) if written == self.lines.len() => {
                self.length += written as u64;
                return self.lines.clear();
            }
            Ok(written) => {
                self.loss.error = Some(format!("write {}: the disk is full", self.config.path.display()));
                written
            }
            Err(error) => {
                self.loss.error = Some(format!("write {}: {error}", self.config.path.display()));
                0
            }
        };
        self.cut_torn_line(written);
    }

    /// After a short write: keeps the whole lines of it, cuts off the rest.
    fn cut_torn_line(&mut self, written: usize) {
        let whole = self.lines[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.length += whole as u64;
        if written > whole
            && let Some(file) = &self.file
            && let Err(error) = file.set_len(self.length)
        {
            self.loss.error = Some(format!("truncate {}: {error}", self.config.path.display()));
        }
        self.lose(whole);
    }

    /// Counts the collected lines from `from` on as lost.
    fn lose(&mut self, from: usize) {
        self.loss.lines += self.lines[from..].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lines.clear();
    }

    fn reopen(&mut self) {
        match open_at_end(&self.config.path) {
            Ok((file, length)) => (self.file, self.length) = (Some(file), length),
            Err(error) => self.loss.error = Some(format!("open {}: {error}", self.config.path.display())),
        }
    }

    /// Moves each file to the next number; the oldest is replaced. With one file only, a new one takes its place: a follower
    /// still has the old one open and reads it to its end.
    fn rotate(&mut self) {
        let path = &self.config.path;
        let moved = if self.config.files_max <= 1 {
            fs::remove_file(path)
        } else {
            (1..self.config.files_max).rev().try_for_each(|number| shift(path, number))
        };
        match moved {
            Ok(()) => self.reopen(),
            Err(error) => self.loss.error = Some(format!("rotate {}: {error}", path.display())),
        }
    }
}

/// Renames number - 1 (0: the current file) to `number`, if it is there.
fn shift(path: &Path, number: u32) -> io::Result<()> {
    match fs::rename(rotated(path, number - 1), rotated(path, number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path of a rotated file; 0 is the current one.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn open_at_end(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    let length = file.metadata()?.len();
    let whole = whole_lines(&file, length)?;
    if whole < length {
        file.set_len(whole)?;
    }
    Ok((file, whole))
}

/// The length of the file up to its last newline.
fn whole_lines(mut file: &File, length: u64) -> io::Result<u64> {
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
    }
    if last == [b'\n'] {
        return Ok(length);
    }
    let start = length.saturating_sub(LOG_LINE_BYTES_MAX);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut tail)?;
    Ok(tail.iter().rposition(|byte| *byte == b'\n').map_or(start, |at| start + at as u64 + 1))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn config(directory: &TempDir, bytes_max: Option<u64>, files_max: u32) -> LogConfig {
        LogConfig { path: directory.path().join("log.jsonl"), bytes_max, files_max }
    }

    fn contents(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "torn: {text}");
        let parse =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().unwrap().to_owned();
        text.lines().map(parse).collect()
    }

    #[test]
    fn lines_of_both_streams_go_to_one_file_in_order() {
        let directory = TempDir::new().unwrap();
        let config = config(&directory, None, 1);
        let mut log = LogWriter::open(&config);
        log.append(Stream::Stdout, b"a\nb", 1);
        log.append(Stream::Stderr, b"error\n", 2);
        log.append(Stream::Stdout, b"\n", 3);
        log.finish(4);
        assert_eq!(contents(&config.path), ["a\n", "error\n", "b\n"]);
    }

    #[test]
    fn a_second_run_appends() {
        let directory = TempDir::new().unwrap();
        let config = config(&directory, None, 1);
        LogWriter::open(&config).append(Stream::Stdout, b"first\n", 1);
        LogWriter::open(&config).append(Stream::Stdout, b"second\n", 1);
        assert_eq!(contents(&config.path), ["first\n", "second\n"]);
    }

    #[test]
    fn a_line_torn_by_a_power_cut_is_cut_off_at_the_next_start() {
        let directory = TempDir::new().unwrap();
        let config = config(&directory, None, 1);
        LogWriter::open(&config).append(Stream::Stdout, b"whole\n", 1);
        let torn = "{\"log\":\"half";
        OpenOptions::new().append(true).open(&config.path).unwrap().write_all(torn.as_bytes()).unwrap();
        LogWriter::open(&config).append(Stream::Stdout, b"next\n", 1);
        assert_eq!(contents(&config.path), ["whole\n", "next\n"]);
    }

    #[test]
    fn rotation_keeps_the_newest_files_and_never_cuts_a_line() {
        let directory = TempDir::new().unwrap();
        let config = config(&directory, Some(500), 3);
        let mut log = LogWriter::open(&config);
        for number in 0..100 {
            log.append(Stream::Stdout, format!("line {number}\n").as_bytes(), 1);
        }
        let kept: Vec<String> = [2, 1, 0].iter().flat_map(|number| contents(&rotated(&config.path, *number))).collect();
        let first = 100 - kept.len();
        let expect: Vec<String> = (first..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(kept, expect);
        assert!(kept.len() > 10, "{}", kept.len());
        assert!(!rotated(&config.path, 3).exists());
    }

    #[test]
    fn rotation_with_one_file_begins_a_new_one() {
        let directory = TempDir::new().unwrap();
        let config = config(&directory, Some(200), 1);
        let mut log = LogWriter::open(&config);
        (0..50).for_each(|_| log.append(Stream::Stdout, b"again and again\n", 1));
        assert!(fs::metadata(&config.path).unwrap().len() < 300);
        assert!(!rotated(&config.path, 1).exists());
    }

    #[test]
    fn a_disk_that_is_full_costs_lines_and_is_reported_but_stops_nothing() {
        let config = LogConfig { path: PathBuf::from("/dev/full"), bytes_max: None, files_max: 1 };
        let mut log = LogWriter::open(&config);
        log.append(Stream::Stdout, b"one\ntwo\nthr", 1);
        assert_eq!(log.loss().lines, 2);
        assert!(log.loss().error.as_ref().unwrap().contains("No space left"), "{:?}", log.loss());
    }

    #[test]
    fn a_short_write_keeps_its_whole_lines_and_cuts_the_torn_one() {
        let directory = TempDir::new().unwrap();
        let config = config(&directory, None, 1);
        let mut log = LogWriter::open(&config);
        log.lines = b"{\"log\":\"a\"}\n{\"log\":\"b\"}\n".to_vec();
        let written = 15;
        log.file.as_mut().unwrap().write_all(&log.lines[..written]).unwrap();
        log.cut_torn_line(written);
        assert_eq!(contents(&config.path), ["a"]);
        assert_eq!(log.loss().lines, 1);
    }

    #[test]
    fn a_log_in_a_directory_that_is_not_there_yet_is_opened_when_it_is() {
        let directory = TempDir::new().unwrap();
        let config = LogConfig { path: directory.path().join("later/log.jsonl"), bytes_max: None, files_max: 1 };
        let mut log = LogWriter::open(&config);
        log.append(Stream::Stdout, b"lost\n", 1);
        fs::create_dir(directory.path().join("later")).unwrap();
        log.append(Stream::Stdout, b"kept\n", 1);
        assert_eq!(contents(&config.path), ["kept\n"]);
        assert_eq!(log.loss().lines, 1);
    }
}
