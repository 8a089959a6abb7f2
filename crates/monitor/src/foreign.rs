//! Drives another OCI runtime: `--runtime PATH`.
//!
//! Spec: runtime-spec "Lifecycle" and the command line runc, crun and runsc share: `create --bundle --pid-file
//! [--console-socket]`, `start`, `exec --process --detach`, `delete --force`, `--root`, `--log`, `--log-format json`.
//!
//! ```text
//! <run>/containers/<id>/runtime/         the runtime's own state (--root)
//! <run>/containers/<id>/runtime.log      what it complains about
//! <run>/containers/<id>/{pid,console.sock}
//! ```
//!
//! Law: what must be mounted for it is mounted in a mount namespace of our own, so that the host sees nothing of it.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use knarr_cgroup::{Directory, Layout, Version};
use knarr_runtime::{OverlayRoot, RootSource, Stdio};
use knarr_spec::runtime::Process;
use knarr_sys::mount::{self, MountPropagationFlags};
use knarr_sys::overlay::Overlay;
use knarr_sys::posix_spawn::{Program, spawn};
use knarr_sys::{pidfd, scm_rights, setns};
use rustix::process::{WaitOptions, WaitStatus};

use crate::make::{Gate, Made, read_or_empty, read_pid};
use crate::{Error, ExecConfig};

/// A runtime and the container it works on.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    program: PathBuf,
    id: String,
    bundle: PathBuf,
    /// Where the container's `runtime` directory is.
    run_dir: PathBuf,
    /// Where the pid file and the console socket go.
    work_dir: PathBuf,
}

impl Foreign {
    pub(crate) fn new(program: &Path, id: &str, bundle: &Path, run_dir: &Path) -> Foreign {
        Foreign {
            program: program.to_owned(),
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            run_dir: run_dir.to_owned(),
            work_dir: run_dir.to_owned(),
        }
    }

    pub(crate) fn of_session(program: &Path, config: &ExecConfig) -> Foreign {
        let container = Foreign::new(program, &config.container, &config.bundle, &config.container_run_dir);
        Foreign { work_dir: config.container_run_dir.join("exec").join(&config.id), ..container }
    }

    /// Mounts the root and creates the container.
    pub(crate) fn create(&self, root: &RootSource, stdio: Stdio, terminal: bool) -> Result<Made, Error> {
        if let RootSource::Overlay(overlay) = root {
            let target = self.bundle.join("rootfs");
            mount_overlay(overlay, &target).map_err(Error::io("mount the root file system on", &target))?;
        }
        let bundle = self.bundle.as_os_str();
        let made = self.make("create", &["--bundle".as_ref(), bundle], &self.id, stdio, terminal)?;
        let memory = memory_directory(made.pid);
        Ok(Made { gate: Some(Gate::Foreign(self.clone())), foreign: Some(self.clone()), memory, ..made })
    }

    /// Lets the created container's program run.
    pub(crate) fn start(&self) -> Result<(), Error> {
        self.call("start", &[self.id.as_ref()], Stdio::default())
    }

    /// Runs one more program in the container.
    pub(crate) fn exec(&self, process: &Process, stdio: Stdio, terminal: bool) -> Result<Made, Error> {
        let path = self.work_dir.join("process.json");
        let json = serde_json::to_vec(process).map_err(|source| Error::Config { path: path.clone(), source })?;
        fs::write(&path, json).map_err(Error::io("write", &path))?;
        let args = ["--detach".as_ref(), "--process".as_ref(), path.as_os_str()];
        self.make("exec", &args, &self.id, stdio, terminal)
    }

    /// Removes what the runtime keeps of the container. There is nobody left to tell of a failure.
    pub(crate) fn delete(&self) {
        let _ = self.call("delete", &["--force".as_ref(), self.id.as_ref()], Stdio::default());
    }

    fn make(&self, verb: &'static str, args: &[&OsStr], id: &str, stdio: Stdio, terminal: bool) -> Result<Made, Error> {
        let pid_file = self.work_dir.join("pid");
        let _ = fs::remove_file(&pid_file);
        let mut args: Vec<&OsStr> = args.to_vec();
        args.extend(["--pid-file".as_ref(), pid_file.as_os_str()]);
        let console = if terminal { Some(Console::listen(&self.work_dir)?) } else { None };
        if let Some(console) = &console {
            args.extend(["--console-socket".as_ref(), console.path.as_os_str()]);
        }
        if verb == "exec" && terminal {
            args.push("--tty".as_ref());
        }
        args.push(id.as_ref());
        self.call(verb, &args, stdio)?;
        let pid = read_pid(&pid_file)?;
        let pidfd = pidfd::open(pid).map_err(Error::call("open the container's init"))?;
        let console = console.map(Console::receive).transpose()?;
        Ok(Made { pid, pidfd, console, cgroup: None, memory: None, gate: None, foreign: None })
    }

