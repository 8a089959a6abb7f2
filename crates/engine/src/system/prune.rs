//! `system prune`: containers at rest, volumes if asked, images, and what nobody needs any more.

use std::collections::BTreeSet;

use knarr_monitor::Status;
use knarr_spec::Digest;
use knarr_store::Collected;
use knarr_store::gc::{Doomed, Policy, PruneImages};

use crate::container::{self, remove};
use crate::image::df::container_bytes;
use crate::{Context, ImageRecord, Result};

/// What may go.
#[derive(Debug, Clone, Default)]
pub struct PruneWanted {
    /// Every image without a container, not only those without a name.
    pub all_images: bool,
    /// Volumes that nobody named and no container uses.
    pub volumes: bool,
    /// Only what was made before this moment, in nanoseconds since 1970.
    pub before_ns: Option<u64>,
    /// Only what has these labels (`name` or `name=value`), and not those.
    pub labels: Labels,
}

/// Conditions on labels.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    /// `label=…`, each of them.
    pub with: Vec<String>,
    /// `label!=…`, none of them.
    pub without: Vec<String>,
}

impl Labels {
    /// Whether something with these labels is meant.
    pub fn fit(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        let has = |text: &String| match text.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|label| label == value),
            None => labels.contains_key(text),
        };
        self.with.iter().all(has) && !self.without.iter().any(has)
    }
}

/// What went.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Ids of containers.
    pub containers: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Images, as they were.
    pub images: Vec<ImageRecord>,
    /// Bytes given back.
    pub bytes: u64,
    /// What could not be removed.
    pub problems: Vec<String>,
}

/// Removes what is wanted gone.
pub fn prune(context: &Context, wanted: &PruneWanted) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    prune_containers(context, wanted, &mut pruned)?;
    if wanted.volumes {
        prune_volumes(context, wanted, &mut pruned)?;
    }
    prune_images(context, wanted, &mut pruned)?;
    Ok(pruned)
}

/// Containers at rest, and what removals that were killed left of others.
pub fn prune_containers(context: &Context, wanted: &PruneWanted, pruned: &mut Pruned) -> Result<()> {
    match remove::strays(context) {
        Ok(bytes) => pruned.bytes += bytes,
        Err(error) => pruned.problems.push(error.to_string()),
    }
    for found in container::list(context)?.iter().filter(|found| found.state.status != Status::Running) {
        let made_ns = u64::try_from(found.record.created_ns).unwrap_or(0);
        if wanted.before_ns.is_some_and(|before| made_ns >= before) || !wanted.labels.fit(&found.record.labels) {
            continue;
        }
        let id = &found.record.id;
        let bytes = container_bytes(context, id).unwrap_or(0);
        match remove::remove(context, id, remove::RemoveOptions::default()) {
            Ok(()) => {
                pruned.containers.push(id.clone());
                pruned.bytes += bytes;
            }
            Err(error) => pruned.problems.push(error.to_string()),
        }
    }
    Ok(())
}

fn prune_volumes(context: &Context, wanted: &PruneWanted, pruned: &mut Pruned) -> Result<()> {
    for volume in context.store.volumes()?.into_iter().filter(|volume| volume.anonymous) {
        if !context.store.volume_users(&volume.name)?.is_empty() || !wanted.labels.fit(&volume.labels) {
            continue;
        }
        let bytes = knarr_store::tree_bytes(&context.store.volume_data(&volume.name)).unwrap_or(0);
        match context.store.remove_volume(&volume.name) {
            Ok(()) => {
                pruned.volumes.push(volume.name);
                pruned.bytes += bytes;
            }
            Err(error) => pruned.problems.push(error.to_string()),
        }
    }
    Ok(())
}

/// Images, and what no image needs any more.
pub fn prune_images(context: &Context, wanted: &PruneWanted, pruned: &mut Pruned) -> Result<()> {
    let images = if wanted.all_images { PruneImages::Unused } else { PruneImages::Dangling };
    let here = context.store.images()?;
    let stays = |image: &&ImageRecord| {
        let young = wanted.before_ns.is_some_and(|before| made_ns(image) >= before);
        young || !wanted.labels.fit(&image.config.config.labels)
    };
    let keep_images: BTreeSet<Digest> = here.iter().filter(stays).map(|image| image.id.clone()).collect();
    let collected: Collected = context.store.collect(&Policy { images, keep_images, ..Policy::default() })?;
    pruned.bytes += collected.bytes;
    pruned.problems.extend(collected.problems.iter().map(ToString::to_string));
    for (doomed, _) in collected.removed {
        if let Doomed::Image(id) = doomed {
            pruned.images.extend(here.iter().find(|image| image.id == id).cloned());
        }
    }
    Ok(())
}

/// When an image was made, by its config; where that says nothing, when it was stored.
fn made_ns(image: &ImageRecord) -> u64 {
    let made = image.created.as_deref().and_then(knarr_monitor::time::parse_rfc3339);
    made.unwrap_or_else(|| u64::try_from(image.stored_ns).unwrap_or(0))
}
