//! A conversation with `criu swrk`, which serves one request on a socket it inherits.
//!
//! ```text
//! criu_req    type 1, opts 2, notify_success 3
//! criu_resp   type 1, success 2, notify 5 {script 1, pid 2}, cr_errno 7, cr_errmsg 9, version 10 {major 1, minor 2, sublevel 4}
//! ```

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use knarr_sys::{
    Errno,
    io::{FdFlags, fcntl_setfd},
    scm_rights,
};

use super::super::failure::Failure;
use super::protobuf::{Field, Message, fields};

/// `criu_req_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Version = 10,
}

impl Request {
    fn name(self) -> &'static str {
        match self {
            Request::Dump => "DUMP",
            Request::Restore => "RESTORE",
            Request::PreDump => "PRE_DUMP",
            Request::Version => "VERSION",
        }
    }
}

const NOTIFY: u64 = 6;
/// The longest answer; runc has the same.
const ANSWER_BYTES_MAX: usize = 40_960;
/// The RPC's version request came with it.
const VERSION_MIN: u64 = 30_000;

/// What criu tells on its way.
pub(crate) struct Notice {
    /// `post-dump`, `setup-namespaces`, `post-restore`, `orphan-pts-master`.
    pub script: String,
    /// The process it is about, as we see it.
    pub pid: u32,
    /// A terminal's master.
    pub fd: Option<OwnedFd>,
}

/// A criu that waits for its request.
pub(crate) struct Service {
    child: Child,
    socket: OwnedFd,
}

/// The program: `--criu`, or the one in PATH.
pub(crate) fn program(given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| "criu".into(), Path::to_path_buf)
}

impl Service {
    /// Starts it; it inherits these descriptors by their numbers, and our standard ones.
    pub(crate) fn start(program: &Path, inherits: &[&dyn AsFd]) -> Result<Service, Failure> {
        let wrong = |source: io::Error| Failure::Criu { program: program.to_owned(), source };
        let (ours, theirs) = scm_rights::seqpacket_pair().map_err(|errno| wrong(errno.into()))?;
        let inherited = || inherits.iter().map(|fd| fd.as_fd()).chain([theirs.as_fd()]);
        let set = |flags: FdFlags| inherited().try_for_each(|fd| fcntl_setfd(fd, flags));
        set(FdFlags::empty()).map_err(|errno| wrong(errno.into()))?;
        let number = theirs.as_raw_fd().to_string();
        let spawned = Command::new(program).arg("swrk").arg(number).stdin(Stdio::inherit()).spawn();
        set(FdFlags::CLOEXEC).map_err(|errno| wrong(errno.into()))?;
        Ok(Service { child: spawned.map_err(wrong)?, socket: ours })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, answers what criu wants to hear on its way, and waits for its end.
    pub(crate) fn ask(
        mut self,
        request: Request,
        options: Option<&Message>,
        mut notice: impl FnMut(Notice) -> Result<(), Failure>,
    ) -> Result<Option<u64>, Failure> {
        let mut message = Message::default();
        message.number(1, request as u64);
        if let Some(options) = options {
            message.message(2, options);
        }
        let answered = self.say(&message).and_then(|()| self.listen(request, &mut notice));
        drop(self.socket);
        // A criu that was not answered ends by itself when the socket closes. One that made a pre-dump would wait for the dump.
        if request == Request::PreDump {
            let _ = self.child.kill();
        }
        let status = self.child.wait().map_err(|source| Failure::CriuTalk { what: "wait for criu", source });
        let answered = answered?;
        match (status?, request) {
            (status, Request::Dump | Request::Restore) if !status.success() => {
                Err(Failure::CriuFailed(status.to_string()))
            }
            _ => Ok(answered),
        }
    }

    fn say(&self, message: &Message) -> Result<(), Failure> {
        let sent = scm_rights::send(&self.socket, message.as_bytes(), None);
        sent.map_err(|errno| Failure::CriuTalk { what: "ask criu", source: errno.into() })
    }

    fn listen(
        &self,
        request: Request,
        notice: &mut impl FnMut(Notice) -> Result<(), Failure>,
    ) -> Result<Option<u64>, Failure> {
        let talk = |what, errno: Errno| Failure::CriuTalk { what, source: errno.into() };
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        loop {
            let (length, fd) = scm_rights::receive(&self.socket, &mut buffer).map_err(|e| talk("hear criu", e))?;
            if length == 0 {
                return Err(Failure::CriuFailed("unexpected EOF".into()));
            }
            let answer = Answer::read(&buffer[..length]).ok_or_else(|| talk("understand criu", Errno::BADMSG))?;
            if !answer.success {
                return Err(Failure::CriuFailed(answer.why(request)));
            }
            if answer.kind != NOTIFY {
                return Ok(answer.version);
            }
            notice(Notice { script: answer.script, pid: answer.pid, fd })?;
            self.say(Message::default().number(1, NOTIFY).flag(3, true))?;
        }
    }
}

/// The version, as 31600 for 3.16: criu has to be there, and not older than its RPC.
pub(crate) fn version(program: &Path) -> Result<u64, Failure> {
    let version = Service::start(program, &[])?.ask(Request::Version, None, |_| Ok(()))?.unwrap_or(0);
    if version < VERSION_MIN {
        return Err(Failure::CriuFailed(format!("CRIU version {version} must be {VERSION_MIN} or higher")));
    }
    Ok(version)
}

/// `criu_resp`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    kind: u64,
    success: bool,
    script: String,
    pid: u32,
    errno: u64,
    message: String,
    version: Option<u64>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Answer> {
        let mut answer = Answer::default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for (number, field) in fields(bytes)? {
            match (number, field) {
                (1, Field::Number(kind)) => answer.kind = kind,
                (2, Field::Number(success)) => answer.success = success != 0,
                (5, Field::Bytes(notify)) => {
                    for (number, field) in fields(notify)? {
                        match (number, field) {
                            (1, Field::Bytes(script)) => answer.script = text(script),
                            (2, Field::Number(pid)) => answer.pid = u32::try_from(pid).ok()?,
                            _ => {}
                        }
                    }
                }
                (7, Field::Number(errno)) => answer.errno = errno,
                (9, Field::Bytes(message)) => answer.message = text(message),
                (10, Field::Bytes(version)) => {
                    let parts = fields(version)?;
                    let part = |wanted: u64| {
                        let found = parts.iter().find(|(number, _)| *number == wanted);
                        found.map_or(0, |(_, field)| if let Field::Number(value) = field { *value } else { 0 })
                    };
                    answer.version = Some(part(1) * 10_000 + part(2) * 100 + part(4));
                }
                _ => {}
            }
        }
        Some(answer)
    }

