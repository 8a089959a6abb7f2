//! The disk that tools write to while they are measured.
//!
//! An ext4 with a journal in a file of its own, as most people have it: on one without a journal the kernel looks long for inodes
//! that were not freed a moment ago, and that hides what the tools do. The file is in memory where there is room, as fast as the
//! disks of today: who waits for the disk (we do, podman and docker-registry do not) is measured with it, and not with how fast a
//! borrowed machine's disk happens to be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::inside::shell;
use crate::Outcome;

/// Name of the link to the file that holds the disk, and its size: the images, and what three tools make of them.
const DISK: &str = "disk.img";
/// Where the disk is kept in memory, and the memory that must be free for it: the most that was seen in use at once, and what the
/// tools themselves need.
const MEMORY: &str = "/dev/shm";
const MEMORY_KIB_MIN: u64 = 16 << 20;
const DISK_BYTES: u64 = 24 << 30;

/// The disk of one part of the section; gone when it is dropped.
pub struct Disk(PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes the disk, outside of the peers' tree, which lacks the program for it.
pub fn prepare(kit: &Path) -> Outcome<Disk> {
    let free = fs::read_to_string("/proc/meminfo")?;
    let free = free.lines().find_map(|line| line.strip_prefix("MemAvailable:")).ok_or("no MemAvailable")?;
    let free: u64 = free.trim().trim_end_matches(" kB").parse()?;
    let file = match Path::new(MEMORY).is_dir() && free >= MEMORY_KIB_MIN {
        true => Path::new(MEMORY).join(format!("knarr-bench-{}", std::process::id())),
        false => kit.join("disk"),
    };
    let disk = Disk(file.clone());
    fs::File::create(&file)?.set_len(DISK_BYTES)?;
    let link = kit.join(DISK);
    let _ = fs::remove_file(&link);
    symlink(&file, &link)?;
    eprintln!("the disk is {}", file.display());
    // An inode for every 4 KiB: half a million small files.
    shell(Command::new("mkfs.ext4").args(["-q", "-F", "-i", "4096"]).arg(&file))?;
    Ok(disk)
}

/// Mounts it, in a mount namespace that ends with the measurement; where.
pub fn mount(kit: &Path) -> Outcome<PathBuf> {
    let place = kit.join("mounted");
    fs::create_dir_all(&place)?;
    shell(Command::new("mount").args(["-o", "loop,noinit_itable,discard"]).arg(kit.join(DISK)).arg(&place))?;
    Ok(place)
}