    /// Runs the runtime to its end.
    fn call(&self, verb: &'static str, args: &[&OsStr], stdio: Stdio) -> Result<(), Error> {
        let log = self.work_dir.join("runtime.log");
        let _ = fs::remove_file(&log);
        let root = self.run_dir.join("runtime");
        let global: [&OsStr; 8] = [
            self.program.as_os_str(),
            "--root".as_ref(),
            root.as_os_str(),
            "--log".as_ref(),
            log.as_os_str(),
            "--log-format".as_ref(),
            "json".as_ref(),
            verb.as_ref(),
        ];
        let status = run(global.iter().chain(args), &stdio).map_err(Error::io("run", &self.program))?;
        match status.exit_status() {
            Some(0) => Ok(()),
            _ => Err(Error::Foreign { program: self.program.clone(), verb, reason: reason(&log, status) }),
        }
    }
}

fn run<'a>(words: impl Iterator<Item = &'a &'a OsStr>, stdio: &Stdio) -> std::io::Result<WaitStatus> {
    let words: Vec<CString> = words.map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
    let args: Vec<&std::ffi::CStr> = words.iter().map(CString::as_c_str).collect();
    let streams = [(&stdio.stdin, 0), (&stdio.stdout, 1), (&stdio.stderr, 2)];
    let fds: Vec<_> = streams.iter().filter_map(|(fd, number)| Some((fd.as_ref()?.as_fd(), *number))).collect();
    let pid = spawn(&Program { path: args[0], args: &args, fds: &fds })?;
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The last message in the runtime's log: JSON documents, a line each (runc) or spread over several (crun).
fn reason(log: &Path, status: WaitStatus) -> String {
    #[derive(serde::Deserialize)]
    struct Entry {
        msg: String,
    }
    let text = read_or_empty(log);
    let entries = serde_json::Deserializer::from_slice(&text).into_iter::<Entry>();
    let last = entries.map_while(Result::ok).last();
    last.map(|entry| entry.msg.trim().to_owned()).unwrap_or_else(|| match status.exit_status() {
        Some(code) => format!("exit code {code}"),
        None => format!("killed by signal {}", status.terminating_signal().unwrap_or(0)),
    })
}

/// The memory controller's directory for a process, unless the runtime left it where we are.
fn memory_directory(pid: u32) -> Option<Directory> {
    let layout = Layout::discover().ok()?;
    let hierarchy = layout.hierarchies.into_iter().find(|it| it.controllers.iter().any(|name| name == "memory"))?;
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = membership.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_here = match hierarchy.version {
            Version::V1 => controllers.split(',').any(|name| name == "memory"),
            Version::V2 => controllers.is_empty(),
        };
        is_here.then(|| path.trim_start_matches('/'))
    })?;
    let is_ours = Path::new(path) == hierarchy.own;
    let (version, controllers) = (hierarchy.version, hierarchy.controllers);
    (!is_ours).then(|| Directory { version, controllers, path: hierarchy.mount_point.join(path) })
}

/// In a mount namespace of our own: nothing is mounted as the host sees it, and nothing stays when we are killed.
fn mount_overlay(overlay: &OverlayRoot, target: &Path) -> std::io::Result<()> {
    setns::unshare(setns::flag::MOUNT)?;
    mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    fs::create_dir_all(target)?;
    let upper = overlay.upper.as_deref().zip(overlay.work.as_deref());
    let whole = Overlay { base: &overlay.base, lower: &overlay.lower, upper, userxattr: overlay.userxattr };
    let tree = whole.mount(mount::MountAttrFlags::empty()).map_err(|error| std::io::Error::from(error.errno))?;
    let target = fs::File::open(target)?;
    Ok(mount::attach(tree.as_fd(), target.as_fd())?)
}

/// Where a runtime hands over the terminal's master.
struct Console {
    listener: UnixListener,
    path: OsString,
}

impl Console {
    fn listen(directory: &Path) -> Result<Console, Error> {
        let path = directory.join("console.sock");
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(Error::io("listen on", &path))?;
        Ok(Console { listener, path: path.into() })
    }

    /// The runtime has connected and sent before it ended; a runtime that did not is an error, not a reason to wait.
    fn receive(self) -> Result<OwnedFd, Error> {
        let refused = |error| Error::io("receive the terminal from", Path::new(&self.path))(error);
        self.listener.set_nonblocking(true).map_err(refused)?;
        let (connection, _) = self.listener.accept().map_err(refused)?;
        let _ = fs::remove_file(&self.path);
        let (_, master) = scm_rights::receive(&connection, &mut [0; 4096]).map_err(|errno| refused(errno.into()))?;
        master.ok_or_else(|| refused(std::io::ErrorKind::InvalidData.into()))
    }
}
