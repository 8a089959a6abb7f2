//! Making the process, letting it run, and telling of it.

use std::os::fd::{AsFd, OwnedFd};

use knarr_runtime::Stdio;
use knarr_sys::pty;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use super::poll::{EventFlags, Token};
use super::{Child, Phase, Supervisor};
use crate::make::Made;
use crate::protocol::{Exit, Frame};
use crate::{Error, StdinMode};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// What the container gets (`theirs`) and what stays here.
struct Pipes {
    theirs: Stdio,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Supervisor {
    /// Makes the process; after a failure the phase is `Ended`.
    pub(super) fn make(&mut self) {
        if let Err(error) = self.try_make() {
            self.fail(error);
        }
    }

    fn try_make(&mut self) -> Result<(), Error> {
        let pipes = if self.task.terminal { Pipes::none() } else { Pipes::new(self.task.stdin)? };
        let made = self.task.maker.make(pipes.theirs, self.task.terminal)?;
        (self.stdout, self.stderr, self.stdin.fd) = (pipes.stdout, pipes.stderr, pipes.stdin);
        self.adopt(made)
    }

    fn adopt(&mut self, made: Made) -> Result<(), Error> {
        let Made { pid, pidfd, console, cgroup, memory, gate, foreign } = made;
        self.record.made(pid, cgroup.as_ref());
        (self.cgroup, self.memory, self.foreign, self.phase) = (cgroup, memory, foreign, Phase::Waiting(gate));
        self.child = Some(Child { pid, pidfd });
        if let Some(console) = console {
            self.adopt_terminal(console).map_err(Error::call("set up the terminal"))?;
        }
        self.watch_outputs().map_err(Error::call("watch the container's output"))?;
        protect_from_oom_killer();
        Ok(())
    }

    fn adopt_terminal(&mut self, master: OwnedFd) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&master, true)?;
        self.terminal_slave = pty::open_slave(&master).ok();
        if let Some((rows, columns)) = self.terminal_size {
            pty::set_size(&master, rows, columns)?;
        }
        if self.task.stdin != StdinMode::Closed {
            self.stdin.fd = Some(rustix::io::fcntl_dupfd_cloexec(&master, 0)?);
        }
        self.stdout = Some(master);
        Ok(())
    }

    fn watch_outputs(&mut self) -> Result<(), Errno> {
        for (fd, token) in [(&self.stdout, Token::Stdout), (&self.stderr, Token::Stderr)] {
            if let Some(fd) = fd {
                self.poll.add(fd, token, EventFlags::IN)?;
            }
        }
        Ok(())
    }

    /// Lets the program run: the launcher said so, or there is no launcher.
    pub(super) fn start(&mut self) {
        if self.task.is_exec() && self.child.is_none() {
            self.make();
        }
        let Phase::Waiting(gate) = &mut self.phase else { return };
        let gate = gate.take();
        match gate.map_or(Ok(()), |gate| gate.open()).and_then(|()| self.listen()) {
            Ok(()) => self.announce_started(),
            Err(error) => self.fail(error),
        }
    }

    fn announce_started(&mut self) {
        self.phase = Phase::Running;
        self.record.started();
        let pid = self.child.as_ref().map_or(0, |child| child.pid);
        if self.record.announce_created() {
            self.tell_all(Frame::Created(pid));
        }
        self.tell_all(Frame::Started);
    }

    /// Tells the launcher that the container waits, unless it has said `start` before.
    pub(super) fn announce_created(&mut self) {
        if let (Phase::Waiting(_), Some(child)) = (&self.phase, &self.child) {
            let pid = child.pid;
            self.record.created();
            self.record.announce_created();
            self.tell_all(Frame::Created(pid));
        }
    }

    /// The process could not be made or started. One that was made and waits is killed.
    pub(super) fn fail(&mut self, error: Error) {
        let code = error.exit_code();
        self.failure = Some(error);
        if let Phase::Waiting(Some(gate)) = std::mem::replace(&mut self.phase, Phase::Running) {
            gate.abandon();
            self.cgroup = None;
        }
        if let Some(child) = self.child.take() {
            let _ = knarr_sys::pidfd::send_signal(&child.pidfd, super::SIGKILL);
            let _ = knarr_sys::pidfd::wait(&child.pidfd);
        }
        self.phase = Phase::Ended(Exit { code, oom_killed: false });
    }

    /// Opens `attach.sock`; only for containers. Bound through a descriptor of the directory, as a path may have only 107 bytes.
    fn listen(&mut self) -> Result<(), Error> {
        if self.task.is_exec() {
            return Ok(());
        }
        let path = self.task.run_dir.join("attach.sock");
        let listener = bind(&self.task.run_dir).map_err(|errno| Error::io("listen on", &path)(errno.into()))?;
        self.poll.add(&listener, Token::Listener, EventFlags::IN).map_err(Error::call("watch the socket"))?;
        self.listener = Some(listener);
        Ok(())
    }
}

fn bind(directory: &std::path::Path) -> Result<OwnedFd, Errno> {
    use rustix::fs::{AtFlags, Mode, OFlags};
    use std::os::fd::AsRawFd;
    let directory = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // One that a killed monitor left.
    match rustix::fs::unlinkat(&directory, c"attach.sock", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/attach.sock", directory.as_raw_fd()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The mode of the file is that of the socket when it is bound: nobody else may connect, not even for a moment.
    rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// When memory runs out the container should go, not the one who reports it. Done after the container was made, which would
/// inherit it. Only root may; without, we are as likely as any other process.
fn protect_from_oom_killer() {
    let _ = std::fs::write("/proc/self/oom_score_adj", super::OOM_SCORE_ADJ);
}

impl Pipes {
    fn none() -> Pipes {
        Pipes { theirs: Stdio::default(), stdin: None, stdout: None, stderr: None }
    }

    /// Our standard input is `/dev/null`, which is passed on when input is closed.
    fn new(mode: StdinMode) -> Result<Pipes, Error> {
        let (stdout, their_stdout) = pipe(true)?;
        let (stderr, their_stderr) = pipe(true)?;
        let (their_stdin, stdin) = match mode {
            StdinMode::Closed => (None, None),
            _ => pipe(false).map(|(ours, theirs)| (Some(theirs), Some(ours)))?,
        };
        let theirs = Stdio { stdin: their_stdin, stdout: Some(their_stdout), stderr: Some(their_stderr) };
        Ok(Pipes { theirs, stdin, stdout: Some(stdout), stderr: Some(stderr) })
    }
}

/// A pipe as (our end, their end); ours does not block.
fn pipe(is_ours_the_reader: bool) -> Result<(OwnedFd, OwnedFd), Error> {
    let make = || {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (ours, theirs) = if is_ours_the_reader { (reader, writer) } else { (writer, reader) };
        rustix::io::ioctl_fionbio(ours.as_fd(), true)?;
        Ok((ours, theirs))
    };
    make().map_err(Error::call::<Errno>("make a pipe"))
}
