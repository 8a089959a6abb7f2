//! The client side: starting a monitor, connecting to one, and talking frames with it. Blocking.
//!
//! Law: one socket, no thread. What was read is returned in the order it came; stdin is sent only as far as the monitor's
//! window allows, so that control frames always get through.
//! Not here: copying a terminal's streams ([`Session`](crate::Session)).

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use knarr_sys::posix_spawn::{Program, spawn};
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, WaitOptions};

use crate::Error;
use crate::protocol::{Attach, Exit, FRAME_BYTES_MAX, Failure, Frame, HEADER_BYTES, STDIN_WINDOW_BYTES};

/// The descriptor on which a monitor finds its launcher.
pub(crate) const LAUNCHER_FD: i32 = 3;

/// How much is read at once.
const READ_BYTES: usize = HEADER_BYTES + FRAME_BYTES_MAX;

/// What a monitor is started for.
#[derive(Debug, Clone, Copy)]
pub enum Job<'a> {
    /// The container of this directory (`monitor.json`).
    Container(&'a Path),
    /// What [`Client::tell`] will say: the monitor gets ready while the launcher finds out, and leaves without a trace if the
    /// launcher does.
    Later,
    /// The exec session of this directory (`exec.json`).
    Exec(&'a Path),
}

/// What a monitor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The container exists and waits for `start`; its init's process id.
    Created(u32),
    /// The program runs.
    Started,
    /// Output.
    Stdout(Vec<u8>),
    /// Error output.
    Stderr(Vec<u8>),
    /// It ended; nothing follows.
    Exited(Exit),
    /// The start failed, or this connection is dropped; nothing follows.
    Failed(Failure),
}

/// A connection to a monitor.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    child: Option<Pid>,
    inbox: Vec<u8>,
    events: VecDeque<Event>,
    stdin_window: usize,
}

impl Client {
    /// Starts a monitor from `exe` (see [`knarr_sys::self_exe::protected`]) and is its launcher, attached before the first byte.
    /// `exe` must be a binary whose first argument `monitor` names the applet.
    pub fn launch(exe: BorrowedFd, job: Job) -> Result<Client, Error> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(Error::call("make the monitor's socket"))?;
        let child = spawn_monitor(exe, theirs.as_fd(), job)?;
        let mut client = Client::from_socket(ours);
        client.child = Some(child);
        Ok(client)
    }

    /// Connects to the monitor of a running container; [`Error::Io`] of kind `NotFound` or `ConnectionRefused` when there is none.
    pub fn connect(run_dir: &Path) -> Result<Client, Error> {
        let path = run_dir.join("attach.sock");
        let stream = connect_any_length(run_dir, &path).map_err(Error::io("connect to", &path))?;
        Ok(Client::from_socket(stream.into()))
    }

    /// A connection made elsewhere.
    pub fn from_socket(socket: OwnedFd) -> Client {
        let (inbox, events) = (Vec::new(), VecDeque::new());
        Client { socket, child: None, inbox, events, stdin_window: STDIN_WINDOW_BYTES }
    }

    /// The monitor's process id, if we launched it.
    pub fn monitor_pid(&self) -> Option<Pid> {
        self.child
    }

    /// Tells a monitor launched for [`Job::Later`] what it is for, before anything else.
    pub fn tell(&mut self, job: Job) -> Result<(), Error> {
        match job {
            Job::Container(directory) => self.send(Frame::Container(directory.as_os_str().as_bytes())),
            Job::Exec(directory) => self.send(Frame::Exec(directory.as_os_str().as_bytes())),
            Job::Later => Ok(()),
        }
    }

    /// Subscribes. The launcher says it before `start`, so that no byte is missed.
    pub fn attach(&mut self, attach: Attach) -> Result<(), Error> {
        self.send(Frame::Attach(attach))
    }

    /// Lets the program run. May be sent at once: the monitor gets to it when the container is made.
    pub fn start(&mut self) -> Result<(), Error> {
        self.send(Frame::Start)
    }

    /// Sends a signal to the container's init.
    pub fn signal(&mut self, number: u32) -> Result<(), Error> {
        self.send(Frame::Signal(number))
    }

    /// Sets the terminal's size.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<(), Error> {
        self.send(Frame::Resize { rows, columns })
    }

    /// How many bytes of stdin the monitor would take now; grows while events are read.
    pub fn stdin_window(&self) -> usize {
        self.stdin_window
    }

    /// Sends as much of `bytes` as the window allows and returns how much that was.
    pub fn stdin(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let count = bytes.len().min(self.stdin_window).min(FRAME_BYTES_MAX);
        self.send(Frame::Stdin(&bytes[..count]))?;
        self.stdin_window -= count;
        Ok(count)
    }

    /// There will be no more stdin.
    pub fn stdin_eof(&mut self) -> Result<(), Error> {
        self.send(Frame::StdinEof)
    }

    /// The promise of `Attach::cleanup` is kept: the monitor need not run the exit command. It takes `rubbish`, absolute paths of
    /// directories, off the disk when we have gone.
    pub fn cleaned(&mut self, rubbish: &[PathBuf]) -> Result<(), Error> {
        let paths: Vec<u8> = rubbish.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\0"].concat()).collect();
        self.send(Frame::Cleaned(&paths))
    }

    /// Waits for the next event. `None`: the monitor closed the connection.
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if !self.receive(RecvFlags::empty())? {
                return Ok(None);
            }
        }
    }

    /// Whether an event was read from the socket and not yet taken.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// An event that is already here. `Err(Lost)` once the monitor is gone.
    pub fn poll_event(&mut self) -> Result<Option<Event>, Error> {
        if self.events.is_empty() && !self.receive(RecvFlags::DONTWAIT)? {
            return Err(Error::Lost);
        }
        Ok(self.events.pop_front())
    }

    /// Waits until the container exists; its init's process id. Output cannot come before.
    pub fn wait_created(&mut self) -> Result<u32, Error> {
        loop {
            match self.next_event()?.ok_or(Error::Lost)? {
                Event::Created(pid) => return Ok(pid),
                Event::Failed(failure) => return Err(Error::Remote(failure)),
                _ => {}
            }
        }
    }

    /// Waits until the program runs. For a client that asked for no output.
    pub fn wait_started(&mut self) -> Result<(), Error> {
        loop {
            match self.next_event()?.ok_or(Error::Lost)? {
                Event::Started => return Ok(()),
                Event::Failed(failure) => return Err(Error::Remote(failure)),
                _ => {}
            }
        }
    }

    /// Waits for the end. For a client that asked for no output.
    pub fn wait_exited(&mut self) -> Result<Exit, Error> {
        loop {
            match self.next_event()?.ok_or(Error::Lost)? {
                Event::Exited(exit) => return Ok(exit),
                Event::Failed(failure) => return Err(Error::Remote(failure)),
                _ => {}
            }
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(64);
        frame.encode(&mut bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                // It may have said why before it left; the reader of events will see.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(errno) => return Err(Error::call("write to the monitor")(errno)),
            }
        }
        Ok(())
    }

    /// Reads once; `false` at the end of the stream.
    fn receive(&mut self, flags: RecvFlags) -> Result<bool, Error> {
        self.inbox.reserve(READ_BYTES);
        match rustix::net::recv(&self.socket, spare_capacity(&mut self.inbox), flags).map(|(count, _)| count) {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(false),
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(Error::call("read from the monitor")(errno)),
        }
        self.parse()?;
        Ok(true)
    }

    fn parse(&mut self) -> Result<(), Error> {
        let mut used = 0;
        while let Some((frame, length)) = Frame::decode(&self.inbox[used..])? {
            used += length;
            match frame {
                Frame::StdinTaken(count) => self.stdin_window += count as usize,
                frame => self.events.extend(event_of(frame)),
            }
        }
        self.inbox.drain(..used);
        Ok(())
    }
}

