//! `system df`: what takes how much room. All lines together are what `du` says of the state directory.

use knarr_store::{ImageUsage, tree_bytes};

use crate::{Container, Context, ImageRecord, Result, container};

/// One line of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many there are.
    pub total: usize,
    /// How many of them are in use.
    pub active: usize,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes that removing the unused ones would give back.
    pub reclaimable_bytes: u64,
}

/// A volume with what it takes.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// How many containers use it.
    pub links: usize,
    /// Bytes.
    pub bytes: u64,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    /// Images; a layer that several share is counted once.
    pub images: Usage,
    /// What containers wrote.
    pub containers: Usage,
    /// Volumes.
    pub volumes: Usage,
    /// The database, unfinished downloads, logs and bundles.
    pub other: Usage,
    /// Each image with its bytes and how many containers it has.
    pub each_image: Vec<(ImageRecord, ImageUsage, usize)>,
    /// Each container with what it wrote.
    pub each_container: Vec<(Container, u64)>,
    /// Each volume.
    pub each_volume: Vec<VolumeUsage>,
}

/// Adds it up.
pub fn disk_usage(context: &Context) -> Result<DiskUsage> {
    let bytes = context.store.disk_usage()?;
    let images = Usage {
        total: bytes.images.len(),
        active: bytes.images.iter().filter(|image| image.used).count(),
        bytes: bytes.layer_bytes + bytes.blob_bytes,
        reclaimable_bytes: bytes.reclaimable_bytes,
    };
    let mut usage = DiskUsage { images, ..DiskUsage::default() };
    for container in container::list(context)? {
        let running = container.state.status == knarr_monitor::Status::Running;
        let own = bytes.snapshots.get(&container.record.id).copied();
        add(&mut usage.containers, own, running);
        usage.each_container.push((container, own.unwrap_or(0)));
    }
    for volume in context.store.volumes()? {
        let links = context.store.volume_users(&volume.name)?.len();
        let own = bytes.volumes.get(&volume.name).copied();
        add(&mut usage.volumes, own, links > 0);
        usage.each_volume.push(VolumeUsage { name: volume.name, links, bytes: own.unwrap_or(0) });
    }
    for image in context.store.images()? {
        let Some(own) = bytes.images.iter().find(|own| own.id == image.id).cloned() else { continue };
        let of_it = |(container, _): &&(Container, u64)| container.record.image_id.as_ref() == Some(&image.id);
        let containers = usage.each_container.iter().filter(of_it).count();
        usage.each_image.push((image, own, containers));
    }
    // What has no record any more, and what the engine keeps of containers, is neither.
    let strays = bytes.total_bytes() - usage.images.bytes - usage.containers.bytes - usage.volumes.bytes;
    usage.other.bytes = strays + tree_bytes(&context.paths.state.join("containers"))?;
    usage.other.reclaimable_bytes = bytes.partial_bytes;
    Ok(usage)
}

/// What the container wrote into its file system.
pub fn container_bytes(context: &Context, id: &str) -> Result<u64> {
    let mounts = context.store.root_mounts(id)?;
    Ok(mounts.upper.map(|upper| tree_bytes(&mounts.base.join(upper))).transpose()?.unwrap_or(0))
}

fn add(usage: &mut Usage, bytes: Option<u64>, active: bool) {
    let bytes = bytes.unwrap_or(0);
    usage.total += 1;
    usage.active += usize::from(active);
    usage.bytes += bytes;
    usage.reclaimable_bytes += if active { 0 } else { bytes };
}
