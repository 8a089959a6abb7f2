//! `diff`: what a container changed of its image.
//!
//! The places that the engine's own files and file systems were mounted on are no change of the container's: docker has
//! them in a layer between image and container, here they are left out by name, while they are empty.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use knarr_layer::{Change, changes};
use knarr_store::RootMounts;
use knarr_sys::at::{self, FileType, Stat};
use knarr_sys::{InRoot, Root};

use super::find;
use crate::{Context, Error, Result};

/// What every container has something mounted on.
const MOUNTED: [&str; 9] =
    ["dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "dev/console", "dev/pts", "dev/shm"];

/// Every changed path, directories before what they hold.
pub fn diff(context: &Context, text: &str) -> Result<Vec<(Vec<u8>, Change)>> {
    let container = find(context, text)?;
    let (upper, lower) = layers(&context.store.root_mounts(&container.record.id)?)?;
    let mut all = all_changes(&upper, &lower)?;
    let ours = ours(&upper, &lower, &all);
    all.retain(|(path, _)| !ours.contains(path));
    Ok(all)
}

/// What a container wrote, and the layers below it, top first.
pub(super) fn layers(mounts: &RootMounts) -> Result<(Root, Vec<Root>)> {
    let open = |path: &std::path::PathBuf| Root::open(&mounts.base.join(path)).map_err(Error::sys("open a layer"));
    let upper = mounts.upper.as_ref().expect("a container has a layer of its own");
    Ok((open(upper)?, mounts.lower.iter().map(open).collect::<Result<_>>()?))
}

/// The paths in an upper directory that are only there because something was mounted on them.
pub(super) fn made_for_mounts(upper: &Root, lower: &[Root]) -> Result<BTreeSet<Vec<u8>>> {
    Ok(ours(upper, lower, &all_changes(upper, lower)?))
}

fn all_changes(upper: &Root, lower: &[Root]) -> Result<Vec<(Vec<u8>, Change)>> {
    changes(upper, lower)
        .map_err(|source| Error::Layer { what: "compare a container with its image".to_owned(), source })
}

/// Empty places for mounts, and the directories that changed for nothing else.
fn ours(upper: &Root, lower: &[Root], all: &[(Vec<u8>, Change)]) -> BTreeSet<Vec<u8>> {
    let mut ours = BTreeSet::new();
    // What stands in a directory comes behind it in the list, so from the end.
    for (at, (path, change)) in all.iter().enumerate().rev() {
        let below = [&path[..], b"/"].concat();
        let mut inside = all[at + 1..].iter().take_while(|(other, _)| other.starts_with(&below)).peekable();
        let Some(stat) = look(upper, path) else { continue };
        let holds_ours = inside.peek().is_some();
        let only_ours = inside.all(|(other, _)| ours.contains(other));
        let is_place = MOUNTED.iter().any(|place| place.as_bytes() == &path[..]) && is_empty(&stat);
        let is_way = holds_ours && *change == Change::Modified && same_as_below(lower, path, &stat);
        if only_ours && ((*change == Change::Added && is_place) || is_way) {
            ours.insert(path.clone());
        }
    }
    ours
}

fn look(root: &Root, path: &[u8]) -> Option<Stat> {
    let handle = root.open_path_nofollow(&InRoot::parse(OsStr::from_bytes(path)).ok()?).ok()?;
    at::fstat(handle).ok()
}

fn is_empty(stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => stat.st_size == 0,
        kind => kind == FileType::Directory,
    }
}

/// Whether a directory has the owner and mode it has in the image.
fn same_as_below(lower: &[Root], path: &[u8], stat: &Stat) -> bool {
    let looks = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    let below = lower.iter().find_map(|root| look(root, path));
    below.is_some_and(|below| looks(&below) == looks(stat))
}
