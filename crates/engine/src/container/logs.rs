//! `logs`.

use knarr_monitor::{LogOptions, LogPlace, LogReader, MonitorConfig};

use super::find;
use crate::{Context, Error, Result};

/// The log of the container that `text` means, ready to be read entry by entry.
pub fn open(context: &Context, text: &str, options: LogOptions) -> Result<LogReader> {
    let id = find(context, text)?.record.id;
    let (container_dir, run_dir) = (context.paths.container(&id), context.paths.container_run(&id));
    let log = MonitorConfig::load(&container_dir)?.log.ok_or(Error::NoLog)?;
    let place = LogPlace { path: &log.path, run_dir: &run_dir, container_dir: &container_dir };
    Ok(LogReader::open(place, options)?)
}
