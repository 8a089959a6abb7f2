//! The root file system and what is mounted, made, hidden and sealed in it.
//!
//! Spec: config.md "Root", "Mounts"; config-linux.md "Masked Paths", "Readonly Paths", "Rootfs Mount Propagation".

use std::ffi::CString;
use std::path::{Path, PathBuf};

use knarr_spec::runtime::{Linux, Mount, Process, Spec};

use knarr_sys::InRoot;

use super::mount::bits;
use super::step::{Namespace, OverlayStep, ParentStep, Step};
use super::{Build, device, mount};
use crate::{OverlayRoot, Problem, RootSource};

/// Up to a complete tree that is not yet `/`.
pub(super) fn mounts(build: &mut Build<'_>, spec: &Spec, linux: &Linux, process: &Process) {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    if !build.own(Namespace::Mount) {
        without_mount_namespace(build, linux, !mounts.is_empty());
    } else {
        if build.joins(Namespace::Mount) {
            build.child.push(Step::JoinNamespace(Namespace::Mount));
        }
        let (flags, name) = propagation_before(linux);
        build.child.push(Step::Propagation { flags, name });
        build.propagation = flags;
        root_step(build);
    }
    for (index, entry) in mounts.iter().enumerate() {
        mount::plan(build, index, entry);
    }
    // Without a mount namespace what is made in the root stays there: only a `/dev` that is mounted for it is filled.
    let mounted_dev =
        || mounts.iter().any(|entry| entry.destination().to_str().map(|d| d.trim_matches('/')) == Some("dev"));
    let own_dev = !mounts.iter().any(is_bound_dev) && (build.own(Namespace::Mount) || mounted_dev());
    if own_dev {
        device::plan(build, linux);
    }
    if process.terminal().unwrap_or(false) {
        build.child.push(Step::Terminal { size: size(process), console: own_dev });
    }
    let seals = std::mem::take(&mut build.seals);
    build.child.extend(seals.into_iter().map(Step::Seal));
    working_directory(build, process);
    if build.own(Namespace::Mount) {
        hide(build, linux);
    }
}

pub(super) fn size(process: &Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    let cells = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    (size.height() > 0 && size.width() > 0).then(|| (cells(size.height()), cells(size.width())))
}

fn is_bound_dev(entry: &Mount) -> bool {
    let binds = entry.options().iter().flatten().any(|o| o == "bind" || o == "rbind");
    let binds = binds || entry.typ().as_deref() == Some("bind");
    binds && matches!(entry.destination().to_str().map(|d| d.trim_matches('/')), Some("dev"))
}

/// What is mounted is mounted in the caller's own namespace, and stays when the container is gone, as with runc. All of it is
/// below a mount of the root directory on itself: whoever unmounts that is rid of the rest, and removes no file of the kernel's.
fn without_mount_namespace(build: &mut Build<'_>, linux: &Linux, anything_mounted: bool) {
    if let Some(value) = linux.masked_paths().iter().chain(linux.readonly_paths()).flatten().next().cloned() {
        let at = "linux.maskedPaths, readonlyPaths".into();
        build.problems.push(Problem::Needs { at, value, needs: "a mount namespace" });
    }
    match &build.options.root {
        RootSource::Directory(path) => {
            let path = build.options.bundle.join(path);
            if let Some(path) = build.c_string("root.path", path.as_os_str()) {
                build.child.push(if anything_mounted { Step::DirectoryRoot(path) } else { Step::PlainRoot(path) });
            }
        }
        RootSource::Overlay(overlay) => {
            let value = overlay.base.to_string_lossy().into_owned();
            build.problems.push(Problem::Needs { at: "root".into(), value, needs: "a mount namespace" });
        }
    }
}

/// Nothing mounted from here on may be seen outside; what is mounted outside later may be seen inside, unless it is to be private.
fn propagation_before(linux: &Linux) -> (u64, &'static str) {
    match linux.rootfs_propagation().as_deref() {
        Some("private" | "rprivate") => (bits::MS_PRIVATE, "private"),
        _ => (bits::MS_SLAVE, "slave"),
    }
}

