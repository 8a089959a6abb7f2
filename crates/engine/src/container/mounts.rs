//! Making what a container mounts: volumes, and the missing sources of `-v`.

use std::path::Path;

use knarr_store::VolumeRecord;

use super::names;
use crate::clock::now_ns;
use crate::policy::ResolvedMount;
use crate::wanted::{MountKind, MountWanted};
use crate::{Context, Error, Result};

/// A mount with its source made, and whether its volume is new.
pub(super) struct Made {
    pub mount: ResolvedMount,
    /// The volume did not exist before.
    pub new: bool,
}

/// Makes the sources of `wanted`. With `dry` nothing is made; anonymous volumes are then called by a row of zeros.
pub(super) fn make(context: &Context, wanted: &[MountWanted], dry: bool) -> Result<Vec<Made>> {
    wanted.iter().map(|mount| one(context, mount, dry)).collect()
}

fn one(context: &Context, wanted: &MountWanted, dry: bool) -> Result<Made> {
    let mount = |source: &Path, volume: Option<String>| ResolvedMount {
        volume,
        source: source.to_owned(),
        target: wanted.target.clone(),
        read_only: wanted.read_only,
        kind: wanted.kind.clone(),
    };
    match &wanted.kind {
        MountKind::Tmpfs { .. } => Ok(Made { mount: mount(Path::new(""), None), new: false }),
        MountKind::Bind(options) => {
            if !dry {
                bind_source(&options.source, options.create_source)?;
            }
            Ok(Made { mount: mount(&options.source, None), new: false })
        }
        MountKind::Volume { name, .. } => {
            let anonymous = name.is_none();
            let name = match name {
                Some(name) => name.clone(),
                None if dry => "0".repeat(64),
                None => names::new_id()?,
            };
            let new = !dry && volume(context, &name, anonymous)?;
            Ok(Made { mount: mount(&context.store.volume_data(&name), Some(name.clone())), new })
        }
    }
}

fn bind_source(source: &Path, create: bool) -> Result<()> {
    match source.symlink_metadata() {
        Ok(_) => Ok(()),
        Err(_) if create => std::fs::create_dir_all(source).map_err(Error::io("create", source)),
        Err(_) => Err(Error::NoBindSource(source.to_owned())),
    }
}

/// Whether the volume is new.
fn volume(context: &Context, name: &str, anonymous: bool) -> Result<bool> {
    let record = VolumeRecord {
        name: name.to_owned(),
        created_ns: now_ns(),
        anonymous,
        driver: "local".to_owned(),
        labels: Default::default(),
        options: Default::default(),
    };
    Ok(context.store.create_volume(&record)?.created_ns == record.created_ns)
}
