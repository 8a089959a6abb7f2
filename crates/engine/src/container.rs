//! The verbs of containers, one file each, and how a container is found.

pub mod attach;
pub mod commit;
pub mod copy;
pub mod create;
pub mod diff;
pub mod dry_run;
pub mod exec;
pub mod export;
pub mod kill;
pub mod logs;
pub mod remove;
pub mod rename;
pub mod start;
pub mod stop;
pub mod wait;

mod bundle;
mod facts;
mod mounts;
mod names;
mod populate;
pub(crate) mod tree;
pub(crate) mod users;

use knarr_monitor::{Status, read_state};
use knarr_store::ContainerRecord;

use crate::record::{self, Container};
use crate::{Context, Result};

/// The container that `text` means: its id, its name or the beginning of its id.
pub fn find(context: &Context, text: &str) -> Result<Container> {
    complete(context, context.store.container(text)?)
}

/// Every container, the newest first. A record that cannot be read does not hide the others: it is noted.
pub fn list(context: &Context) -> Result<Vec<Container>> {
    let mut list = Vec::new();
    for record in context.store.containers()? {
        match complete(context, record) {
            Ok(container) => list.push(container),
            Err(error) => context.note(error.to_string()),
        }
    }
    Ok(list)
}

/// Whether the container with this id runs now.
pub fn is_running(context: &Context, id: &str) -> Result<bool> {
    let state = read_state(&context.paths.container_run(id), &context.paths.container(id));
    Ok(state.map_err(knarr_monitor::Error::from)?.status == Status::Running)
}

fn complete(context: &Context, record: ContainerRecord) -> Result<Container> {
    let options = record::options(&record)?;
    let state = read_state(&context.paths.container_run(&record.id), &context.paths.container(&record.id));
    Ok(Container { state: state.map_err(knarr_monitor::Error::from)?, options, record })
}
