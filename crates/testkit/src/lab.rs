//! A laboratory: one `knarr` with a state, a run directory and a home of its own, and the images of the kit at hand.
//!
//! Law: nothing of the caller's environment or configuration reaches the program under test. Every command has a test's
//! patience and is killed after it.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use knarr_probe::Report;
use serde_json::Value;

use crate::process::{Guarded, drain, feed};

/// The payload with which a test that cannot run here unwinds.
pub struct Skip(pub String);

/// One test's world.
pub struct Lab {
    /// Everything of this test is below it.
    pub directory: PathBuf,
    /// Programs and images, shared by all tests, read-only.
    pub kit: PathBuf,
}

impl Lab {
    /// Makes the directories.
    pub fn new(kit: &Path, directory: &Path) -> io::Result<Lab> {
        for name in ["state", "run", "home", "xdg"] {
            fs::create_dir_all(directory.join(name))?;
        }
        fs::set_permissions(directory.join("xdg"), fs::Permissions::from_mode(0o700))?;
        Ok(Lab { directory: directory.to_path_buf(), kit: kit.to_path_buf() })
    }

    /// A path of this test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whether the tests run as root.
    pub fn is_root(&self) -> bool {
        knarr_probe::collect().user.effective_uid == 0
    }

    /// Gives up, saying what is missing here.
    pub fn skip(&self, reason: impl fmt::Display) -> ! {
        std::panic::resume_unwind(Box::new(Skip(reason.to_string())))
    }

    /// Goes on only as root.
    pub fn needs_root(&self) {
        if !self.is_root() {
            self.skip("not root");
        }
    }

    /// Goes on only if a file of the system is there.
    pub fn needs(&self, path: &str, package: &str) {
        if !Path::new(path).exists() {
            self.skip(format_args!("{package} is not installed"));
        }
    }

    /// The program under test with this lab's directories, ready for arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.kit.join("knarr"));
        command.arg("--root").arg(self.path("state")).arg("--runroot").arg(self.path("run"));
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("xdg")).env("TERM", "dumb");
        command.env("KNARR_E2E", &self.directory).current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    /// Runs `knarr ARGS` to its end.
    pub fn knarr<I: IntoIterator<Item: AsRef<str>>>(&self, args: I) -> Done {
        self.knarr_fed(args, b"")
    }

    /// Runs `knarr ARGS` to its end with `input` on standard input.
    pub fn knarr_fed<I: IntoIterator<Item: AsRef<str>>>(&self, args: I, input: &[u8]) -> Done {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_string()).collect();
        let mut command = self.command();
        finish(command.args(&args), &format!("knarr {}", args.join(" ")), input)
    }

    /// Starts `knarr ARGS`; standard output and error are piped.
    pub fn start<I: IntoIterator<Item: AsRef<str>>>(&self, args: I) -> Guarded {
        let mut command = self.command();
        for arg in args {
            command.arg(arg.as_ref());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Guarded::spawn(&mut command).expect("the program under test starts")
    }

    /// Loads one of the kit's images.
    pub fn load(&self, image: &str) {
        let archive = self.kit.join(format!("images/{image}.tar"));
        if !archive.exists() {
            self.skip(format_args!("the kit has no image {image}"));
        }
        self.knarr(["load", "-i", &archive.display().to_string()]).ok();
    }

    /// What the probe reports from a container run with `options`.
    pub fn probe(&self, options: &[&str]) -> Report {
        let args = ["run", "--rm"].iter().chain(options).chain(&["probe", "probe", "--json"]).copied();
        self.knarr(args).ok().report()
    }

    /// What `knarr inspect` says about `name`.
    pub fn inspect(&self, name: &str) -> Value {
        let mut list = self.knarr(["inspect", name]).ok().json();
        list[0].take()
    }
}

/// Runs `command` to its end with `input` on its standard input; `called` is how the report names it.
pub fn finish(command: &mut Command, called: &str, input: &[u8]) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guarded::spawn(command).unwrap_or_else(|why| panic!("{called}: {why}"));
    let (out, err) = (child.stdout.take().map(drain), child.stderr.take().map(drain));
    let feeding = child.stdin.take().map(|stdin| feed(stdin, input.to_vec()));
    let status = child.wait_patiently();
    feeding.map(|thread| thread.join());
    let text = |thread: Option<std::thread::JoinHandle<Vec<u8>>>| {
        String::from_utf8_lossy(&thread.and_then(|thread| thread.join().ok()).unwrap_or_default()).into_owned()
    };
    Done {
        called: called.to_string(),
        code: status.code(),
        signal: status.signal(),
        stdout: text(out),
        stderr: text(err),
    }
}

/// A command that has ended; the checks panic with all of it.
#[derive(Debug, Clone)]
pub struct Done {
    /// The command as one would type it.
    pub called: String,
    /// Exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Done {
    /// It exited with 0.
    pub fn ok(self) -> Done {
        self.exits(0)
    }

    /// It exited with `code`.
    pub fn exits(self, code: i32) -> Done {
        assert!(self.code == Some(code), "expected exit code {code}\n{self}");
        self
    }

    /// Its standard output is `text`.
    pub fn prints(self, text: &str) -> Done {
        assert!(self.stdout == text, "expected standard output {text:?}\n{self}");
        self
    }

    /// Its standard output contains `text`.
    pub fn shows(self, text: &str) -> Done {
        assert!(self.stdout.contains(text), "expected {text:?} on standard output\n{self}");
        self
    }

    /// Its standard error contains `text`.
    pub fn says(self, text: &str) -> Done {
        assert!(self.stderr.contains(text), "expected {text:?} on standard error\n{self}");
        self
    }

    /// Its standard error is empty.
    pub fn silently(self) -> Done {
        assert!(self.stderr.is_empty(), "expected nothing on standard error\n{self}");
        self
    }

    /// It failed in an orderly way: not with 0, not by a signal, and with a sentence that is no panic.
    pub fn fails(self) -> Done {
        assert!(self.code.is_some_and(|code| code != 0), "expected a failure\n{self}");
        assert!(!self.stderr.contains("panicked at") && !self.stderr.trim().is_empty(), "expected a sentence\n{self}");
        self
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("not JSON ({why})\n{self}"))
    }

    /// Standard output as a report of the probe.
    pub fn report(&self) -> Report {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("not a report ({why})\n{self}"))
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let end = match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or(0)),
        };
        write!(
            f,
            "  {}\n  {end}\n  stdout: {}\n  stderr: {}",
            self.called,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}
