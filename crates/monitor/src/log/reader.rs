//! Reads a container's log: `logs`, with `-f`, `--since`, `--until`, `--tail`.
//!
//! Spec: moby's `daemon/logger/loggerutils`: `tail` counts lines of the files, before any filter; a follower ends with the
//! container. Rotated files are read oldest first; a follower goes along when the writer begins a new file.
//! Law: only reads. A line that is not finished, or not JSON, is not returned.
//! Not here: printing, colours, prefixes.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use super::line::Stream;
use super::writer::rotated;
use crate::time::{now_ns, parse_rfc3339};
use crate::{Error, lock, read_state};

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// Rotated files beyond this number are not looked for; docker's users keep single digits.
const FILES_MAX: u32 = 1000;

/// A container whose log rotates faster than this many looks at it is read as well as can be.
const ROTATION_TRIES: u32 = 100;

/// A follower looks again after so long even if nothing told it to: a killed monitor's lock falls a moment after the event.
const LOOK_AGAIN_NS: i64 = 200_000_000;

/// What is wanted of a log. Times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Leave out what is older.
    pub since_ns: Option<u64>,
    /// Leave out what is newer.
    pub until_ns: Option<u64>,
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { follow: false, since_ns: None, until_ns: None, tail: None, stdout: true, stderr: true }
    }
}

/// One line, or a piece of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was read from the container, nanoseconds since 1970.
    pub time_ns: u64,
    /// Where it was written to.
    pub stream: Stream,
    /// The text; its newline is part of it, where it had one.
    pub text: String,
}

/// Where a container's log and its state are.
#[derive(Debug, Clone)]
pub struct LogPlace<'a> {
    /// The log, as in `LogConfig::path`.
    pub path: &'a Path,
    /// `<run>/containers/<id>`: tells a follower when the container ends.
    pub run_dir: &'a Path,
    /// `<state>/containers/<id>`.
    pub container_dir: &'a Path,
}

/// A log being read.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    run_dir: PathBuf,
    container_dir: PathBuf,
    options: LogOptions,
    /// Files after the current one, newest first.
    later: Vec<File>,
    current: Option<File>,
    /// Bytes of the current file, read and not yet returned, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    watch: Option<OwnedFd>,
    /// The container has ended: what is in the files now is all there will be.
    over: bool,
}

impl LogReader {
    /// Opens the files there are; a container that has not logged yet has none.
    pub fn open(place: LogPlace, options: LogOptions) -> Result<LogReader, Error> {
        let watch = if options.follow { Some(watch(&place)?) } else { None };
        let mut files = open_files(place.path)?;
        if let Some(tail) = options.tail {
            keep_tail(&mut files, tail).map_err(Error::io("read", place.path))?;
        }
        let current = files.pop();
        Ok(LogReader {
            path: place.path.to_owned(),
            run_dir: place.run_dir.to_owned(),
            container_dir: place.container_dir.to_owned(),
            options,
            later: files,
            current,
            buffer: Vec::new(),
            start: 0,
            watch,
            over: false,
        })
    }

    /// The next line that passes the filters. When following, waits for it; `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, Error> {
        while let Some(entry) = self.next_line()? {
            if self.options.until_ns.is_some_and(|until| entry.time_ns > until) {
                return Ok(None);
            }
            if self.is_wanted(&entry) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn is_wanted(&self, entry: &LogEntry) -> bool {
        let stream = match entry.stream {
            Stream::Stdout => self.options.stdout,
            Stream::Stderr => self.options.stderr,
        };
        stream && self.options.since_ns.is_none_or(|since| entry.time_ns >= since)
    }

    fn next_line(&mut self) -> Result<Option<LogEntry>, Error> {
        loop {
            while let Some(line) = self.buffered_line() {
                if let Some(entry) = parse(&self.buffer[line]) {
                    return Ok(Some(entry));
                }
            }
            if self.fill()? || self.next_file()? {
                continue;
            }
            if !self.options.follow || self.over || self.is_past_until() {
                return Ok(None);
            }
            self.over = self.has_ended()?;
            if !self.over {
                self.wait()?;
            }
        }
    }

    /// Takes a whole line off the buffer.
    fn buffered_line(&mut self) -> Option<std::ops::Range<usize>> {
        let start = self.start;
        let length = self.buffer[start..].iter().position(|byte| *byte == b'\n')?;
        self.start = start + length + 1;
        Some(start..start + length)
    }

    /// Reads more of the current file; `false` at its end.
    fn fill(&mut self) -> Result<bool, Error> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let Some(file) = &mut self.current else { return Ok(false) };
        let held = self.buffer.len();
        self.buffer.resize(held + READ_BYTES, 0);
        let count = file.read(&mut self.buffer[held..]).map_err(Error::io("read", &self.path))?;
        self.buffer.truncate(held + count);
        Ok(count > 0)
    }

    /// At the end of a file: goes on to the one written after it, if there is one.
    fn next_file(&mut self) -> Result<bool, Error> {
        if let Some(file) = self.later.pop() {
            self.begin(file);
            return Ok(true);
        }
        if !self.options.follow {
            return Ok(false);
        }
        match &mut self.current {
            None => self.first_file(),
            Some(_) => self.file_after_rotation(),
        }
    }

    fn begin(&mut self, file: File) {
        self.buffer.clear();
        self.current = Some(file);
    }

