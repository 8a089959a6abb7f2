//! `checkpoint`: the container as images, and then gone, unless it is to go on.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    os::unix::fs::MetadataExt,
    path::Path,
};

use knarr_cgroup::Cgroup;
use knarr_spec::runtime::{LinuxNamespaceType, Spec};
use knarr_sys::{InRoot, Root};

use super::super::{
    commands::{Context, Done},
    container::{Container, Status},
    delete,
    failure::{At, Failure},
    kill, log,
};
use super::options::{self, Places, field};
use super::protobuf::Message;
use super::service::{self, Request, Service};
use crate::plan::mount::MountKind;
use crate::{Host, Plan, Step, plan};

const LOG: &str = "dump.log";
/// What the standard descriptors were, for `restore`.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";
const LINK_REMAP: u64 = 18;

pub(crate) fn checkpoint(context: &mut Context<'_>) -> Result<Done, Failure> {
    let container = Container::of(context)?;
    match container.status() {
        status @ (Status::Created | Status::Stopped) => return Err(Failure::CheckpointState(status.name())),
        Status::Running | Status::Paused => {}
    }
    if knarr_sys::credentials::effective_user() != 0 {
        log::warning(context.globals, "checkpoint is untested with rootless containers");
    }
    let program = service::program(context.globals.criu.as_deref());
    service::version(&program)?;
    let places = Places::open(context)?;
    let spec = container.spec()?;
    let pre_dump = context.given.has("pre-dump");
    let mut options = dump_options(context, &container, &spec, &places)?;
    if !pre_dump {
        external(&mut options, &container, &spec)?;
        let plan = plan(&spec, &Host::probe(), &container.record.options).map_err(crate::Error::from)?;
        for (destination, _) in cgroup_mounts(&plan, container.record.cgroup.as_ref()) {
            options::external_mount(&mut options, &destination, &destination);
        }
        descriptors(&container, &places)?;
    }
    let status_fd = status_fd(context)?;
    let inherited: Vec<&dyn std::os::fd::AsFd> = [Some(&places.images_fd), places.work_fd.as_ref()]
        .into_iter()
        .flatten()
        .map(|file| file as &dyn std::os::fd::AsFd)
        .collect();
    let request = if pre_dump { Request::PreDump } else { Request::Dump };
    let dumped = Service::start(&program, &inherited)?.ask(request, Some(&options), |notice| {
        if let ("status-ready", Some(mut file)) = (notice.script.as_str(), status_fd.as_ref()) {
            let _ = file.write_all(b"\0");
        }
        Ok(())
    });
    dumped.map_err(|failure| service::with_log(failure, &places.work, LOG))?;
    if !pre_dump && !context.given.has("leave-running") {
        kill::all(&container)?;
        delete::destroy(context.globals, &container)?;
    }
    Ok(Done::Quiet)
}

fn dump_options(
    context: &Context<'_>,
    container: &Container,
    spec: &Spec,
    places: &Places,
) -> Result<Message, Failure> {
    let record = &container.record;
    let mut options = options::common(context, places, LOG)?;
    options.text(field::ROOT, &record.rootfs.to_string_lossy()).number(field::PID, record.pid.into());
    options.flag(field::LEAVE_RUNNING, context.given.has("leave-running"));
    options.flag(LINK_REMAP, context.given.has("link-remap"));
    options::config_file(&mut options, record.annotations.get("org.criu.config"));
    for (kind, name, key) in EXTERNAL_NAMESPACES {
        if let Some(path) = namespace_path(spec, kind) {
            let inode = fs::metadata(&path).at("look at the namespace", &path)?.ino();
            options.text(field::EXTERNAL, &format!("{name}[{inode}]:{key}"));
        }
    }
    let cgroup = record.cgroup.as_ref();
    if let Some(freezer) = cgroup.and_then(|cgroup| cgroup.directory("freezer").or(cgroup.v2())) {
        options.text(field::FREEZE_CGROUP, &freezer.path.to_string_lossy());
    }
    if let Some(server) = context.given.value("page-server").filter(|server| !server.is_empty()) {
        let wants = "ADDRESS:PORT";
        let address: SocketAddr =
            server.parse().map_err(|_| Failure::Value { flag: "page-server", value: server.into(), wants })?;
        let mut message = Message::default();
        message.text(1, &address.ip().to_string()).number(2, address.port().into());
        options.message(field::PAGE_SERVER, &message);
    }
    if let Some(parent) = &places.parent {
        options.text(field::PARENT_IMG, parent).flag(field::TRACK_MEM, true);
    }
    Ok(options)
}

/// Namespaces that exist without the container, criu's name for them, and the key `restore` gives them back by.
pub(crate) const EXTERNAL_NAMESPACES: [(LinuxNamespaceType, &str, &str); 2] =
    [(LinuxNamespaceType::Network, "net", "extRootNetNS"), (LinuxNamespaceType::Pid, "pid", "extRootPidNS")];

