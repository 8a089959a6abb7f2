use std::io::Write;

use tempfile::TempDir;

use super::*;
use crate::LogConfig;
use crate::log::LogWriter;

/// A container's directories, its log's writer, and its lock, held as by a living monitor.
struct Place {
    directory: TempDir,
    writer: LogWriter,
    lock: Option<File>,
}

impl Place {
    fn new(bytes_max: Option<u64>, files_max: u32) -> Place {
        let directory = TempDir::new().unwrap();
        let writer = LogWriter::open(&LogConfig { path: directory.path().join("log.jsonl"), bytes_max, files_max });
        let lock = lock::take(&directory.path().join("lock")).unwrap();
        Place { directory, writer, lock }
    }

    /// Logs one line a second, beginning at 1.
    fn log(&mut self, lines: impl IntoIterator<Item = u64>) {
        for number in lines {
            self.writer.append(Stream::Stdout, format!("{number}\n").as_bytes(), number * 1_000_000_000);
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("log.jsonl")
    }

    fn open(&self, options: LogOptions) -> LogReader {
        let directory = self.directory.path();
        let place = LogPlace { path: &self.path(), run_dir: directory, container_dir: directory };
        LogReader::open(place, options).unwrap()
    }

    fn read(&self, options: LogOptions) -> Vec<u64> {
        rest(&mut self.open(options))
    }
}

fn rest(reader: &mut LogReader) -> Vec<u64> {
    std::iter::from_fn(|| reader.next_entry().unwrap()).map(|entry| number(&entry)).collect()
}

fn number(entry: &LogEntry) -> u64 {
    entry.text.trim_end().parse().unwrap()
}

fn options() -> LogOptions {
    LogOptions::default()
}

fn following() -> LogOptions {
    LogOptions { follow: true, ..LogOptions::default() }
}

#[test]
fn lines_come_in_order_with_their_times() {
    let mut place = Place::new(None, 1);
    place.log(1..=3);
    let entry = place.open(options()).next_entry().unwrap().unwrap();
    assert_eq!((entry.time_ns, entry.stream, &entry.text[..]), (1_000_000_000, Stream::Stdout, "1\n"));
    assert_eq!(place.read(options()), [1, 2, 3]);
}

#[test]
fn a_container_that_has_not_logged_has_no_lines() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("none");
    let place = LogPlace { path: &path, run_dir: directory.path(), container_dir: directory.path() };
    assert_eq!(LogReader::open(place, options()).unwrap().next_entry().unwrap(), None);
}

#[test]
fn tail_counts_from_the_end() {
    let mut place = Place::new(None, 1);
    place.log(1..=5);
    for (tail, expect) in [(0, &[][..]), (2, &[4, 5]), (5, &[1, 2, 3, 4, 5]), (9, &[1, 2, 3, 4, 5])] {
        assert_eq!(place.read(LogOptions { tail: Some(tail), ..options() }), expect, "{tail}");
    }
}

#[test]
fn tail_reaches_across_rotated_files_and_long_files() {
    let mut place = Place::new(Some(300_000), 4);
    place.log(1..=9000);
    assert!(rotated(&place.path(), 1).exists());
    for tail in [1, 4000, 7777] {
        let expect: Vec<u64> = (9001 - tail..=9000).collect();
        assert_eq!(place.read(LogOptions { tail: Some(tail), ..options() }), expect);
    }
}

#[test]
fn since_and_until_are_inclusive() {
    let mut place = Place::new(None, 1);
    place.log(1..=5);
    let window = LogOptions { since_ns: Some(2_000_000_000), until_ns: Some(4_000_000_000), ..options() };
    assert_eq!(place.read(window), [2, 3, 4]);
}

#[test]
fn streams_are_told_apart() {
    let mut place = Place::new(None, 1);
    place.writer.append(Stream::Stderr, b"7\n", 1);
    place.log([8]);
    assert_eq!(place.read(LogOptions { stdout: false, ..options() }), [7]);
    assert_eq!(place.read(LogOptions { stderr: false, ..options() }), [8]);
}

#[test]
fn a_damaged_line_is_left_out_and_a_torn_one_waits_for_its_end() {
    let mut place = Place::new(None, 1);
    place.log([1]);
    let mut file = File::options().append(true).open(place.path()).unwrap();
    file.write_all(b"no json\n").unwrap();
    place.log([2]);
    file.write_all(b"{\"log\":\"3\\n\",\"stream\":\"stdout\",").unwrap();
    let mut reader = place.open(following());
    assert_eq!(number(&reader.next_entry().unwrap().unwrap()), 1);
    assert_eq!(number(&reader.next_entry().unwrap().unwrap()), 2);
    file.write_all(b"\"time\":\"1970-01-01T00:00:03Z\"}\n").unwrap();
    assert_eq!(number(&reader.next_entry().unwrap().unwrap()), 3);
}

#[test]
fn a_follower_hears_what_comes_later_and_ends_with_the_monitor() {
    let mut place = Place::new(None, 1);
    place.log([1]);
    let mut reader = place.open(following());
    assert_eq!(number(&reader.next_entry().unwrap().unwrap()), 1);
    let follower = std::thread::spawn(move || rest(&mut reader));
    place.log(2..=4);
    place.lock = None;
    assert_eq!(follower.join().unwrap(), [2, 3, 4]);
}

#[test]
fn a_follower_goes_along_through_every_rotation() {
    // More files than rotations, so that none is replaced before a slow reader has seen it.
    let mut place = Place::new(Some(1000), 200);
    place.log([1]);
    let mut reader = place.open(following());
    assert_eq!(number(&reader.next_entry().unwrap().unwrap()), 1);
    let follower = std::thread::spawn(move || rest(&mut reader));
    place.log(2..=1000);
    place.lock = None;
    assert_eq!(follower.join().unwrap(), (2..=1000).collect::<Vec<_>>());
}

#[test]
fn a_follower_hears_the_end_when_the_only_file_is_replaced() {
    let mut place = Place::new(Some(100), 1);
    place.log([1]);
    let mut reader = place.open(following());
    assert_eq!(number(&reader.next_entry().unwrap().unwrap()), 1);
    place.log([2, 3]);
    place.lock = None;
    let heard = rest(&mut reader);
    assert_eq!(heard.last(), Some(&3), "{heard:?}");
}

#[test]
fn a_follower_of_a_log_that_begins_later_hears_its_beginning() {
    let mut place = Place::new(None, 1);
    fs::remove_file(place.path()).unwrap();
    let mut reader = place.open(following());
    let follower = std::thread::spawn(move || rest(&mut reader));
    place.writer = LogWriter::open(&LogConfig { path: place.path(), bytes_max: None, files_max: 1 });
    place.log(1..=2);
    place.lock = None;
    assert_eq!(follower.join().unwrap(), [1, 2]);
}