    fn first_file(&mut self) -> Result<bool, Error> {
        let mut files = open_files(&self.path)?;
        let Some(file) = files.pop() else { return Ok(false) };
        self.later = files;
        self.begin(file);
        Ok(true)
    }

    fn file_after_rotation(&mut self) -> Result<bool, Error> {
        let Some(file) = &mut self.current else { return Ok(false) };
        let newest = match fs::metadata(&self.path) {
            Ok(newest) => newest,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        };
        // Asked after the name: once renamed, a file does not grow any more.
        let ours = file.metadata().map_err(Error::io("read", &self.path))?;
        let position = file.stream_position().map_err(Error::io("read", &self.path))?;
        if newest.ino() == ours.ino() && ours.len() < position {
            file.rewind().map_err(Error::io("read", &self.path))?;
            self.buffer.clear();
            return Ok(true);
        }
        // Renamed away: it may have grown between our last read and the renaming.
        if newest.ino() == ours.ino() || ours.len() > position {
            return Ok(newest.ino() != ours.ino());
        }
        let files = open_files(&self.path)?;
        let is_ours = |file: &File| file.metadata().is_ok_and(|other| other.ino() == ours.ino());
        let newer = files.iter().position(is_ours).unwrap_or(files.len());
        self.later = files.into_iter().take(newer).collect();
        match self.later.pop() {
            Some(file) => self.begin(file),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn is_past_until(&self) -> bool {
        self.options.until_ns.is_some_and(|until| now_ns() > until)
    }

    fn has_ended(&self) -> Result<bool, Error> {
        let lock = self.run_dir.join("lock");
        let alive = lock::is_held(&lock).map_err(Error::io("query", &lock))?;
        Ok(!alive || read_state(&self.run_dir, &self.container_dir)?.is_final())
    }

    /// Until something changes in one of the directories.
    fn wait(&mut self) -> Result<(), Error> {
        let Some(watch) = &self.watch else { return Ok(()) };
        let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_AGAIN_NS };
        let _ = poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&timeout));
        let mut events = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut events);
        while reader.next().is_ok() {}
        Ok(())
    }
}

/// Watches the log's directory and the state's, before anything is read.
fn watch(place: &LogPlace) -> Result<OwnedFd, Error> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watch = inotify::init(flags).map_err(Error::call("watch the log"))?;
    let events = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::CLOSE_WRITE;
    for directory in [place.path.parent(), Some(place.run_dir)].into_iter().flatten() {
        match inotify::add_watch(&watch, directory, events) {
            Ok(_) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(Error::io("watch", directory)(errno.into())),
        }
    }
    Ok(watch)
}

/// All files of a log, newest first, as they stood at one moment: opened again when a rotation came in between.
fn open_files(path: &Path) -> Result<Vec<File>, Error> {
    let mut files = open_each(path)?;
    for _ in 0..ROTATION_TRIES {
        let again = open_each(path)?;
        if inodes(&files) == inodes(&again) {
            break;
        }
        files = again;
    }
    Ok(files)
}

/// In the middle of a rotation one number is vacant, so that two in a row are the end.
fn open_each(path: &Path) -> Result<Vec<File>, Error> {
    let (mut files, mut vacant) = (Vec::new(), 0);
    for number in 0..FILES_MAX {
        let path = rotated(path, number);
        match File::open(&path) {
            Ok(file) => (vacant, _) = (0, files.push(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => vacant += 1,
            Err(error) => return Err(Error::io("open", &path)(error)),
        }
        if vacant == 2 {
            break;
        }
    }
    Ok(files)
}

/// Comparable while the files are open: until then no other file gets the number of one of them.
fn inodes(files: &[File]) -> Vec<Option<u64>> {
    files.iter().map(|file| file.metadata().map(|metadata| metadata.ino()).ok()).collect()
}

/// Positions the files so that reading gives their last `lines` lines; drops those that are too old.
fn keep_tail(files: &mut Vec<File>, lines: u64) -> io::Result<()> {
    let mut missing = lines;
    for (index, file) in files.iter_mut().enumerate() {
        let (start, found) = tail_start(file, missing)?;
        file.seek(SeekFrom::Start(start))?;
        missing -= found;
        if missing == 0 {
            files.truncate(index + 1);
            break;
        }
    }
    Ok(())
}

/// Where the last `lines` lines of a file begin, and how many of them it has.
fn tail_start(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    let mut end = file.metadata()?.len();
    let (mut newlines, mut chunk) = (0, vec![0; READ_BYTES]);
    while end > 0 {
        let length = end.min(READ_BYTES as u64);
        file.seek(SeekFrom::Start(end - length))?;
        let chunk = &mut chunk[..length as usize];
        file.read_exact(chunk)?;
        for at in (0..chunk.len()).rev().filter(|at| chunk[*at] == b'\n') {
            if newlines == lines {
                return Ok((end - length + at as u64 + 1, lines));
            }
            newlines += 1;
        }
        end -= length;
    }
    Ok((0, newlines))
}

#[derive(serde::Deserialize)]
struct Line {
    log: String,
    stream: String,
    time: String,
}

fn parse(line: &[u8]) -> Option<LogEntry> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let stream = if line.stream == Stream::Stderr.name() { Stream::Stderr } else { Stream::Stdout };
    Some(LogEntry { time_ns: parse_rfc3339(&line.time)?, stream, text: line.log })
}

#[cfg(test)]
mod tests;