fn root_step(build: &mut Build<'_>) {
    match &build.options.root {
        RootSource::Directory(path) => {
            let path = build.options.bundle.join(path);
            let Some(source) = build.c_string("root.path", path.as_os_str()) else { return };
            if build.opens_outside() {
                let (recursive, follow, ids) = (true, true, None);
                build.child.push(Step::OpenedRoot { path: source.clone(), propagation: build.propagation });
                let open = ParentStep::OpenMount { source, recursive, follow, ids, ids_recursive: false };
                build.before_clone.insert(0, open);
            } else {
                build.child.push(Step::DirectoryRoot(source));
            }
        }
        RootSource::Overlay(overlay) => {
            if let Some(step) = overlay_step(build, overlay) {
                build.child.push(Step::OverlayRoot(Box::new(step)));
            }
        }
    }
}

fn overlay_step(build: &mut Build<'_>, overlay: &OverlayRoot) -> Option<OverlayStep> {
    let at = "root";
    if overlay.lower.is_empty() {
        build.problems.push(Problem::Missing { at: "root.lower".into() });
    }
    let mut flags = Vec::new();
    if overlay.userxattr {
        flags.push((c"userxattr".to_owned(), CString::default()));
    }
    let escaped = |path: &Path| path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    let lower: Vec<_> = overlay.lower.iter().map(|path| escaped(path)).collect();
    let mut old = format!("lowerdir={}", lower.join(":"));
    if let (Some(upper), Some(work)) = (&overlay.upper, &overlay.work) {
        old += &format!(",upperdir={},workdir={}", escaped(upper), escaped(work));
    }
    if overlay.userxattr {
        old += ",userxattr";
    }
    let absolute = |path: &PathBuf| overlay.base.join(path);
    let lower: Vec<_> = overlay.lower.iter().map(absolute).collect();
    let c_path = |build: &mut Build<'_>, path: &Path| build.c_string(at, path.as_os_str());
    Some(OverlayStep {
        base: c_path(build, &overlay.base)?,
        lower: lower.iter().filter_map(|path| c_path(build, path)).collect(),
        upper: overlay.upper.as_ref().map(absolute).and_then(|path| c_path(build, &path)),
        work: overlay.work.as_ref().map(absolute).and_then(|path| c_path(build, &path)),
        flags,
        old_options: build.c_string(at, old.as_ref())?,
    })
}

/// Spec: config.md "cwd": absolute. It is made where it is missing, as runc does.
fn working_directory(build: &mut Build<'_>, process: &Process) {
    if let Some(path) = build.in_root("process.cwd", process.cwd())
        && !path.is_top()
    {
        build.child.push(Step::MakeWorkingDirectory(path));
    }
}

fn hide(build: &mut Build<'_>, linux: &Linux) {
    hide_each(build, "linux.readonlyPaths", linux.readonly_paths(), Step::ReadOnly);
    hide_each(build, "linux.maskedPaths", linux.masked_paths(), Step::Mask);
}

fn hide_each(build: &mut Build<'_>, at: &str, paths: &Option<Vec<String>>, step: fn(InRoot) -> Step) {
    for (index, path) in paths.iter().flatten().enumerate() {
        let at = format!("{at}[{index}]");
        if !path.starts_with('/') {
            build.invalid(&at, path, "must be absolute");
        }
        // One given twice is hidden once.
        let hidden = build.in_root(&at, Path::new(path)).map(step).filter(|step| !build.child.contains(step));
        build.child.extend(hidden);
    }
}

/// From a complete tree to the root of everything the child sees.
pub(super) fn pivot(build: &mut Build<'_>, spec: &Spec, linux: &Linux) {
    build.child.push(match (build.own(Namespace::Mount), build.options.no_pivot) {
        (false, _) => Step::Chroot,
        (true, true) => Step::MoveRoot,
        (true, false) => Step::PivotRoot,
    });
    root_propagation(build, linux);
    if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) && build.own(Namespace::Mount) {
        build.child.push(Step::ReadOnlyRoot);
    }
}

fn root_propagation(build: &mut Build<'_>, linux: &Linux) {
    let Some(name) = linux.rootfs_propagation().clone().filter(|name| !name.is_empty()) else { return };
    let flags = match name.trim_start_matches('r') {
        "shared" => bits::MS_SHARED,
        "slave" => bits::MS_SLAVE,
        "private" => bits::MS_PRIVATE,
        "unbindable" => bits::MS_UNBINDABLE,
        _ => {
            build.invalid("linux.rootfsPropagation", &name, "must be shared, slave, private or unbindable");
            return;
        }
    };
    if build.own(Namespace::Mount) {
        build.child.push(Step::RootPropagation { flags, recursive: name.starts_with('r'), name });
    }
}
