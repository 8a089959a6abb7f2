//! The tree a container sees, without the container: its layers as a detached overlay, or the root of its process.
//!
//! Law: what is mounted is attached nowhere and ends with its descriptor.

use std::path::Path;

use knarr_monitor::Status;
use knarr_store::RootMounts;
use knarr_sys::Root;
use knarr_sys::mount::MountAttrFlags;
use knarr_sys::overlay::Overlay;

use crate::record::Container;
use crate::{Context, Error, Namespace, Result, rootless};

/// What the container has in its file system, read-only, without what is mounted on it.
pub(crate) fn read_only(context: &Context, container: &Container) -> Result<Root> {
    let mounts = context.store.root_mounts(&container.record.id)?;
    let mut lower = mounts.lower.clone();
    lower.splice(0..0, mounts.upper.clone());
    view(&RootMounts { lower, upper: None, work: None, ..mounts }).map_err(Error::sys("look into the container"))
}

/// Layers as one tree, read-only.
pub(crate) fn view(mounts: &RootMounts) -> knarr_sys::Result<Root> {
    // Overlayfs wants two layers where it has nothing to write to; one alone needs no overlay.
    if let [only] = &mounts.lower[..] {
        return Root::open(&mounts.base.join(only));
    }
    let overlay = Overlay { base: &mounts.base, lower: &mounts.lower, upper: None, userxattr: mounts.userxattr };
    let attributes =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    overlay.mount(attributes).map(Root::from_fd)
}

/// The container's file system for reading and writing: of a running one what its process sees, with its mounts; of one at
/// rest what its layers are.
pub(crate) fn writable(context: &Context, container: &Container) -> Result<Root> {
    if container.state.status == Status::Running {
        return process_root(context, container);
    }
    let mounts = context.store.root_mounts(&container.record.id)?;
    let upper = mounts.upper.as_deref().zip(mounts.work.as_deref());
    let overlay = Overlay { base: &mounts.base, lower: &mounts.lower, upper, userxattr: mounts.userxattr };
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    overlay.mount(attributes).map(Root::from_fd).map_err(Error::sys("look into the container"))
}

fn process_root(context: &Context, container: &Container) -> Result<Root> {
    if context.namespace == Namespace::Outside {
        rootless::join_namespace(container.state.monitor_pid)?;
    }
    let path = format!("/proc/{}/root", container.state.pid);
    Root::open(Path::new(&path)).map_err(Error::sys("look into the container"))
}