pub(crate) fn namespace_path(spec: &Spec, kind: LinuxNamespaceType) -> Option<std::path::PathBuf> {
    let all = spec.linux().as_ref()?.namespaces().as_ref()?;
    all.iter().find(|namespace| namespace.typ() == kind)?.path().clone().filter(|path| !path.as_os_str().is_empty())
}

/// What was bound from outside is not dumped, only named.
fn external(options: &mut Message, container: &Container, spec: &Spec) -> Result<(), Failure> {
    for (destination, _) in binds(spec) {
        let destination = mounted_at(&container.record.rootfs, destination);
        options::external_mount(options, &destination, &destination);
    }
    let linux = spec.linux().as_ref();
    for path in linux.and_then(|linux| linux.masked_paths().as_ref()).into_iter().flatten() {
        let inside =
            Path::new("/proc").join(container.record.pid.to_string()).join("root").join(path.trim_start_matches('/'));
        if fs::metadata(inside).is_ok_and(|found| !found.is_dir()) {
            options::external_mount(options, path, "/dev/null");
        }
    }
    for device in linux.and_then(|linux| linux.devices().as_ref()).into_iter().flatten() {
        let path = device.path().to_string_lossy();
        options::external_mount(options, &path, &path);
    }
    Ok(())
}

/// The hierarchies of version 1 as a container without a namespace of control groups sees them, each from its own group on: where, and
/// that group. To criu they are parts of file systems whose whole the container does not have.
pub(crate) fn cgroup_mounts(plan: &Plan, cgroup: Option<&Cgroup>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for step in &plan.child {
        let Step::Mount(mount) = step else { continue };
        let MountKind::Cgroups { hierarchies, namespace: false, .. } = &mount.kind else { continue };
        for name in hierarchies.iter().map(|hierarchy| hierarchy.name.to_string_lossy()) {
            let own = |directory: &knarr_cgroup::Directory| {
                let controllers = directory.controllers.join(",");
                controllers.strip_prefix("name=").unwrap_or(&controllers) == name.as_ref()
            };
            let found = cgroup.and_then(|cgroup| cgroup.directories.iter().find(|directory| own(directory)));
            all.extend(found.map(|own| (format!("/{}/{name}", mount.target), own.path.to_string_lossy().into_owned())));
        }
    }
    all
}

/// The bind mounts: where, and from where.
pub(crate) fn binds(spec: &Spec) -> Vec<(String, String)> {
    let mounts = spec.mounts().iter().flatten().filter(|mount| {
        let by_option = mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
        let remount = mount.options().iter().flatten().any(|option| option == "remount");
        !remount && (by_option || mount.typ().as_deref() == Some("bind"))
    });
    let text = |path: &Path| path.to_string_lossy().into_owned();
    mounts
        .map(|mount| {
            let destination = Path::new("/").join(mount.destination());
            (text(&destination), mount.source().as_deref().map(text).unwrap_or_default())
        })
        .collect()
}

/// Where a mount stands whose place is, or leads through, a symbolic link of the root directory. criu knows mounts by that.
pub(crate) fn mounted_at(rootfs: &Path, destination: String) -> String {
    let resolved = || {
        let root = Root::open(rootfs).ok()?;
        let file = root.open_path(&InRoot::parse(&destination).ok()?).ok()?;
        let link = |fd: &dyn AsRawFd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
        let inside = link(&file)?.strip_prefix(link(&root.as_fd())?).ok()?.to_string_lossy().into_owned();
        Some(format!("/{inside}"))
    };
    resolved().unwrap_or(destination)
}

/// `["/dev/null", "pipe:[17]", …]`
fn descriptors(container: &Container, places: &Places) -> Result<(), Failure> {
    let link = |number: u32| {
        let link = fs::read_link(format!("/proc/{}/fd/{number}", container.record.pid));
        link.map(|to| to.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let path = places.images.join(DESCRIPTORS);
    let text = serde_json::to_vec(&[link(0), link(1), link(2)]).expect("texts");
    fs::write(&path, text).at("write", path)
}

/// `--status-fd`: told when the pages can be had; only with `--lazy-pages`.
fn status_fd(context: &Context<'_>) -> Result<Option<fs::File>, Failure> {
    let Some(number) = context.given.number::<i32>("status-fd")?.filter(|fd| *fd >= 0) else { return Ok(None) };
    if !context.given.has("lazy-pages") {
        return Ok(None);
    }
    let path = format!("/proc/self/fd/{number}");
    fs::OpenOptions::new().write(true).open(&path).at("invalid --status-fd argument:", path).map(Some)
}
