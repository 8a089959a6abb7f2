//! Disk usage.

use std::process::Command;

use knarr_store::{Durability, tree_bytes};

use crate::support::{container, fresh, id, image};

/// How often to look until the disk rests meanwhile.
const LOOKS_MAX: usize = 100;

fn du(path: &std::path::Path) -> u64 {
    let output = Command::new("du").args(["-s", "-B1"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn the_parts_add_up_to_what_du_says() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base", "top"], &["a"]);
    fresh.store.insert_container(&container("c", "web", Some(&stored)), Durability::Normal).unwrap();
    let upper = fresh.store.snapshot(&id("c"), &stored).unwrap().upper.unwrap();
    std::fs::write(upper.join("big"), vec![1; 100_000]).unwrap();
    std::fs::hard_link(upper.join("big"), upper.join("again")).unwrap();
    // The blocks of a file are counted when they are written to the disk, which may be between two looks.
    let (usage, tree, said) = (0..LOOKS_MAX)
        .find_map(|_| {
            let said = du(fresh.store.state());
            let (usage, tree) = (fresh.store.disk_usage().unwrap(), tree_bytes(fresh.store.state()).unwrap());
            (du(fresh.store.state()) == said).then_some((usage, tree, said))
        })
        .expect("a moment in which nothing is written");
    assert_eq!((usage.total_bytes(), tree), (said, said));
    assert!((100_000..200_000).contains(&usage.snapshots[&id("c")]), "{usage:?}");
}

#[test]
fn shared_and_own_layers_are_told_apart() {
    let fresh = fresh();
    let one = image(&fresh.store, &["shared"], &["a"]);
    let two = image(&fresh.store, &["shared", "own"], &["b"]);
    let usage = fresh.store.disk_usage().unwrap();
    let of = |id| usage.images.iter().find(|image| image.id == id).unwrap();
    assert_eq!(of(one.id).unique_bytes, 0);
    assert!(of(two.id.clone()).unique_bytes > 0 && of(two.id).shared_bytes > 0);
}

#[test]
fn only_what_no_container_needs_can_be_reclaimed() {
    let fresh = fresh();
    let used = image(&fresh.store, &["used"], &["a"]);
    fresh.store.insert_container(&container("c", "web", Some(&used)), Durability::Normal).unwrap();
    let (state, _dir) = fresh.close();
    let store = crate::support::open(&state);
    assert_eq!(store.disk_usage().unwrap().reclaimable_bytes, 0);
    store.remove_container(&id("c")).unwrap();
    assert!(store.disk_usage().unwrap().reclaimable_bytes > 0);
}
