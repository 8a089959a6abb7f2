//! `restore`: a container from its images.
//!
//! criu wants the root to be a mount of its own. It is made in a mount namespace of this process, which criu inherits and the machine
//! never sees.

use std::{
    ffi::CString,
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use knarr_cgroup::{Cgroup, CreateOptions, Layout};
use knarr_spec::runtime::{LinuxNamespaceType, Spec};
use knarr_sys::{
    InRoot, Mode, OFlags, Root, mount, pidfd,
    setns::{flag, unshare},
};

use super::super::{
    attend::Attendant,
    commands::{Context, Done},
    console::hand_over,
    container::{Container, make_directory, read_spec, record, ticks_if_alive},
    create::{cgroup, write_pid},
    delete,
    failure::{At, Failure},
    log, time,
};
use super::checkpoint::{DESCRIPTORS, EXTERNAL_NAMESPACES, binds, cgroup_mounts, mounted_at, namespace_path};
use super::options::{self, Places, field};
use super::protobuf::Message;
use super::service::{self, Notice, Request, Service};
use crate::plan::ParentStep;
use crate::{Host, RootSource, Running, plan, run_hooks};

const LOG: &str = "restore.log";
const MS_REC: u64 = 0x4000;
const MS_BIND: u64 = 0x1000;
const MS_SLAVE: u64 = 1 << 19;

pub(crate) fn restore(context: &mut Context<'_>) -> Result<Done, Failure> {
    let program = service::program(context.globals.criu.as_deref());
    service::version(&program)?;
    // Before anything is opened: criu mounts beside the images, which it cannot on a mount of another namespace.
    let alone = unshare(flag::MOUNT).and_then(|()| mount::mount(None, c"/", None, MS_SLAVE | MS_REC, None));
    alone.map_err(|errno| knarr_sys::Error::new("unshare(CLONE_NEWNS)", errno))?;
    let places = Places::open(context)?;
    let detached = context.given.has("detach");
    let id = context.id()?.to_owned();
    let bundle = context.path(context.given.value("bundle").unwrap_or(""));
    let bundle = fs::canonicalize(&bundle).at("open bundle", &bundle)?;
    let (read, bytes) = read_spec(&bundle.join("config.json"))?;
    read.warnings.iter().for_each(|text| log::warning(context.globals, text));
    let spec = read.document;
    let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    match (detached && terminal, context.given.value("console-socket")) {
        (true, None) => return Err(Failure::NoConsoleSocket),
        (false, Some(_)) => return Err(Failure::NeedlessConsoleSocket),
        _ => {}
    }
    let attendant = if detached { None } else { Some(Attendant::new()?) };
    let root = spec.root().as_ref().map_or("rootfs".into(), |root| root.path().clone());
    let options = crate::CreateOptions {
        id: id.clone(),
        bundle: bundle.clone(),
        root: RootSource::Directory(root.clone()),
        cgroup: cgroup(context)?,
        rootless: context.globals.rootless,
        all_controllers: true,
        ..crate::CreateOptions::default()
    };
    let directory = make_directory(&context.globals.root, &id)?;
    let record = record(&spec, &options, bundle.join(&root), time::now());
    let mut back = Restored { container: Container { directory, record }, spec, console: None };
    match back.run(context, &program, &places, &bytes) {
        Ok(()) => {}
        Err(failure) => {
            back.undo();
            return Err(service::with_log(failure, &places.work, LOG));
        }
    }
    let pid = back.container.record.pid;
    if let Some(path) = context.given.value("pid-file") {
        write_pid(&context.path(path), pid)?;
    }
    if let (Some(socket), Some(master)) = (context.given.value("console-socket"), &back.console) {
        hand_over(&context.path(socket), master.as_fd(), "/dev/ptmx")?;
    }
    let Some(attendant) = attendant else { return Ok(Done::Quiet) };
    let running = Running { pid, pidfd: pidfd::open(pid)?, console: None, cgroup: None };
    let exit = attendant.attend(&running, back.console.take())?;
    delete::destroy(context.globals, &back.container)?;
    Ok(Done::Exit(exit.shell_code() as u8))
}

/// A container on its way back.
struct Restored {
    container: Container,
    spec: Spec,
    console: Option<OwnedFd>,
}

impl Restored {
    fn run(&mut self, context: &Context<'_>, program: &Path, places: &Places, bytes: &[u8]) -> Result<(), Failure> {
        let config = self.container.directory.join("config.json");
        fs::write(&config, bytes).at("write", &config)?;
        let root = self.mount_root()?;
        let record = &self.container.record;
        make_mount_points(&record.rootfs, &record.options.bundle, &self.spec)?;
        let mut options = options::common(context, places, LOG)?;
        options.flag(field::EVASIVE_DEVICES, true).flag(field::RST_SIBLING, true);
        options.text(field::ROOT, &root.to_string_lossy());
        for (name, field) in [("lsm-profile", field::LSM_PROFILE), ("lsm-mount-context", field::LSM_MOUNT_CONTEXT)] {
            if let Some(text) = context.given.value(name).filter(|text| !text.is_empty()) {
                options.text(field, text);
            }
        }
        options::config_file(&mut options, self.container.record.annotations.get("org.criu.config"));
        let namespaces = self.namespaces(&mut options)?;
        self.mounts(&mut options);
        standard_descriptors(&mut options, places)?;
        let mut inherited: Vec<&dyn AsFd> = vec![&places.images_fd];
        inherited.extend(places.work_fd.iter().map(|file| file as &dyn AsFd));
        inherited.extend(namespaces.iter().map(|fd| fd as &dyn AsFd));
        let service = Service::start(program, &inherited)?;
        self.cgroup(context, &mut options, service.pid())?;
        service.ask(Request::Restore, Some(&options), |notice| self.hear(context, notice))?;
        if self.container.record.pid == 0 {
            return Err(Failure::CriuFailed("it restored no process".into()));
        }
        Ok(())
    }

    /// In the mount namespace of this command: nothing of it is seen outside, and it ends with us and criu.
    fn mount_root(&self) -> Result<PathBuf, Failure> {
        let at = self.container.directory.join("criu-root");
        fs::create_dir(&at).at("make", &at)?;
        let at = fs::canonicalize(&at).at("find", &at)?;
        let rootfs = c_string(&self.container.record.rootfs);
        let mounted = mount::mount(Some(&rootfs), &c_string(&at), None, MS_BIND | MS_REC, None);
        mounted.map_err(|errno| knarr_sys::Error::new(format!("mount({:?}, MS_BIND)", at), errno))?;
        Ok(at)
    }

    /// Those that exist already: network and processes by descriptor, the others by path.
    fn namespaces(&self, options: &mut Message) -> Result<Vec<fs::File>, Failure> {
        let mut opened = Vec::new();
        for (kind, _, key) in EXTERNAL_NAMESPACES {
            let Some(path) = namespace_path(&self.spec, kind) else { continue };
            let file = fs::File::open(&path).at("open namespace", &path)?;
            inherit(options, key, file.as_raw_fd());
            opened.push(file);
        }
        use LinuxNamespaceType::{Cgroup, Ipc, Mount, Time, User, Uts};
        for (kind, name) in [(Ipc, "ipc"), (Uts, "uts"), (Mount, "mnt"), (User, "user"), (Time, "time")] {
            if let Some(path) = namespace_path(&self.spec, kind) {
                let mut join = Message::default();
                join.text(1, name).text(2, &path.to_string_lossy());
                options.message(field::JOIN_NS, &join);
            }
        }
        if namespace_path(&self.spec, Cgroup).is_some() {
            return Err(Failure::Checkpoint("criu cannot restore into an existing cgroup namespace"));
        }
        Ok(opened)
    }

    fn mounts(&self, options: &mut Message) {
        for (destination, source) in binds(&self.spec) {
            let source = self.container.record.options.bundle.join(source);
            let destination = mounted_at(&self.container.record.rootfs, destination);
            options::external_mount(options, &destination, &source.to_string_lossy());
        }
        let linux = self.spec.linux().as_ref();
        if linux.is_some_and(|linux| linux.masked_paths().as_ref().is_some_and(|paths| !paths.is_empty())) {
            options::external_mount(options, "/dev/null", "/dev/null");
        }
        for device in linux.and_then(|linux| linux.devices().as_ref()).into_iter().flatten() {
            let path = device.path().to_string_lossy();
            options::external_mount(options, &path, &path);
        }
    }

    /// The processes come back where criu is.
    fn cgroup(&mut self, context: &Context<'_>, options: &mut Message, pid: u32) -> Result<(), Failure> {
        let plan = plan(&self.spec, &Host::probe(), &self.container.record.options).map_err(crate::Error::from)?;
        let layout = Layout::discover()?;
        for step in &plan.parent {
            match step {
                ParentStep::StartUnit(unit) => {
                    let options = unit.options("restored container", pid);
                    self.container.record.cgroup = Some(Cgroup::start_unit(&layout, &unit.resources, &options)?);
                }
                // What criu makes from there on is in it too.
                ParentStep::JoinResctrl(rdt) => self.container.record.rdt.insert((**rdt).clone()).join(pid)?,
                ParentStep::MakeCgroup { path, resources, required, .. } => {
                    let how = CreateOptions { rootless: !required, ..CreateOptions::default() };
                    match Cgroup::create(&layout, path, resources, &how) {
                        Ok(cgroup) => self.container.record.cgroup.insert(cgroup).attach(pid)?,
                        Err(error) if *required => return Err(error.into()),
                        Err(error) => log::warning(context.globals, &format!("no control group of its own: {error}")),
                    }
                }
                _ => {}
            }
        }
        for (destination, source) in cgroup_mounts(&plan, self.container.record.cgroup.as_ref()) {
            options::external_mount(options, &destination, &source);
        }
        let path = format!("/proc/{pid}/cgroup");
        for line in fs::read_to_string(&path).at("read", &path)?.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
                for controller in controllers.split(',') {
                    options.message(field::CG_ROOT, Message::default().text(1, controller).text(2, path));
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, context: &Context<'_>, notice: Notice) -> Result<(), Failure> {
        log::debug(context.globals, || format!("criu: {}", notice.script));
        match notice.script.as_str() {
            "setup-namespaces" => {
                self.container.record.pid = notice.pid;
                let plan =
                    plan(&self.spec, &Host::probe(), &self.container.record.options).map_err(crate::Error::from)?;
                let hooks = plan.parent.into_iter().filter_map(|step| match step {
                    ParentStep::Hook(hook) => Some(hook),
                    _ => None,
                });
                run_hooks(&hooks.collect::<Vec<_>>(), &self.container.state(crate::Status::Creating))?;
            }
            "post-restore" => {
                self.container.record.pid = notice.pid;
                self.container.record.pid_start_ticks = ticks_if_alive(notice.pid).unwrap_or(0);
                self.container.save()?;
            }
            "orphan-pts-master" => self.console = notice.fd,
            _ => {}
        }
        Ok(())
    }

    fn undo(&mut self) {
        if let Some(cgroup) = self.container.record.cgroup.take() {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
        if let Some(rdt) = self.container.record.rdt.take() {
            let _ = rdt.leave();
        }
        let _ = fs::remove_dir_all(&self.container.directory);
    }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default()
}

fn inherit(options: &mut Message, key: &str, fd: i32) {
    options.message(field::INHERIT_FD, Message::default().text(1, key).number(2, fd.unsigned_abs().into()));
}

/// Where the container had a pipe, it gets ours of the same number.
fn standard_descriptors(options: &mut Message, places: &Places) -> Result<(), Failure> {
    let path = places.images.join(DESCRIPTORS);
    let bytes = fs::read(&path).at("read", &path)?;
    let wrong = |source| Failure::Json { what: format!("read {}", path.display()), source };
    let links: Vec<String> = serde_json::from_slice(&bytes).map_err(wrong)?;
    for (number, link) in links.iter().enumerate().filter(|(_, link)| link.contains("pipe:")) {
        inherit(options, link, number as i32);
    }
    Ok(())
}

/// criu makes no mount points; those on a tmpfs come with its content. One below a bind mount is made in what is bound: until
/// all are made, binds stand on the root directory as this process alone sees it.
fn make_mount_points(rootfs: &Path, bundle: &Path, spec: &Spec) -> Result<(), Failure> {
    let tmpfs: Vec<PathBuf> = spec
        .mounts()
        .iter()
        .flatten()
        .filter(|mount| mount.typ().as_deref() == Some("tmpfs"))
        .map(|mount| Path::new("/").join(mount.destination()))
        .collect();
    let root = Root::open(rootfs)?;
    let binds = binds(spec);
    let mut bound = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let destination = Path::new("/").join(mount.destination());
        if tmpfs.iter().any(|above| destination != *above && destination.starts_with(above)) {
            continue;
        }
        let Ok(inside) = InRoot::parse(destination.as_os_str()) else { continue };
        let is_bind = binds.iter().any(|(to, _)| Path::new(to) == destination);
        let source = bundle.join(mount.source().as_deref().unwrap_or(Path::new("")));
        if root.open_path(&inside).is_err() {
            make_mount_point(&root, &inside, is_bind && source.is_file())?;
        }
        if is_bind {
            bind_on(&root, &inside, &source)?;
            bound.push(inside);
        }
    }
    for inside in bound.iter().rev() {
        let place = root.open_path(inside)?;
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let gone = mount::unmount(path.as_str(), mount::UnmountFlags::DETACH);
        gone.map_err(|errno| knarr_sys::Error::new(format!("umount2({inside:?}, MNT_DETACH)"), errno))?;
    }
    Ok(())
}

fn make_mount_point(root: &Root, inside: &InRoot, is_file: bool) -> Result<(), Failure> {
    let Some((parent, name)) = inside.split_last().filter(|_| is_file) else {
        root.make_dirs(inside, Mode::from_raw_mode(0o755))?;
        return Ok(());
    };
    let parent = root.make_dirs(&parent, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = knarr_sys::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644));
    made.map(drop).map_err(|errno| knarr_sys::Error::new(format!("openat({inside}, O_CREAT)"), errno).into())
}

/// Binds `source` where restoring will.
fn bind_on(root: &Root, inside: &InRoot, source: &Path) -> Result<(), Failure> {
    let place = root.open_path(inside)?;
    let target = c_string(Path::new(&format!("/proc/self/fd/{}", place.as_raw_fd())));
    let mounted = mount::mount(Some(&c_string(source)), &target, None, MS_BIND | MS_REC, None);
    mounted.map_err(|errno| knarr_sys::Error::new(format!("mount({source:?}, {inside:?}, MS_BIND)"), errno).into())
}
