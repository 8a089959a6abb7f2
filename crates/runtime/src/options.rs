//! What the caller of the runtime decides beside the container's configuration.
//!
//! Law: plain data, no handles; it can be written to a file and read back by another process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the container's root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootSource {
    /// A directory; a relative path is seen from the bundle.
    Directory(PathBuf),
    /// An overlay that the container's init mounts in its own mount namespace, so that nothing is left behind by a kill.
    Overlay(OverlayRoot),
}

impl Default for RootSource {
    fn default() -> RootSource {
        RootSource::Directory(PathBuf::from("rootfs"))
    }
}

/// An overlay as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRoot {
    /// The directory relative names in `lower` are seen from; short names let 60 and more layers fit into one page of options
    /// where the kernel is older than 6.5. It must exist: the mount is attached here inside the container's mount namespace.
    pub base: PathBuf,
    /// The layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// Where changes go; without it the overlay is read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<PathBuf>,
    /// The working directory overlayfs wants beside `upper`, on the same file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<PathBuf>,
    /// Use `user.overlay.*` attributes, as layers unpacked without privileges do.
    #[serde(default)]
    pub userxattr: bool,
}

/// Which control group the container joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupChoice {
    /// `linux.cgroupsPath`, or `/knarr/<id>` where it is missing.
    #[default]
    Spec,
    /// The one the caller is in; no limit can be set.
    Caller,
    /// This path, as `linux.cgroupsPath` would say it.
    Path(PathBuf),
    /// The one the caller is in, and limits are left out.
    None,
    /// A unit of systemd; `linux.cgroupsPath` is `slice:prefix:name`.
    Systemd(knarr_cgroup::Bus),
}

/// Where the init waits between create and start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// On a socket to the process that created it, opened by [`Created::start`](crate::Created::start).
    #[default]
    Creator,
    /// On a socket bound at this path, opened by whoever calls [`start_at`](crate::start_at).
    Socket(PathBuf),
}

/// What the caller decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateOptions {
    /// The container's id: letters, digits and `_+-.`, as runc takes it.
    pub id: String,
    /// The bundle directory, absolute.
    pub bundle: PathBuf,
    /// The root file system; it takes the place of `root.path`.
    pub root: RootSource,
    /// The control group.
    pub cgroup: CgroupChoice,
    /// Go on where the control group cannot be made and no limit needs it (`true`), or never (`false`); without it as the document and
    /// our privileges suggest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootless: Option<bool>,
    /// Make the control group in every hierarchy of version 1, not only where a limit needs it: all counters then count, and
    /// the container sees every controller, for some milliseconds more.
    pub all_controllers: bool,
    /// Kill the container when the process that creates it dies.
    pub pdeathsig: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Use `chroot` on a moved mount where `pivot_root` is impossible (the caller's root is the initial ramdisk).
    pub no_pivot: bool,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// How many more of them are sockets handed over by `LISTEN_FDS`; they come first and are named in the environment.
    pub listen_fds: u32,
    /// `LISTEN_FDNAMES` for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_names: Option<String>,
    /// Where the init waits.
    pub gate: Gate,
}
