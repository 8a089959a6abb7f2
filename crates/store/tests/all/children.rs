//! Child processes that use one store at once: the test binary again, told by its environment what to do.
//!
//! A child says on its standard output what it begins and what is done, one line each, so that whoever kills it knows what
//! must be there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use knarr_layer::Unpacked;
use knarr_spec::{DiffId, Digest};
use knarr_store::gc::Policy;
use knarr_store::{Durability, ImageRemoval, IngestState, LayerRecord, Store, VolumeRecord};

use crate::support::{container, diff_id, id, new_image, open, tar, unpacked};

/// Bytes of a blob: enough for several writes, little enough for thousands of rounds.
const BLOB_BYTES: usize = 40_000;

/// Bytes of the file in an uncompressed layer: enough that its blob is worth dropping.
const FILE_BYTES: usize = 70_000;

/// Random numbers that a seed repeats.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// A child that works on a store until it has done `steps` things, or is killed.
pub struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it said, by the thing it is about: `true` for done.
    pub said: Vec<(String, bool)>,
}

impl Worker {
    pub fn start(state: &Path, name: &str, seed: u64, steps: u64) -> Worker {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "children::works_when_told_to", "--nocapture", "--test-threads=1"])
            .env("KNARR_TEST_STATE", state)
            .env("KNARR_TEST_WORK", format!("{name} {seed} {steps}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Worker { child, lines, said: Vec::new() }
    }

    /// Listens until the child said `count` more things; whether it did before it ended.
    pub fn listen(&mut self, count: u64) -> bool {
        for _ in 0..count {
            if !self.next() {
                return false;
            }
        }
        true
    }

    fn next(&mut self) -> bool {
        for line in self.lines.by_ref() {
            let Ok(line) = line else { return false };
            let said = line.strip_prefix("begin ").map(|what| (what, false));
            if let Some((what, done)) = said.or_else(|| line.strip_prefix("done ").map(|what| (what, true))) {
                self.said.push((what.to_owned(), done));
                return true;
            }
        }
        false
    }

    /// Kills the child and hears what it said last.
    pub fn kill(mut self) -> Vec<(String, bool)> {
        let _ = self.child.kill();
        while self.next() {}
        self.child.wait().unwrap();
        std::mem::take(&mut self.said)
    }

    /// Lets the child finish; it must succeed.
    pub fn finish(mut self) -> Vec<(String, bool)> {
        while self.next() {}
        assert!(self.child.wait().unwrap().success(), "a worker failed after {:?}", self.said.last());
        std::mem::take(&mut self.said)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test of its own: what a [`Worker`] runs.
#[test]
fn works_when_told_to() {
    let (Ok(state), Ok(work)) = (std::env::var("KNARR_TEST_STATE"), std::env::var("KNARR_TEST_WORK")) else { return };
    let words: Vec<&str> = work.split(' ').collect();
    let (name, steps) = (words[0], words[2].parse::<u64>().unwrap());
    let mut random = Random(words[1].parse().unwrap());
    for _ in 0..steps {
        let store = open(Path::new(&state));
        match random.below(10) {
            0..4 => pull(&store, name, &mut random),
            4 | 5 => run(&store, name, &mut random),
            6 => remove_image(&store, name, &mut random),
            7 => remove_container(&store, name, &mut random),
            8 => toggle_volume(&store, name, &mut random),
            _ => collect(&store, random.below(2) == 0),
        }
    }
}

fn say(word: &str, what: &str) {
    let mut out = std::io::stdout().lock();
    // One write: a kill never tears the line.
    out.write_all(format!("\n{word} {what}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn doing<T>(what: &str, body: impl FnOnce() -> T) -> T {
    say("begin", what);
    let value = body();
    say("done", what);
    value
}

/// The content of the blob that stands for a layer called `text`: of every other one its tar.
pub fn blob_content(text: &str) -> Vec<u8> {
    if is_tar(text) { tar(text, &file_content(text)) } else { text.bytes().cycle().take(BLOB_BYTES).collect() }
}

/// The content of the one file in a layer, which has the layer's name.
pub fn file_content(text: &str) -> Vec<u8> {
    text.bytes().cycle().take(if is_tar(text) { FILE_BYTES } else { text.len() }).collect()
}

fn is_tar(text: &str) -> bool {
    text.ends_with(['1', '3', '5'])
}

/// One of a few layers that all workers share.
fn shared_layer(store: &Store, random: &mut Random) -> LayerRecord {
    let text = format!("layer-{}", random.below(6));
    let blob = download(store, &blob_content(&text));
    let diff_id = if is_tar(&text) { DiffId(blob.clone()) } else { diff_id(&text) };
    if let Some(there) = store.layer(&diff_id).unwrap() {
        return there;
    }
    let build = store.begin_layer().unwrap();
    std::fs::write(build.path().join(&text), file_content(&text)).unwrap();
    build.commit(Unpacked { diff_id, ..unpacked(&text) }, &blob).unwrap()
}

/// Fetches a blob as a registry client does: in pieces, from where it was.
fn download(store: &Store, content: &[u8]) -> Digest {
    let digest = Digest::sha256_of(content);
    loop {
        match store.ingest(&digest, Some(content.len() as u64)).unwrap() {
            IngestState::Present(_) => return digest,
            IngestState::Busy(busy) => busy.wait().unwrap(),
            IngestState::Partial(mut ingest) => {
                let rest = &content[ingest.offset() as usize..];
                rest.chunks(4096).for_each(|chunk| ingest.write(chunk).unwrap());
                ingest.commit().unwrap();
                return digest;
            }
        }
    }
}

fn pull(store: &Store, name: &str, random: &mut Random) {
    let tag = format!("{name}:{}", random.below(3));
    let mut layers: Vec<LayerRecord> = (0..2).map(|_| shared_layer(store, random)).collect();
    layers.dedup();
    let image = new_image(&tag, layers, &[&tag]);
    doing(&format!("+image {tag}"), || store.put_image(image).unwrap());
}

fn run(store: &Store, name: &str, random: &mut Random) {
    let Ok(image) = store.resolve_image(&format!("{name}:{}", random.below(3))) else { return };
    let number = random.below(3);
    let (start, called) = (container_id(name, number), format!("{name}-{number}"));
    if store.container(&called).is_ok() {
        return;
    }
    doing(&format!("+container {called}"), || {
        store.insert_container(&container(&start, &called, Some(&image)), Durability::Normal).unwrap();
    });
    store.snapshot(&id(&start), &image).unwrap();
}

/// Hex digits that begin the id of a worker's container.
fn container_id(name: &str, number: u64) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}{number:x}")
}

fn remove_image(store: &Store, name: &str, random: &mut Random) {
    let tag = format!("{name}:{}", random.below(3));
    if store.resolve_image(&tag).is_err() {
        return;
    }
    say("begin", &format!("-image {tag}"));
    match store.remove_image(&tag, false).unwrap() {
        ImageRemoval::Done(_) => say("done", &format!("-image {tag}")),
        _ => say("done", &format!("+image {tag}")),
    }
    collect(store, false);
}

fn remove_container(store: &Store, name: &str, random: &mut Random) {
    let number = random.below(3);
    let called = format!("{name}-{number}");
    if store.container(&called).is_ok() {
        doing(&format!("-container {called}"), || store.remove_container(&id(&container_id(name, number))).unwrap());
    }
}

fn toggle_volume(store: &Store, name: &str, random: &mut Random) {
    let volume = format!("{name}-{}", random.below(2));
    if store.volume(&volume).is_ok() {
        doing(&format!("-volume {volume}"), || store.remove_volume(&volume).unwrap());
        return;
    }
    let record = VolumeRecord {
        name: volume.clone(),
        created_ns: 1,
        anonymous: false,
        driver: "local".to_owned(),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    };
    doing(&format!("+volume {volume}"), || store.create_volume(&record).unwrap());
    let data = store.volume_data(&volume);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "a new volume has old data");
    std::fs::write(data.join("file"), "data").unwrap();
}

fn collect(store: &Store, drop_remakeable: bool) {
    let collected = store.collect(&Policy { drop_remakeable, ..Policy::default() }).unwrap();
    assert!(collected.problems.is_empty(), "{:?}", collected.problems);
}
