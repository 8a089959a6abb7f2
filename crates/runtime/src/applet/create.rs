//! `create` and `run`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use knarr_cgroup::Bus;
use knarr_spec::runtime::Spec;
use knarr_sys::{credentials, pty};

use super::{
    attend::{Attendant, last_words},
    commands::{Context, Done, Globals, Manager},
    console::hand_over,
    container::{Container, Record, make_directory, read_spec, record, short, ticks_if_alive},
    delete,
    failure::{At, Failure},
    log,
    notify::{self, Notify},
    time,
};
use crate::{CgroupChoice, CreateOptions, Created, Gate, Host, NewNetwork, ParentStep, RootSource, Stdio, Step, plan};

/// `create`: everything but the program.
pub(crate) fn create(context: &mut Context<'_>) -> Result<Done, Failure> {
    let make = Make::read(context, Mode::Waiting)?;
    let (_, created) = make.container(context)?;
    // The init waits at its socket; nothing of ours is needed any more.
    drop(created);
    Ok(Done::Quiet)
}

/// `run`: create, start, and without `--detach` wait and delete.
pub(crate) fn run(context: &mut Context<'_>) -> Result<Done, Failure> {
    let mode = if context.given.has("detach") { Mode::Detached } else { Mode::Attended };
    let make = Make::read(context, mode)?;
    // Before the clone, so that no signal is lost between it and the first reading.
    let attendant = if mode == Mode::Attended { Some(Attendant::new()?) } else { None };
    let notify = Notify::bind(context, &make.directory)?;
    let (container, mut created) = make.container(context)?;
    let console = created.take_console();
    if let Some(console) = &console {
        // Our own terminal adds the carriage returns.
        let _ = pty::leave_line_ends(console);
    }
    let running = match created.start() {
        Ok(running) => {
            log::debug(context.globals, || "init: closing the pipe to signal completion".into());
            running
        }
        Err(error) => {
            console.into_iter().for_each(last_words);
            let _ = fs::remove_dir_all(&container.directory);
            return Err(error.into());
        }
    };
    // Only now: until here the container's start waited for us.
    drop(make);
    if let Some(notify) = notify {
        notify.forward(running.pid, mode == Mode::Attended);
    }
    let Some(attendant) = attendant else { return Ok(Done::Quiet) };
    let exit = attendant.attend(&running, console)?;
    if !context.given.has("keep") {
        delete::destroy(context.globals, &container)?;
    }
    Ok(Done::Exit(exit.shell_code() as u8))
}

/// Who looks after the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Its init waits for `start`.
    Waiting,
    /// It runs alone.
    Detached,
    /// We stay until it ends.
    Attended,
}

/// What is to be made.
struct Make {
    directory: PathBuf,
    spec: Spec,
    options: CreateOptions,
    /// `config.json` as it is kept.
    bytes: Vec<u8>,
    mode: Mode,
}

impl Make {
    /// Reads the bundle, and takes the id.
    fn read(context: &Context<'_>, mode: Mode) -> Result<Make, Failure> {
        let (given, id) = (context.given, context.id()?.to_owned());
        let bundle = context.path(given.value("bundle").unwrap_or(""));
        let bundle = fs::canonicalize(&bundle).at("open bundle", &bundle)?;
        let (read, mut bytes) = read_spec(&bundle.join(given.value("config").unwrap_or("config.json")))?;
        read.warnings.iter().for_each(|text| log::warning(context.globals, text));
        let mut spec = read.document;
        if mode != Mode::Waiting && spec.process().is_none() {
            return Err(Failure::NoProcess);
        }
        let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
        match (mode != Mode::Attended && terminal, given.value("console-socket")) {
            (true, None) => return Err(Failure::NoConsoleSocket),
            (false, Some(_)) => return Err(Failure::NeedlessConsoleSocket),
            _ => {}
        }
        let preserve_fds = given.number("preserve-fds")?.unwrap_or(0);
        check_descriptors(context, context.world.listen_fds, preserve_fds)?;
        let cgroup = cgroup(context)?;
        let directory = make_directory(&context.globals.root, &id)?;
        let root = spec.root().as_ref().map_or("rootfs".into(), |root| root.path().clone());
        let options = CreateOptions {
            id,
            bundle,
            root: RootSource::Directory(root),
            cgroup,
            rootless: context.globals.rootless,
            no_new_keyring: given.has("no-new-keyring"),
            no_pivot: given.has("no-pivot"),
            // Engines read the counters of every controller, limited or not.
            all_controllers: true,
            preserve_fds,
            listen_fds: context.world.listen_fds,
            listen_names: context.world.listen_names.clone(),
            ..CreateOptions::default()
        };
        let notify = notify::prepare(context, &directory, &mut spec);
        if context.world.notify_socket.is_some() {
            bytes = serde_json::to_vec(&spec).expect("a document has string keys only");
        }
        let make = Make { directory, spec, options, bytes, mode };
        match notify {
            Ok(()) => Ok(make),
            Err(failure) => Err(make.undo(failure)),
        }
    }

    fn undo(&self, failure: Failure) -> Failure {
        let _ = fs::remove_dir_all(&self.directory);
        failure
    }

