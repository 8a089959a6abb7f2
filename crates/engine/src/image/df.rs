//! `system df`: what takes how much room.

use knarr_store::tree_bytes;

use crate::{Context, Result, container};

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

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images; a layer that several share is counted once.
    pub images: Usage,
    /// What containers wrote.
    pub containers: Usage,
    /// Volumes.
    pub volumes: Usage,
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
        add(&mut usage.containers, bytes.snapshots.get(&container.record.id).copied(), running);
    }
    for volume in context.store.volumes()? {
        let used = !context.store.volume_users(&volume.name)?.is_empty();
        add(&mut usage.volumes, bytes.volumes.get(&volume.name).copied(), used);
    }
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
