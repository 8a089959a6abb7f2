//! A Postgres server with a cluster of its own, which listens on a socket in its directory, and on loopback where it is to speak
//! TLS.

use std::fs;
use std::io::{Error, Result};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::certificate;
use crate::process::{Guarded, bound, signal};
use crate::wait;

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The user everything belongs to.
const USER: &str = "knarr";

/// The server's certificate and its key, in its directory.
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";

/// A running server; its cluster goes with it.
pub struct Postgres {
    directory: TempDir,
    programs: PathBuf,
    server: Guarded,
    databases: AtomicU32,
    /// Where it speaks TLS, if it does.
    port: Option<u16>,
}

/// A user that is not root, since Postgres refuses to run as root: Debian's own, or nobody.
fn ordinary_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let fields =
        users.lines().find(|line| line.starts_with("postgres:")).map(|line| line.split(':').collect::<Vec<_>>());
    let ids = fields.and_then(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)));
    ids.unwrap_or((65_534, 65_534))
}

/// Makes the server's certificate and its key, which is its user's alone; whether openssl is there to do it.
fn make_certificate(directory: &Path, user: Option<(u32, u32)>) -> Result<bool> {
    let key = directory.join(KEY);
    if !certificate::for_loopback(&directory.join(CERTIFICATE), &key)? {
        return Ok(false);
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    if let Some((uid, gid)) = user {
        chown(&key, Some(uid), Some(gid))?;
    }
    Ok(true)
}

impl Postgres {
    /// Starts a server; `None`, and says so, where none is installed.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start() -> Result<Option<Postgres>> {
        Postgres::begin(false)
    }

    /// The same, also with TLS on loopback; `None` also where openssl is not installed.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start_tls() -> Result<Option<Postgres>> {
        Postgres::begin(true)
    }

    fn begin(tls: bool) -> Result<Option<Postgres>> {
        let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
        let Some(programs) = versions.filter(|programs| programs.join("initdb").exists()).max() else {
            eprintln!("skipped: postgresql is not installed (cargo xtask setup)");
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let user = if fs::metadata("/proc/self")?.uid() == 0 { Some(ordinary_user()) } else { None };
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid))?;
        }
        // Whoever runs the tests reaches the socket.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let command = |program: &str| {
            let mut command = bound(programs.join(program), "QUIT");
            command.current_dir(directory.path()).env_clear().env("LC_ALL", "C.UTF-8");
            command.stdin(Stdio::null()).stdout(Stdio::null());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let data = directory.path().join("data");
        let made = command("initdb").args(["-U", USER, "-A", "trust", "--no-sync", "-D"]).arg(&data).output()?;
        if !made.status.success() {
            return Err(Error::other(format!("initdb: {}", String::from_utf8_lossy(&made.stderr))));
        }
        let mut serve = command("postgres");
        serve.arg("-D").arg(&data).arg("-k").arg(directory.path()).args(["-c", "fsync=off"]);
        let port = match tls {
            true => {
                if !make_certificate(directory.path(), user)? {
                    return Ok(None);
                }
                let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
                serve.args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}"), "-c", "ssl=on"]);
                for (setting, file) in [("ssl_cert_file", CERTIFICATE), ("ssl_key_file", KEY)] {
                    serve.arg("-c").arg(format!("{setting}={}", directory.path().join(file).display()));
                }
                Some(port)
            }
            false => {
                serve.args(["-c", "listen_addresses="]);
                None
            }
        };
        serve.args(["-c", "max_connections=200", "-c", "log_min_messages=panic"]).stderr(Stdio::null());
        let server = Guarded::spawn(&mut serve)?;
        let postgres = Postgres { programs, directory, server, databases: AtomicU32::new(0), port };
        wait::until("Postgres answers", || postgres.run("psql", &["-c", "SELECT 1", "postgres"]).ok());
        Ok(Some(postgres))
    }

    /// The directory of its socket.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// Makes an empty database; its address.
    ///
    /// # Errors
    /// Where the server refuses.
    pub fn database(&self) -> Result<String> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &[&name])?;
        Ok(format!("postgres://{USER}@localhost/{name}?host={}", self.socket().display()))
    }

    /// Makes an empty database; its address on loopback, and the certificate that who asks there must trust. `None` where the
    /// server speaks no TLS.
    ///
    /// # Errors
    /// Where the server refuses.
    pub fn database_behind_tls(&self) -> Result<Option<(String, PathBuf)>> {
        let Some(port) = self.port else { return Ok(None) };
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &[&name])?;
        let address = format!("postgres://{USER}@127.0.0.1:{port}/{name}?sslmode=verify-full");
        Ok(Some((address, self.socket().join(CERTIFICATE))))
    }

    /// Runs a statement in the database of that address.
    ///
    /// # Errors
    /// Where the server refuses.
    pub fn execute(&self, address: &str, statement: &str) -> Result<String> {
        let name = address.rsplit('/').find(|part| part.starts_with("test")).unwrap_or_default();
        let name = name.split('?').next().unwrap_or_default();
        self.run("psql", &["-At", "-c", statement, name])
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        let port = self.port.unwrap_or(5432).to_string();
        UnixStream::connect(self.socket().join(format!(".s.PGSQL.{port}")))?;
        let mut command = Command::new(self.programs.join(program));
        let output =
            command.args(["-p", &port]).arg("-h").arg(self.socket()).args(["-U", USER]).args(words).output()?;
        let why = || Error::other(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
        if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()) } else { Err(why()) }
    }
}

impl Drop for Postgres {
    /// SIGQUIT: at once, but its own processes with it.
    fn drop(&mut self) {
        signal(self.server.id(), "QUIT");
        self.server.wait_patiently();
    }
}
