//! NOTIFY_SOCKET (sd_notify(3)): a service manager waits to hear that the container is ready.
//!
//! The container gets a socket of its own in `/run/notify`; of what it says there only READY is passed on, with the init's number.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    time::Duration,
};

use knarr_spec::runtime::{MountBuilder, Spec};

use super::{
    commands::Context,
    container::{short, ticks_if_alive},
    failure::{At, Failure},
};

/// Where the container finds it.
const INSIDE: &str = "/run/notify";
const NAME: &str = "notify.sock";
/// How often the container is looked after while it says nothing.
const LOOK: Duration = Duration::from_millis(100);
/// Messages are a few words.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Adds the mount and the variable; makes the directory.
pub(crate) fn prepare(context: &Context<'_>, directory: &Path, spec: &mut Spec) -> Result<(), Failure> {
    if context.world.notify_socket.is_none() {
        return Ok(());
    }
    let source = directory.join("notify");
    fs::create_dir(&source).at("make", &source)?;
    fs::set_permissions(&source, fs::Permissions::from_mode(0o755)).at("open up", &source)?;
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    let mount = MountBuilder::default().destination(INSIDE).source(source).typ("bind").options(options).build();
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount.expect("every field has a default"));
    spec.set_mounts(Some(mounts));
    if let Some(mut process) = spec.process().clone() {
        let mut variables = process.env().clone().unwrap_or_default();
        variables.push(format!("NOTIFY_SOCKET={INSIDE}/{NAME}"));
        process.set_env(Some(variables));
        spec.set_process(Some(process));
    }
    Ok(())
}

/// Listens for the container.
pub(crate) struct Notify {
    socket: UnixDatagram,
    manager: PathBuf,
}

impl Notify {
    /// Binds the socket, when there is a manager to tell.
    pub(crate) fn bind(context: &Context<'_>, directory: &Path) -> Result<Option<Notify>, Failure> {
        let Some(manager) = context.world.notify_socket.clone() else { return Ok(None) };
        let path = directory.join("notify").join(NAME);
        let socket = UnixDatagram::bind(short(&path)?.path).at("bind", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).at("open up", &path)?;
        socket.set_read_timeout(Some(LOOK)).at("wait on", &path)?;
        Ok(Some(Notify { socket, manager }))
    }

    /// Waits for READY or for the container's end; `beside` what else there is to do.
    pub(crate) fn forward(self, pid: u32, beside: bool) {
        if beside {
            std::thread::spawn(move || self.wait(pid));
        } else {
            self.wait(pid);
        }
    }

    fn wait(&self, pid: u32) {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        while ticks_if_alive(pid).is_some() {
            match self.socket.recv(&mut buffer) {
                Ok(count) => {
                    let ready = buffer[..count].split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="));
                    if let Some(line) = ready {
                        let _ = self.tell(line, pid);
                        return;
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
        }
    }

    fn tell(&self, line: &[u8], pid: u32) -> io::Result<()> {
        let message = [line, format!("\nMAINPID={pid}\n").as_bytes()].concat();
        let socket = UnixDatagram::unbound()?;
        match self.manager.to_string_lossy().strip_prefix('@') {
            Some(name) => {
                use std::os::linux::net::SocketAddrExt;
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes())?;
                socket.send_to_addr(&message, &address).map(drop)
            }
            None => socket.send_to(&message, &self.manager).map(drop),
        }
    }
}
