//! `rm`, and what `--rm` does at the end.
//!
//! Law: the record goes first, so that a death in between leaves garbage and never a container that cannot be used. After it
//! directories are only moved out of sight; taking them off the disk needs nobody to wait ([`Rubbish`]).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use knarr_monitor::Status;
use knarr_store::ContainerRecord;

use super::{attach, create, find, stop};
use crate::{Context, Error, Result};

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

/// Removes the container that `text` means.
pub fn remove(context: &Context, text: &str, options: RemoveOptions) -> Result<()> {
    let container = find(context, text)?;
    if container.state.status == Status::Running {
        if !options.force {
            let name = format!("/{}", container.record.name);
            return Err(Error::Running { verb: "remove", gerund: "removing", name });
        }
        if let Some(mut client) = attach::client(context, &container.record.id)? {
            stop::kill_now(context, &container.record.id, &mut client, text)?;
        }
    }
    forget(context, &container.record, options.volumes)?.remove()
}

/// Directories that belong to nothing any more. Left alone they stay until the next collection.
#[must_use = "the directories stay on the disk until they are removed"]
#[derive(Debug, Default)]
pub struct Rubbish(Vec<PathBuf>);

impl Rubbish {
    /// Takes them off the disk.
    pub fn remove(self) -> Result<()> {
        self.0.iter().try_for_each(|dir| remove_dir(dir))
    }

    /// The directories, for another process to remove.
    pub fn into_directories(self) -> Vec<PathBuf> {
        self.0
    }
}

/// Removes a container made with `--rm` after its end; it may be gone already, removed by hand or by its monitor.
pub fn after_exit(context: &Context, id: &str) -> Result<Rubbish> {
    match context.store.container(id) {
        Ok(record) => forget(context, &record, true),
        Err(error) if error.kind() == knarr_store::Kind::NotFound => Ok(Rubbish::default()),
        Err(error) => Err(error.into()),
    }
}

fn forget(context: &Context, record: &ContainerRecord, volumes: bool) -> Result<Rubbish> {
    let snapshot = context.store.bury_container(&record.id)?;
    remove_cgroup(context, &record.id);
    remove_dir(&context.paths.container_run(&record.id))?;
    let bundle = context.store.bury(&context.paths.container(&record.id))?;
    for name in record.volumes.iter().filter(|_| volumes) {
        remove_anonymous(context, name)?;
    }
    Ok(Rubbish(snapshot.into_iter().chain(bundle).collect()))
}

/// Removes directories of containers that have no record; returns the bytes they took. A record is there before its
/// container's directories, and until they go: what is listed first and then not recorded belongs to nobody.
pub fn strays(context: &Context) -> Result<u64> {
    let (here, running) = (context.paths.state.join("containers"), context.paths.run.join("containers"));
    let mut found: BTreeSet<String> = names(&here)?;
    found.extend(names(&running)?);
    let recorded: BTreeSet<String> = context.store.containers()?.into_iter().map(|record| record.id).collect();
    let mut bytes = 0;
    for id in found.difference(&recorded) {
        bytes += knarr_store::tree_bytes(&here.join(id))?;
        remove_dir(&running.join(id))?;
        Rubbish(context.store.bury(&here.join(id))?.into_iter().collect()).remove()?;
    }
    Ok(bytes)
}

fn names(dir: &Path) -> Result<BTreeSet<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(Error::io("list", dir)(error)),
    }
}

/// A monitor removes its container's control group at the end; one that was killed left it. What cannot be removed now is empty and
/// does no harm.
fn remove_cgroup(context: &Context, id: &str) {
    let state = knarr_monitor::read_state(&context.paths.container_run(id), &context.paths.container(id));
    if let Some(cgroup) = state.ok().filter(|state| state.finished_at.is_none()).and_then(|state| state.cgroup) {
        let _ = cgroup.remove();
    }
}

fn remove_anonymous(context: &Context, name: &str) -> Result<()> {
    match context.store.volume(name) {
        Ok(volume) if volume.anonymous && context.store.volume_users(name)?.is_empty() => {
            Ok(context.store.remove_volume(name)?)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == knarr_store::Kind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", dir)(error)),
    }
}

/// Undoes a `create` whose start failed, for `run --rm`.
pub fn discard(context: &Context, id: &str) {
    if after_exit(context, id).and_then(Rubbish::remove).is_err() {
        create::discard(context, id);
    }
}
