//! A layer that was unpacked is made again from its tree and a recipe, bit for bit.

mod support;

use std::fs::{self, File};
use std::io::Write;

use knarr_layer::{Limits, recipe};
use knarr_spec::Digest;
use knarr_sys::Root;
use support::{Entry, Place, Tar};

struct Layer {
    tar: Vec<u8>,
    blob: File,
    place: Place,
}

impl Layer {
    fn unpacked(tar: Vec<u8>) -> Layer {
        let place = Place::new();
        place.unpack_with(&tar, &support::options()).unwrap();
        let mut blob = tempfile::tempfile().unwrap();
        blob.write_all(&tar).unwrap();
        Layer { tar, blob, place }
    }

    fn root(&self) -> Root {
        Root::open(&self.place.root()).unwrap()
    }

    fn recipe(&self) -> Vec<u8> {
        let mut recipe = Vec::new();
        recipe::write(&self.blob, &self.root(), &Limits::default(), &mut recipe).unwrap();
        recipe
    }

    /// Makes the layer again and returns the recipe's size.
    fn is_made_again(&self) -> usize {
        let recipe = self.recipe();
        let mut again = Vec::new();
        let made = recipe::remake(&recipe[..], &self.root(), &mut again).unwrap();
        assert!(again == self.tar, "{} bytes instead of {}", again.len(), self.tar.len());
        assert_eq!((made.digest, made.blob_bytes), (Digest::sha256_of(&self.tar), self.tar.len() as u64));
        recipe.len()
    }
}

/// Bytes that do not shrink, so that a recipe that carries them is seen by its size.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn what_the_tree_has_is_not_in_the_recipe() {
    let (small, large) = (noise(5000, 1), noise(700_000, 2));
    let tar = Tar::new()
        .dir("./usr/")
        .symlink("lib", "usr")
        .entry(Entry { data: &small, ..Entry::new(b'0', "./usr/small") })
        .entry(Entry { data: &large, ..Entry::new(b'0', "lib/large") })
        .hard_link("usr/other", "usr/large")
        .file("usr/empty", "")
        .file(".wh.gone", "")
        .end();
    let recipe_bytes = Layer::unpacked(tar).is_made_again();
    assert!(recipe_bytes < 2000, "{recipe_bytes} bytes");
}

#[test]
fn what_the_tree_has_otherwise_stands_in_the_recipe() {
    let (first, second) = (noise(10_000, 3), noise(10_000, 4));
    let pax: [(&str, &[u8]); 3] = [("GNU.sparse.size", b"20000"), ("GNU.sparse.map", b"0,10000"), ("uid", b"0")];
    let tar = Tar::new()
        .entry(Entry { data: &first, ..Entry::new(b'0', "twice") })
        .entry(Entry { data: &second, ..Entry::new(b'0', "twice") })
        .entry(Entry { data: &second, pax: pax.to_vec(), ..Entry::new(b'0', "holes") })
        .end();
    let recipe_bytes = Layer::unpacked(tar).is_made_again();
    assert!((20_000..22_000).contains(&recipe_bytes), "{recipe_bytes} bytes");
}

#[test]
fn what_follows_the_archive_is_kept() {
    let mut tar = Tar::new().file("a", &"a".repeat(100)).end();
    tar.extend(noise(3000, 5));
    Layer::unpacked(tar).is_made_again();
}

#[test]
fn a_tree_that_lost_a_file_is_named_and_one_that_changed_has_another_digest() {
    let layer = Layer::unpacked(Tar::new().file("a", &"a".repeat(100)).end());
    let recipe = layer.recipe();
    let file = layer.place.root().join("a");
    fs::write(&file, "b".repeat(100)).unwrap();
    let made = recipe::remake(&recipe[..], &layer.root(), std::io::sink()).unwrap();
    assert_ne!(made.digest, Digest::sha256_of(&layer.tar));
    fs::remove_file(&file).unwrap();
    let error = recipe::remake(&recipe[..], &layer.root(), std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), r#"pack "a": the file is gone"#);
}

#[test]
fn a_recipe_that_is_cut_or_foreign_is_an_error() {
    let layer = Layer::unpacked(Tar::new().file("a", &"a".repeat(100)).end());
    let recipe = layer.recipe();
    for end in 0..recipe.len() {
        assert!(recipe::remake(&recipe[..end], &layer.root(), std::io::sink()).is_err(), "cut at {end}");
    }
    let foreign = [b"knarrR9\n", &recipe[8..]].concat();
    assert_eq!(
        recipe::remake(&foreign[..], &layer.root(), std::io::sink()).unwrap_err().to_string(),
        "recipe of a layer"
    );
}