    /// runc's words.
    fn why(&self, request: Request) -> String {
        let beside = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
        format!("type {} errno {}{beside}", request.name(), self.errno)
    }
}

/// What criu's log says went wrong, behind the failure; the log itself stays where it is.
pub(crate) fn with_log(failure: Failure, directory: &Path, file: &str) -> Failure {
    let path = directory.join(file);
    let text = fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let Some(line) = text.lines().find(|line| line.contains("Error")) else { return failure };
    match failure {
        Failure::CriuFailed(why) => Failure::CriuFailed(format!("{why}: {}: {}", path.display(), line.trim())),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let mut notify = Message::default();
        notify.text(1, "post-restore").number(2, 77);
        let mut message = Message::default();
        message.number(1, NOTIFY).flag(2, true).message(5, &notify);
        let answer = Answer::read(message.as_bytes()).unwrap();
        assert_eq!(
            (answer.kind, answer.success, answer.script.as_str(), answer.pid),
            (NOTIFY, true, "post-restore", 77)
        );
    }

    #[test]
    fn a_version_is_one_number() {
        let mut version = Message::default();
        version.number(1, 4).number(2, 1).number(4, 2);
        let mut message = Message::default();
        message.number(1, 10).flag(2, true).message(10, &version);
        assert_eq!(Answer::read(message.as_bytes()).unwrap().version, Some(40_102));
    }

    #[test]
    fn a_failure_is_told_as_runc_tells_it() {
        let answer = Answer { errno: 22, ..Answer::default() };
        assert_eq!(answer.why(Request::Dump), "type DUMP errno 22");
    }

    #[test]
    fn a_criu_that_is_missing_is_told_with_its_package() {
        let failure = version(Path::new("/nonexistent/criu")).unwrap_err();
        assert!(
            failure.text().contains("/nonexistent/criu") && failure.text().contains("package criu"),
            "{}",
            failure.text()
        );
    }
}
