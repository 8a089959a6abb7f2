//! What to do about a step that failed.

use knarr_sys::Errno;

use crate::plan::Step;
use crate::plan::mount::MountKind;

pub(crate) fn hint(step: &Step, errno: Errno) -> Option<&'static str> {
    match (step, errno) {
        (Step::Mount(mount), Errno::NOENT) if matches!(mount.kind, MountKind::Bind { .. }) => {
            Some("make the source of the mount first")
        }
        (Step::Mount(mount), Errno::NODEV) if matches!(mount.kind, MountKind::FileSystem { .. }) => {
            Some("the kernel does not know this file system; is its module loaded?")
        }
        (Step::Mount(_) | Step::OverlayRoot(_), Errno::PERM) => {
            Some("in a user namespace only some file systems can be mounted, and none with more rights than outside")
        }
        (Step::Limit { .. }, Errno::PERM) => Some("a hard limit can be raised only with CAP_SYS_RESOURCE"),
        (Step::Scheduler(attr), Errno::PERM) if attr.policy == DEADLINE => {
            Some("it needs every processor: process scheduler can't be used together with AllowedCPUs (cpu.cpus)")
        }
        (Step::OverlayRoot(_), Errno::STALE | Errno::BUSY) => {
            Some("another mount uses the same upper or work directory")
        }
        (Step::Terminal { .. }, Errno::NOENT) => Some("a terminal needs a devpts mounted on /dev/pts"),
        (Step::PivotRoot, Errno::INVAL) => Some("where / is the initial ramdisk, no_pivot is needed"),
        (Step::Device(_), Errno::PERM) => Some("device nodes cannot be made in a user namespace"),
        _ => None,
    }
}

/// `SCHED_DEADLINE`.
const DEADLINE: u32 = 6;
