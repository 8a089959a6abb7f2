//! What the engine remembers of a container beside the store's own columns.
//!
//! Law: versioned; a newer version is refused with its number. Written at create, changed by rename and update only.

use std::collections::BTreeMap;

use knarr_monitor::State;
use knarr_store::ContainerRecord;
use serde::{Deserialize, Serialize};

use crate::policy::ResolvedMount;
use crate::wanted::Wanted;
use crate::{Error, Result};

/// The version of [`Options`].
pub const RECORD_VERSION: u32 = 1;

/// The engine's own part of a container's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// What was asked for.
    pub wanted: Wanted,
    /// What became of it together with the image.
    pub effective: Effective,
    /// Mounts with their sources.
    pub mounts: Vec<ResolvedMount>,
    /// The image's platform, `linux/amd64`.
    pub platform: String,
}

/// Wish and image together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Effective {
    /// Entrypoint and command, as executed.
    pub args: Vec<String>,
    /// The entrypoint alone.
    pub entrypoint: Option<Vec<String>>,
    /// The command alone.
    pub cmd: Option<Vec<String>>,
    /// The image's environment with the user's changes.
    pub env: Vec<String>,
    /// Current directory.
    pub working_dir: String,
    /// As text, the user's or the image's.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// Labels of image and user.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// Seconds until SIGKILL.
    pub stop_timeout_s: u32,
    /// Ports the image exposes, `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Volumes the image declares.
    pub volumes: Vec<String>,
}

/// A container with all that is known of it now.
#[derive(Debug, Clone)]
pub struct Container {
    /// The store's record.
    pub record: ContainerRecord,
    /// The engine's part of it.
    pub options: Options,
    /// What its monitor says or said.
    pub state: State,
}

impl Container {
    /// The first twelve digits of the id.
    pub fn short_id(&self) -> &str {
        short(&self.record.id)
    }
}

/// The first twelve digits of an id.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Reads the engine's part of a record.
pub(crate) fn options(record: &ContainerRecord) -> Result<Options> {
    let options = Options::deserialize(&record.options);
    options.map_err(|source| Error::Record { id: record.id.clone(), source })
}
