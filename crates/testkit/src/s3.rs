//! An S3 server: moto, on a port of its own, with one bucket.

use std::io::{BufRead, BufReader, Error, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;

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
        let Some(program) = program() else {
            eprintln!("skipped: moto is not installed (cargo xtask setup)");
            return Ok(None);
        };
        let mut command = bound(program, "KILL");
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = Guarded::spawn(&mut command)?;
        let mut lines = BufReader::new(server.stderr.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(Error::other("moto ended before it said where it listens"));
            }
            if let Some((_, address)) = line.trim().split_once("Running on http://") {
                break address.to_owned();
            }
        };
        crate::process::drain(lines);
        let made = http::send(
            &address,
            &Request { method: "PUT", path: &format!("/{BUCKET}"), headers: Vec::new(), body: b"" },
        )?;
        if made.status != 200 {
            return Err(Error::other(format!("moto makes no bucket: {}", made.status)));
        }
        Ok(Some(S3 { address, _server: server }))
    }
}
