//! `create`: from a wish to a recorded container that has never run.

use std::path::PathBuf;

use knarr_spec::image::ContainerConfig;
use knarr_store::{ContainerRecord, Durability, ImageRecord, RootMounts};

use super::{bundle, facts, mounts, names, populate, users};
use crate::clock::now_ns;
use crate::image::pull::Pulls;
use crate::policy::{self, Basis, ResolvedMount};
use crate::record::{Effective, Options, RECORD_VERSION};
use crate::wanted::{MountKind, Wanted, apply_env, parse_signal};
use crate::{Context, Error, Result, resolve};

/// Docker's.
const STOP_TIMEOUT_S: u32 = 10;
const STOP_SIGNAL: i32 = 15;
/// How many invented names may be taken before it is no accident any more.
const NAME_ATTEMPTS_MAX: u32 = 16;

/// Creates a container.
pub fn create(context: &Context, wanted: Wanted, pulls: &dyn Pulls) -> Result<ContainerRecord> {
    if let Some(path) = wanted.cidfile.as_ref().filter(|path| path.exists()) {
        return Err(Error::CidFileExists(path.clone()));
    }
    let image = resolve::image(context, &wanted.image, wanted.pull, wanted.platform.as_deref(), pulls)?;
    let id = names::new_id()?;
    let record = build(context, wanted, &image, &id);
    if record.is_err() {
        discard(context, &id);
    }
    record
}

/// What a failed container leaves, as far as it is there. Errors are the garbage collector's to see.
pub(super) fn discard(context: &Context, id: &str) {
    let _ = context.store.remove_container(id);
    let _ = std::fs::remove_dir_all(context.paths.container_run(id));
    let _ = std::fs::remove_dir_all(context.paths.container(id));
}

/// The record comes before the snapshot, which would be garbage without it.
fn build(context: &Context, wanted: Wanted, image: &ImageRecord, id: &str) -> Result<ContainerRecord> {
    let view = context.store.image_mounts(image)?;
    let draft = draft(context, wanted, image, id, &view, false)?;
    let record = insert(context, &draft.options, image, id)?;
    let root = context.store.snapshot(id, image)?;
    let dir = context.paths.container(id);
    bundle::make_dir(&dir)?;
    bundle::write_config(&dir, &draft.spec)?;
    bundle::monitor_config(context, id, &draft.options, root, draft.no_cgroup).save(&dir)?;
    populate::new_volumes(context, &view, &draft.new_volumes)?;
    if let Some(path) = &draft.options.wanted.cidfile {
        std::fs::write(path, id).map_err(Error::io("write", path))?;
    }
    Ok(record)
}

/// A container decided on, not recorded yet.
pub(super) struct Draft {
    pub spec: knarr_spec::runtime::Spec,
    pub options: Options,
    /// It stays in our control group.
    pub no_cgroup: bool,
    /// Volumes to fill with what the image has at their place.
    pub new_volumes: Vec<ResolvedMount>,
}

pub(super) fn draft(
    context: &Context,
    wanted: Wanted,
    image: &ImageRecord,
    id: &str,
    root: &RootMounts,
    dry: bool,
) -> Result<Draft> {
    let config = &image.config.config;
    let user_text = wanted.user.clone().unwrap_or_else(|| config.user.clone());
    let user = users::in_layers(root, &user_text, &wanted.group_add)?;
    let host = facts::host_facts(context, &wanted);
    let devices = facts::devices(&wanted.devices)?;
    let mut all = wanted.mounts.clone();
    all.extend(policy::image_volumes(config, &wanted.mounts));
    let made = mounts::make(context, &all, dry)?;
    let resolved: Vec<ResolvedMount> = made.iter().map(|made| made.mount.clone()).collect();
    let basis = Basis {
        id,
        dir: context.paths.container(id),
        wanted: &wanted,
        image: config,
        host: &host,
        user: &user,
        mounts: &resolved,
        devices: &devices,
        init_binary: wanted.init.then(our_binary).transpose()?,
    };
    let spec = policy::spec(&basis)?;
    let effective = effective(&basis, user_text)?;
    let copies = |kind: &MountKind| matches!(kind, MountKind::Volume { nocopy: false, .. });
    let new_volumes =
        made.into_iter().filter(|made| made.new && copies(&made.mount.kind)).map(|made| made.mount).collect();
    let platform = image.config.platform.to_string();
    let options = Options { version: RECORD_VERSION, wanted, effective, mounts: resolved, platform };
    Ok(Draft { spec, options, no_cgroup: host.no_cgroup, new_volumes })
}

fn our_binary() -> Result<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    std::fs::read_link(&link).map_err(Error::io("read", &link))
}

fn effective(basis: &Basis, user: String) -> Result<Effective> {
    let (wanted, image) = (basis.wanted, basis.image);
    let signal = wanted.stop_signal.as_deref().or(image.stop_signal.as_deref());
    let mut labels = image.labels.clone();
    labels.extend(wanted.labels.clone());
    Ok(Effective {
        args: policy::command(wanted, image)?,
        entrypoint: wanted.entrypoint.clone().or_else(|| image.entrypoint.clone()).filter(|words| !words.is_empty()),
        cmd: cmd(wanted, image),
        env: apply_env(&apply_env(&[policy::DEFAULT_PATH.to_owned()], &image.env), &wanted.env),
        working_dir: wanted.workdir.clone().unwrap_or_else(|| image.working_dir.clone()),
        user,
        hostname: policy::hostname(basis),
        labels,
        stop_signal: signal.map(|text| parse_signal("stop-signal", text)).transpose()?.unwrap_or(STOP_SIGNAL),
        stop_timeout_s: wanted.stop_timeout_s.or(image.stop_timeout).unwrap_or(STOP_TIMEOUT_S),
        exposed_ports: image.exposed_ports.keys().cloned().collect(),
        volumes: image.volumes.keys().cloned().collect(),
    })
}

fn cmd(wanted: &Wanted, image: &ContainerConfig) -> Option<Vec<String>> {
    match (wanted.command.is_empty(), &wanted.entrypoint) {
        (false, _) => Some(wanted.command.clone()),
        (true, None) => image.cmd.clone(),
        (true, Some(entrypoint)) if entrypoint.is_empty() => image.cmd.clone(),
        (true, Some(_)) => None,
    }
}

/// Records it, under the wanted name or one that is free.
fn insert(context: &Context, options: &Options, image: &ImageRecord, id: &str) -> Result<ContainerRecord> {
    // A container that goes away at its end is not worth an fsync.
    let durability = if options.wanted.auto_remove { Durability::Normal } else { Durability::Full };
    let mut record = ContainerRecord {
        id: id.to_owned(),
        name: options.wanted.name.clone().unwrap_or_default(),
        image_id: Some(image.id.clone()),
        image_name: options.wanted.image.clone(),
        created_ns: now_ns(),
        command: options.effective.args.clone(),
        labels: options.effective.labels.clone(),
        volumes: options.mounts.iter().filter_map(|mount| mount.volume.clone()).collect(),
        options: serde_json::to_value(options).map_err(|source| Error::Record { id: id.to_owned(), source })?,
    };
    let mut attempt = 0;
    loop {
        if options.wanted.name.is_none() {
            record.name = names::invent(id, attempt);
        }
        match context.store.insert_container(&record, durability) {
            Ok(()) => return Ok(record),
            Err(knarr_store::Error::ContainerNameInUse { .. })
                if options.wanted.name.is_none() && attempt < NAME_ATTEMPTS_MAX =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
