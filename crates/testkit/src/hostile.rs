//! Archives that try to do what no layer may.
//!
//! Law: each one aims at a file outside the root that its test names, so that success of the attack can be seen, and each
//! is harmless where it fails.

use tar::EntryType;

use crate::LayerTar;

/// A file named with `..` at the front.
pub fn climbs_by_dots(outside: &str) -> Vec<u8> {
    let name = format!("../../../../../../../../../..{outside}");
    LayerTar::new().file(&name, 0o644, "climbed").finish()
}

/// A file with an absolute name, which must land inside.
pub fn absolute_name(outside: &str) -> Vec<u8> {
    LayerTar::new().file(outside, 0o644, "climbed").finish()
}

/// A link out, then a file through it.
pub fn through_a_symlink(outside_dir: &str, name: &str) -> Vec<u8> {
    LayerTar::new().symlink("door", outside_dir).file(&format!("door/{name}"), 0o644, "climbed").finish()
}

/// A link out by dots, then a file through it.
pub fn through_a_relative_symlink(outside_dir: &str, name: &str) -> Vec<u8> {
    let target = format!("../../../../../../../../..{outside_dir}");
    LayerTar::new()
        .dir("a", 0o755)
        .symlink("a/door", &target)
        .file(&format!("a/door/{name}"), 0o644, "climbed")
        .finish()
}

/// A hard link to a file outside, then a write to it by name.
pub fn hard_link_out(outside: &str) -> Vec<u8> {
    LayerTar::new().hard_link("mine", outside).file("mine", 0o644, "climbed").finish()
}

/// A hard link through a link that leads out.
pub fn hard_link_through_a_symlink(outside_dir: &str, name: &str) -> Vec<u8> {
    let tar = LayerTar::new().symlink("door", outside_dir).hard_link("mine", &format!("door/{name}"));
    tar.file("mine", 0o644, "climbed").finish()
}

/// A directory that is replaced by a link after a file has been put into it.
pub fn swaps_a_directory_for_a_symlink(outside_dir: &str, name: &str) -> Vec<u8> {
    let tar = LayerTar::new().dir("d", 0o755).file("d/first", 0o644, "x").symlink("d", outside_dir);
    tar.file(&format!("d/{name}"), 0o644, "climbed").finish()
}

/// A whiteout whose name climbs out.
pub fn whiteout_climbs(outside_dir: &str, name: &str) -> Vec<u8> {
    let path = format!("../../../../../../../../../..{outside_dir}/.wh.{name}");
    LayerTar::new().file(&path, 0o600, "").finish()
}

/// A whiteout of the parent directory.
pub fn whiteout_of_dots() -> Vec<u8> {
    LayerTar::new().file(".wh...", 0o600, "").file("a/.wh..", 0o600, "").finish()
}

/// Permission bits on the root through a directory entry named by dots.
pub fn chmods_the_parent(outside_dir: &str) -> Vec<u8> {
    LayerTar::new().dir(&format!("../../../../../../../../..{outside_dir}/"), 0o777).finish()
}

/// Claims to hold a terabyte and holds nothing.
pub fn promises_a_terabyte() -> Vec<u8> {
    LayerTar::new().lying("big", 1 << 40, b"only this")
}

/// `gigabytes` of zeros, gzip-packed: a bomb whose wire size is a thousandth.
pub fn bomb(gigabytes: u64) -> Vec<u8> {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let head = LayerTar::new().lying("bomb", gigabytes << 30, b"");
    gzip.write_all(&head).expect("writing to memory");
    let zeros = vec![0; 1 << 20];
    for _ in 0..gigabytes << 10 {
        gzip.write_all(&zeros).expect("writing to memory");
    }
    gzip.finish().expect("writing to memory")
}

/// An entry of a type nobody has defined.
pub fn unknown_type() -> Vec<u8> {
    LayerTar::new().entry("odd", EntryType::new(b'Q'), 0o644, (0, 0), "", b"").finish()
}
