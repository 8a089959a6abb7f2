//! `commit`: what a container wrote becomes a layer of a new image.
//!
//! Spec: docker's: the image's config is the container's, with the changes asked for; a container that wrote nothing adds a
//! step to the history and no layer. Law: the container stands still meanwhile, unless asked otherwise; volumes are not in it.

use knarr_layer::{PackOptions, diff};
use knarr_monitor::Status;
use knarr_spec::image::{ContainerConfig, Empty, History};
use knarr_spec::{Platform, Reference};
use knarr_store::ImageRecord;

use super::diff::{layers, made_for_mounts};
use super::find;
use crate::image::compose::Draft;
use crate::image::pull::unpack_options;
use crate::image::shelf::{Local, add_layer};
use crate::image::{budget, change};
use crate::record::{Container, Options};
use crate::{Context, Error, Result};

/// How to commit.
#[derive(Debug, Clone, Default)]
pub struct CommitWanted {
    /// Whose work it is.
    pub author: Option<String>,
    /// A remark for the history.
    pub message: Option<String>,
    /// Changes in Dockerfile words.
    pub changes: Vec<String>,
    /// Do not stop the container's processes meanwhile.
    pub running: bool,
    /// The new image's name.
    pub name: Option<Reference>,
}

/// Makes the image.
pub fn commit(context: &Context, text: &str, wanted: &CommitWanted) -> Result<ImageRecord> {
    let container = find(context, text)?;
    let (record, options) = (&container.record, &container.options);
    let mounts = context.store.root_mounts(&record.id)?;
    let shelf = Local(context);
    let mut draft = match &record.image_id {
        Some(id) => {
            let picked = shelf.documents(&context.store.resolve_image(id.as_str())?)?;
            Draft::of(&picked.manifest, &picked.config)
        }
        None => Draft::scratch(Platform::host()),
    };
    draft.manifest.annotations.clear();
    draft.manifest.subject = None;
    draft.config.config = config_of(options, &draft.config.config);
    change::apply(&mut draft.config.config, &wanted.changes)?;
    let layer = {
        let _still = if wanted.running { None } else { stand_still(&container)? };
        let (upper, lower) = layers(&mounts)?;
        let ids = unpack_options(context).ids;
        let leave_out = made_for_mounts(&upper, &lower)?;
        let pack = PackOptions { ids, leave_out, ..PackOptions::default() };
        add_layer(&shelf, &pack, |out, pack| diff(&upper, &lower, out, pack))?
    };
    let now = crate::clock::now_text();
    draft.config.created = Some(now.clone());
    draft.config.author = wanted.author.clone().or(draft.config.author);
    let history = History {
        created: Some(now),
        created_by: Some(options.effective.cmd.clone().unwrap_or_default().join(" ")),
        author: wanted.author.clone(),
        comment: wanted.message.clone(),
        empty_layer: false,
    };
    let (layer, packed) = layer;
    draft.push((packed.entries > 0).then_some(layer), history);
    let (manifest, config) = draft.seal();
    let image = shelf.store(manifest, config, wanted.name.clone().into_iter().collect())?;
    budget::keep(context, &[&image]);
    Ok(image)
}

/// The container's own config as an image's.
fn config_of(options: &Options, image: &ContainerConfig) -> ContainerConfig {
    let effective = &options.effective;
    let set = |names: &[String]| names.iter().map(|name| (name.clone(), Empty {})).collect();
    ContainerConfig {
        user: effective.user.clone(),
        exposed_ports: set(&effective.exposed_ports),
        env: effective.env.clone(),
        entrypoint: effective.entrypoint.clone(),
        cmd: effective.cmd.clone(),
        volumes: set(&effective.volumes),
        working_dir: effective.working_dir.clone(),
        labels: effective.labels.clone(),
        stop_signal: options.wanted.stop_signal.clone().or_else(|| image.stop_signal.clone()),
        stop_timeout: options.wanted.stop_timeout_s.or(image.stop_timeout),
        ..image.clone()
    }
}

/// A container whose processes do not run until this is dropped.
struct Still<'c>(&'c knarr_cgroup::Cgroup);

impl Drop for Still<'_> {
    fn drop(&mut self) {
        let _ = self.0.thaw();
    }
}

/// Stops the processes of a running container where it has a control group that can.
fn stand_still(container: &Container) -> Result<Option<Still<'_>>> {
    let running = container.state.status == Status::Running;
    let Some(cgroup) = container.state.cgroup.as_ref().filter(|_| running) else { return Ok(None) };
    if cgroup.frozen().unwrap_or(true) {
        return Ok(None);
    }
    cgroup.freeze().map_err(|source| Error::Freeze { name: container.record.name.clone(), source })?;
    Ok(Some(Still(cgroup)))
}