fn event_of(frame: Frame) -> Option<Event> {
    match frame {
        Frame::Created(pid) => Some(Event::Created(pid)),
        Frame::Started => Some(Event::Started),
        Frame::Stdout(bytes) => Some(Event::Stdout(bytes.to_vec())),
        Frame::Stderr(bytes) => Some(Event::Stderr(bytes.to_vec())),
        Frame::Exited(exit) => Some(Event::Exited(exit)),
        Frame::Error(json) => Some(Event::Failed(failure_of(json))),
        _ => None,
    }
}

fn failure_of(json: &[u8]) -> Failure {
    let unreadable = || Failure { message: String::from_utf8_lossy(json).into_owned(), ..Failure::default() };
    serde_json::from_slice(json).unwrap_or_else(|_| unreadable())
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Client {
    /// A long-lived launcher must not collect zombies; a monitor that still runs is init's to reap once we are gone.
    fn drop(&mut self) {
        if let Some(pid) = self.child {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// `/dev/null` for the standard streams: a monitor must not keep the terminal or the pipe of its launcher open.
fn spawn_monitor(exe: BorrowedFd, socket: BorrowedFd, job: Job) -> Result<Pid, Error> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::call("open /dev/null"))?;
    let (word, directory) = match job {
        Job::Container(directory) => (None, Some(directory)),
        Job::Later => (Some(c"--later"), None),
        Job::Exec(directory) => (Some(c"--exec"), Some(directory)),
    };
    let directory = directory.map(|directory| CString::new(directory.as_os_str().as_bytes()));
    let directory = directory.transpose().map_err(|_| Error::Usage)?;
    let args: Vec<_> = [Some(c"knarr"), Some(c"monitor"), word, directory.as_deref()].into_iter().flatten().collect();
    // Out of the way of the numbers the monitor gets: its path is looked up after those are in place.
    let exe = rustix::io::fcntl_dupfd_cloexec(exe, LAUNCHER_FD + 1).map_err(Error::call("duplicate the program"))?;
    let path = exe_path(exe.as_fd());
    let null = null.as_fd();
    let program = Program { path: &path, args: &args, fds: &[(null, 0), (null, 1), (null, 2), (socket, LAUNCHER_FD)] };
    spawn(&program).map_err(Error::call("start the monitor"))
}

fn exe_path(exe: BorrowedFd) -> CString {
    use std::os::fd::AsRawFd;
    CString::new(format!("/proc/self/fd/{}", exe.as_raw_fd())).expect("a number holds no NUL")
}

/// Connects through a descriptor of the directory, as a socket's path may have only 107 bytes.
fn connect_any_length(run_dir: &Path, path: &Path) -> std::io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    if path.as_os_str().len() < 107 {
        return UnixStream::connect(path);
    }
    let directory = rustix::fs::open(run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/attach.sock", directory.as_raw_fd()))
}
