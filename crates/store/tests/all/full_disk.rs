//! A disk that fills up: a small tmpfs in a mount namespace of its own.

use std::path::Path;
use std::process::Command;

use knarr_store::gc::Policy;
use knarr_store::{Durability, Error, Kind, Store};

use crate::support::{container, diff_id, id, new_image, open, unpacked};

/// Size of the disk: a database with its log, the reserve, and a few layers.
const DISK: &str = "4m";

/// Bytes left free, from nothing to enough, in the steps in which a file system gives them out.
const FREE_PAGES: std::ops::Range<usize> = 0..40;

/// Not a test of its own: what runs inside the namespace.
#[test]
fn holds_inside_a_small_disk() {
    let Ok(disk) = std::env::var("KNARR_TEST_DISK") else { return };
    let disk = Path::new(&disk);
    let state = disk.join("state");
    pull(&open(&state), "first").unwrap();
    for pages in FREE_PAGES {
        fill(disk, pages);
        let refused = work_until_refused(&state);
        assert!(refused.is_some() || pages > 0, "a full disk took everything");
        sound(&state, "first");
        clear(disk);
        pull(&open(&state), "after").unwrap();
        sound(&state, "after");
        let store = open(&state);
        store.remove_image("after", false).unwrap();
        let _ = store.remove_image("filler", false);
        let _ = store.remove_container(&id("c"));
        store.collect(&Policy { partials_before_ns: i64::MAX, ..Policy::default() }).unwrap();
        sound(&state, "first");
    }
    removal_works_on_a_full_disk(disk, &state);
}

/// What `knarr rmi` and `rm` do where not a byte is left.
fn removal_works_on_a_full_disk(disk: &Path, state: &Path) {
    pull(&open(state), "second").unwrap();
    fill(disk, 0);
    let store = open(state);
    store.remove_image("second", false).unwrap();
    let collected = store.collect(&Policy::default()).unwrap();
    assert!(collected.problems.is_empty(), "{:?}", collected.problems);
    assert!(collected.bytes > 0);
    sound(state, "first");
}

/// Leaves `pages` of 4 KiB free.
fn fill(disk: &Path, pages: usize) {
    let filler = disk.join("filler");
    let _ = std::fs::write(&filler, vec![1; 8 << 20]);
    let length = std::fs::metadata(&filler).unwrap().len() & !4095;
    let file = std::fs::OpenOptions::new().write(true).open(&filler).unwrap();
    file.set_len(length.saturating_sub(pages as u64 * 4096)).unwrap();
}

fn clear(disk: &Path) {
    std::fs::remove_file(disk.join("filler")).unwrap();
}

/// The first refusal, which must say what it is.
fn work_until_refused(state: &Path) -> Option<Error> {
    let work = || -> Result<(), Error> {
        let store = Store::open(state, &Default::default())?;
        pull(&store, "filler")?;
        let image = store.resolve_image("filler")?;
        store.insert_container(&container("c", "c", Some(&image)), Durability::Full)?;
        store.snapshot(&id("c"), &image)?;
        Ok(())
    };
    let refused = work().err();
    if let Some(error) = &refused {
        assert_eq!(error.kind(), Kind::NoSpace, "{error}: {:?}", std::error::Error::source(error));
        assert!(error.hint().unwrap().contains("prune"));
    }
    refused
}

fn pull(store: &Store, text: &str) -> Result<(), Error> {
    let blob = store.put_blob(&text.as_bytes().repeat(2000))?;
    let build = store.begin_layer()?;
    let file = build.path().join(text);
    if let Err(source) = std::fs::write(&file, text.repeat(2000)) {
        return Err(Error::Io { action: "unpack", path: file, source });
    }
    let layer = build.commit(unpacked(text), &blob)?;
    store.put_image(new_image(text, vec![layer], &[text]))?;
    Ok(())
}

fn sound(state: &Path, text: &str) {
    let store = open(state);
    let image = store.resolve_image(text).unwrap();
    assert_eq!(image.layers[0].diff_id, diff_id(text));
    assert!(store.blob_bytes(&image.layers[0].blob, u64::MAX).unwrap().is_some());
    let file = state.join(format!("layers/{}/fs/{text}", image.layers[0].number));
    assert_eq!(std::fs::read_to_string(file).unwrap(), text.repeat(2000));
}

#[test]
fn a_full_disk_is_named_loses_nothing_and_can_be_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let root = knarr_sys::credentials::effective_user() == 0;
    let namespace: &[&str] = if root { &["-m"] } else { &["-r", "-m"] };
    let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\" || exit 77
                  exec \"$3\" --exact full_disk::holds_inside_a_small_disk --nocapture --test-threads=1";
    let output = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", script, "sh", DISK])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .env("KNARR_TEST_DISK", dir.path())
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) => output,
        _ => return eprintln!("skipped: a mount namespace with a tmpfs cannot be made here (unshare, mount)"),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare failed") {
        return eprintln!("skipped: {}", text.trim());
    }
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
}
