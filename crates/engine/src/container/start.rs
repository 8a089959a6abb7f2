//! `start`: from a recorded container to a monitor that has made it and waits for the word.

use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;

use knarr_monitor::{Client, Job, Status};
use knarr_store::ContainerRecord;

use super::{bundle, find};
use crate::record;
use crate::{Context, Error, Result};

/// A monitor launched before its job is known, so that it gets ready meanwhile; or none yet.
#[derive(Default)]
pub struct Ahead(Option<Client>);

impl Ahead {
    /// Launches it. For callers who are in the user namespace of their containers already. What fails here is met again, and
    /// told, when the monitor is needed.
    pub fn launch() -> Ahead {
        let exe = knarr_sys::self_exe::protected().ok();
        Ahead(exe.and_then(|exe| Client::launch(exe.as_fd(), Job::Later).ok()))
    }

    /// Gives it its job; launches one where there is none.
    pub(super) fn take(self, job: Job) -> Result<Client> {
        let Some(mut client) = self.0 else {
            let exe = knarr_sys::self_exe::protected().map_err(Error::sys("protect our binary"))?;
            return Ok(Client::launch(exe.as_fd(), job)?);
        };
        client.tell(job)?;
        Ok(client)
    }
}

/// Launches the monitor of a container that was just created. The caller attaches, says [`Client::start`], and reads.
pub fn launch(context: &Context, record: &ContainerRecord, ahead: Ahead) -> Result<Client> {
    let dir = context.paths.container(&record.id);
    let options = record::options(record)?;
    bundle::write_network_files(&dir, &options)?;
    let run = context.paths.container_run(&record.id);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&run).map_err(Error::io("create", &run))?;
    ahead.take(Job::Container(&dir))
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
    launch(context, &container.record, Ahead::default()).map(Started::Launched)
}
