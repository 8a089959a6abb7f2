//! `start`: from a recorded container to a monitor that has made it and waits for the word.

use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use knarr_monitor::{Client, Job, Status};
use knarr_store::ContainerRecord;

use super::{bundle, find};
use crate::record;
use crate::{Context, Error, Result};

/// A monitor that waits to be told its container, so that it gets ready while the container is created.
pub(super) fn launch_ahead() -> Result<Client> {
    let exe = knarr_sys::self_exe::protected().map_err(Error::sys("protect our binary"))?;
    Ok(Client::launch(exe.as_fd(), Job::Later)?)
}

/// Gives a container that was just created to the monitor launched for it ([`super::create::create_with_monitor`]). The caller
/// attaches, says [`Client::start`], and reads.
pub fn hand_over(context: &Context, record: &ContainerRecord, mut monitor: Client) -> Result<Client> {
    let dir = prepare(context, record)?;
    monitor.container(&dir)?;
    Ok(monitor)
}

/// Launches the monitor of a container that was created before.
fn launch(context: &Context, record: &ContainerRecord) -> Result<Client> {
    let dir = prepare(context, record)?;
    let exe = knarr_sys::self_exe::protected().map_err(Error::sys("protect our binary"))?;
    Ok(Client::launch(exe.as_fd(), Job::Container(&dir))?)
}

/// Writes what is written anew for each start; the container's directory.
fn prepare(context: &Context, record: &ContainerRecord) -> Result<PathBuf> {
    let dir = context.paths.container(&record.id);
    let options = record::options(record)?;
    bundle::write_network_files(&dir, &options)?;
    let run = context.paths.container_run(&record.id);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&run).map_err(Error::io("create", &run))?;
    Ok(dir)
}

/// What `start` found.
pub enum Started {
    /// It ran already: docker says nothing and goes on.
    Already,
    /// Its monitor is launched.
    Launched(Client),
}

/// Launches the monitor of the container that `text` means, unless it runs.
pub fn start(context: &Context, text: &str) -> Result<Started> {
    let container = find(context, text)?;
    if container.state.status == Status::Running {
        return Ok(Started::Already);
    }
    launch(context, &container.record).map(Started::Launched)
}
