//! An S3 server: moto, on a port of its own, with one bucket.

use std::io::{BufRead, BufReader, Error, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::certificate;
use crate::http::{self, Request};
use crate::process::{Guarded, bound};

/// The bucket it has.
pub const BUCKET: &str = "images";

/// A running server; what it holds ends with it.
pub struct S3 {
    /// `127.0.0.1:PORT`.
    pub address: String,
    _server: Guarded,
}

/// Where `cargo xtask setup` puts the program, or where it is installed.
fn program() -> Option<PathBuf> {
    let ours = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/knarr-tests/moto/bin/moto_server"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|directory| directory.join("moto_server"));
    ours.into_iter().chain(installed).find(|file| file.exists())
}

impl S3 {
    /// Starts a server; `None`, and says so, where moto is not installed.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start() -> Result<Option<S3>> {
        let Some(s3) = S3::listening(None)? else { return Ok(None) };
        let path = format!("/{BUCKET}");
        let made = http::send(&s3.address, &Request { method: "PUT", path: &path, headers: Vec::new(), body: b"" })?;
        if made.status != 200 {
            return Err(Error::other(format!("moto makes no bucket: {}", made.status)));
        }
        Ok(Some(s3))
    }

    /// The same over TLS, with a certificate of its own that it leaves there with its key; `None` also where openssl is not
    /// installed. It has no bucket yet: who trusts the certificate makes one.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start_tls(certificate: &Path, key: &Path) -> Result<Option<S3>> {
        if !certificate::for_loopback(certificate, key)? {
            return Ok(None);
        }
        S3::listening(Some((certificate, key)))
    }

    fn listening(tls: Option<(&Path, &Path)>) -> Result<Option<S3>> {
        let Some(program) = program() else {
            eprintln!("skipped: moto is not installed (cargo xtask setup)");
            return Ok(None);
        };
        let mut command = bound(program, "KILL");
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some((certificate, key)) = tls {
            command.arg("-c").arg(certificate).arg("-k").arg(key);
        }
        let mut server = Guarded::spawn(&mut command)?;
        let mut lines = BufReader::new(server.stderr.take().expect("piped"));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(Error::other("moto ended before it said where it listens"));
            }
            if let Some((_, address)) = line.trim().split_once(&format!("Running on {scheme}://")) {
                break address.to_owned();
            }
        };
        crate::process::drain(lines);
        Ok(Some(S3 { address, _server: server }))
    }
}