    /// Makes it, records it, and hands over what was asked for; after a failure nothing is left.
    fn container(&self, context: &Context<'_>) -> Result<(Container, Created), Failure> {
        match self.make(context) {
            Ok(made) => Ok(made),
            Err(failure) => Err(self.undo(failure)),
        }
    }

    fn make(&self, context: &Context<'_>) -> Result<(Container, Created), Failure> {
        let network = NewNetwork::begin(&self.spec);
        let mut options = self.options.clone();
        let gate = short(&self.directory.join("start.sock"))?;
        if self.mode == Mode::Waiting {
            options.gate = Gate::Socket(gate.path.clone());
        }
        let plan = plan(&self.spec, &Host::probe(), &options).map_err(crate::Error::from)?;
        for note in &plan.notes {
            log::warning(context.globals, note);
        }
        plan.details.iter().for_each(|detail| log::debug(context.globals, || detail.clone()));
        tell(context.globals, &plan);
        let mut container = Container { directory: self.directory.clone(), record: self.record() };
        let mut written = Ok(());
        let created = crate::create_meanwhile(plan, Stdio::default(), network, &mut |pid, cgroup| {
            container.record.pid = pid;
            container.record.pid_start_ticks = ticks_if_alive(pid).unwrap_or(0);
            container.record.cgroup = cgroup.cloned();
            let config = self.directory.join("config.json");
            written = fs::write(&config, &self.bytes).at("write", &config).and_then(|()| container.prepare());
        });
        let mut created = created?;
        log::debug(context.globals, || format!("child process in init() waits for its start: {}", created.pid()));
        match written.and_then(|()| self.hand_out(context, &mut container, &mut created)) {
            Ok(()) => Ok((container, created)),
            Err(failure) => {
                created.abandon();
                Err(failure)
            }
        }
    }

    fn record(&self) -> Record {
        let RootSource::Directory(root) = &self.options.root else { unreachable!("set from the document above") };
        record(&self.spec, &self.options, self.options.bundle.join(root), time::now())
    }

    /// From here on other commands see the container.
    fn hand_out(&self, context: &Context<'_>, container: &mut Container, created: &mut Created) -> Result<(), Failure> {
        for note in created.notes() {
            log::warning(context.globals, note);
        }
        if let Some(rdt) = created.rdt() {
            container.record.rdt = Some(rdt.clone());
            container.prepare()?;
        }
        container.publish()?;
        if let Some(socket) = context.given.value("console-socket")
            && let Some(master) = created.take_console()
        {
            use std::os::fd::AsFd;
            hand_over(&context.path(socket), master.as_fd(), "/dev/ptmx")?;
        }
        let receiver = self.spec.annotations().as_ref().and_then(|all| all.get("run.oci.pidfd_receiver"));
        for socket in context.given.value("pidfd-socket").into_iter().chain(receiver.map(String::as_str)) {
            hand_over(&context.path(socket), created.pidfd(), "pidfd")?;
        }
        if let Some(path) = context.given.value("pid-file") {
            write_pid(&context.path(path), created.pid())?;
        }
        Ok(())
    }
}

/// Who makes the control group.
pub(crate) fn cgroup(context: &Context<'_>) -> Result<CgroupChoice, Failure> {
    Ok(match context.globals.manager {
        Manager::CgroupFs => CgroupChoice::Spec,
        Manager::Disabled => CgroupChoice::None,
        Manager::Systemd => CgroupChoice::Systemd(bus(context)?),
    })
}

/// The systemd that rules here: the machine's for root, otherwise the user's own.
fn bus(context: &Context<'_>) -> Result<Bus, Failure> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Failure::NoSystemd);
    }
    if credentials::effective_user() == 0 && !Host::probe().user_namespace {
        return Ok(Bus::system());
    }
    Ok(Bus::user(context.world.session_bus.as_deref(), context.world.runtime_directory.as_deref()))
}

/// The plan, for those who debug; with the words that runc's own debug log has for the clone.
pub(crate) fn tell(globals: &Globals, plan: &crate::Plan) {
    for step in &plan.parent {
        log::debug(globals, || match step {
            ParentStep::Clone { .. } => format!("nsexec container setup: {step}"),
            step => format!("parent: {step}"),
        });
    }
    for step in &plan.child {
        log::debug(globals, || match step {
            Step::Affinity { list, mask } => format!("nsexec: affinity: {:#x} ({list})", mask.first().unwrap_or(&0)),
            Step::Seccomp(program) => format!("seccomp filter flags: {}", program.flags),
            step => format!("child: {step}"),
        });
    }
}

/// Engines wait for this file: it appears whole.
pub(crate) fn write_pid(path: &std::path::Path, pid: u32) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}"));
    fs::write(&new, pid.to_string()).at("write", &new)?;
    fs::rename(&new, path).at("write", path)
}

/// Descriptors that are to be passed on must be there; a hole would be filled by one of ours.
///
/// crun passes on those that are there, and so do we under its name: ours are closed on execve.
pub(crate) fn check_descriptors(context: &Context<'_>, listen: u32, preserve: u32) -> Result<(), Failure> {
    if context.world.name == "crun" {
        return Ok(());
    }
    let there = |fd: &u32| fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    match (3..3 + listen + preserve).find(|fd| !there(fd)) {
        Some(fd) => Err(Failure::PreservedFd(fd)),
        None => Ok(()),
    }
}
