//! Processes killed at any moment, and many at once.

use std::collections::BTreeMap;
use std::path::Path;

use knarr_spec::Digest;
use knarr_store::Store;
use knarr_store::gc::{self, Policy};

use crate::children::{Random, Worker, blob_content, file_content};
use crate::support::open;

/// Rounds of killing in an ordinary run; `KNARR_TEST_KILLS` asks for more.
const ROUNDS: u64 = 25;

/// Workers that are killed in one round.
const WORKERS: u64 = 3;

/// Memory where there is some: what is tested is the death of processes, which no disk makes different.
fn fast_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// What must be there, by name; `None` where a kill left it open.
#[derive(Default)]
struct Expected(BTreeMap<String, Option<bool>>);

impl Expected {
    fn hear(&mut self, said: &[(String, bool)]) {
        for (what, done) in said {
            let (sign, thing) = what.split_at(1);
            self.0.insert(thing.to_owned(), done.then_some(sign == "+"));
        }
    }

    fn check(&mut self, store: &Store) {
        for (thing, expected) in &mut self.0 {
            let (kind, name) = thing.split_once(' ').unwrap();
            let there = match kind {
                "image" => store.resolve_image(name).is_ok(),
                "container" => store.container(name).is_ok(),
                _ => store.volume(name).is_ok(),
            };
            assert!(expected.is_none_or(|expected| expected == there), "{thing}: expected {expected:?}, is {there}");
            *expected = Some(there);
        }
    }
}

/// Everything the database says is on disk, and nothing else after a collection.
fn check_all(state: &Path) {
    let connection = rusqlite::Connection::open(state.join("knarr.db")).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    drop(connection);
    let store = open(state);
    let collected = store.collect(&Policy::default()).unwrap();
    assert!(collected.problems.is_empty(), "{:?}", collected.problems);
    assert_eq!(gc::plan(&store.facts().unwrap(), &Policy::default()).doomed, []);
    for image in store.images().unwrap() {
        assert_eq!(image.layers.len(), image.config.rootfs.diff_ids.len(), "{:?} lost layers", image.names);
        for layer in &image.layers {
            let dir = state.join(format!("layers/{}/fs", layer.number));
            let file = std::fs::read_dir(dir).unwrap().next().unwrap().unwrap();
            let text = file.file_name().into_string().unwrap();
            let others = format!("layer {} has another's files", layer.number);
            assert_eq!(Digest::sha256_of(&blob_content(&text)), layer.blob, "{others}");
            assert_eq!(std::fs::read(file.path()).unwrap(), file_content(&text), "{others}");
            assert!(store.blob_bytes(&layer.blob, u64::MAX).unwrap().is_some(), "{} is lost", layer.blob);
        }
        for document in [&image.id, &image.manifest_digest] {
            assert!(store.blob_bytes(document, u64::MAX).unwrap().is_some(), "{document} is lost");
        }
    }
    for container in store.containers().unwrap() {
        let Ok(mounts) = store.root_mounts(&container.id) else { continue };
        for dir in mounts.lower.iter().map(|lower| mounts.base.join(lower)).chain(mounts.upper) {
            assert!(dir.is_dir(), "{}: {} is lost", container.name, dir.display());
        }
    }
}

#[test]
fn kills_at_any_moment_lose_nothing_that_was_done_and_block_nobody() {
    let rounds = std::env::var("KNARR_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let dir = fast_dir();
    let state = dir.path().join("state");
    let mut random = Random(std::env::var("KNARR_TEST_SEED").map_or(7, |seed| seed.parse().unwrap()));
    let mut expected = Expected::default();
    for round in 0..rounds {
        let start = |worker| Worker::start(&state, &format!("w{worker}"), round * WORKERS + worker, u64::MAX);
        let mut workers: Vec<Worker> = (0..WORKERS).map(start).collect();
        for worker in &mut workers {
            assert!(worker.listen(1 + random.below(12)), "a worker gave up in round {round}");
        }
        for worker in workers {
            expected.hear(&worker.kill());
        }
        if !state.exists() {
            continue;
        }
        expected.check(&open(&state));
        check_all(&state);
        expected.check(&open(&state));
    }
}

#[test]
fn sixty_four_processes_at_once_all_get_their_work_done() {
    let dir = fast_dir();
    let state = dir.path().join("state");
    let workers: Vec<Worker> = (0..64).map(|n| Worker::start(&state, &format!("w{n}"), n, 5)).collect();
    let mut expected = Expected::default();
    for worker in workers {
        expected.hear(&worker.finish());
    }
    expected.check(&open(&state));
    check_all(&state);
}
