//! An Azure blob server: azurite, on a port of its own, with one container, all in memory.

use std::io::{BufRead, BufReader, Error, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::http::{self, Request};
use crate::process::{Guarded, bound};

/// The account every such server has.
pub const ACCOUNT: &str = "devstoreaccount1";
/// The account's key, which Microsoft publishes and azurite's source holds: it opens nothing else.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The container it has.
pub const CONTAINER: &str = "images";

/// The right to make containers, signed with [`KEY`]; no address is part of such a signature.
const MAY_MAKE: &str =
    "sv=2018-11-09&ss=b&srt=c&sp=c&se=2099-12-31T00:00:00Z&sig=GP6QotC0ag7sPvYliJ4FUgag06T6qOg8HS7r6tsfRBg%3D";

/// A running server; what it holds ends with it.
pub struct Azure {
    /// `127.0.0.1:PORT`.
    pub address: String,
    _server: Guarded,
}

/// Where `cargo xtask setup` puts the program, or where it is installed.
fn program() -> Option<PathBuf> {
    let ours = std::env::var_os("HOME")
        .map(|home| Path::new(&home).join(".cache/knarr-tests/azurite/node_modules/.bin/azurite-blob"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|directory| directory.join("azurite-blob"));
    ours.into_iter().chain(installed).find(|file| file.exists())
}

impl Azure {
    /// Starts a server; `None`, and says so, where azurite is not installed.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start() -> Result<Option<Azure>> {
        let Some(program) = program() else {
            eprintln!("skipped: azurite is not installed (cargo xtask setup)");
            return Ok(None);
        };
        let mut command = bound(program, "KILL");
        command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry"]);
        // Clients speak a newer version of the protocol than it knows.
        command.args(["--skipApiVersionCheck", "--silent"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = Guarded::spawn(&mut command)?;
        let mut lines = BufReader::new(server.stdout.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(Error::other("azurite ended before it said where it listens"));
            }
            if let Some((_, address)) = line.trim().split_once("successfully listens on http://") {
                break address.to_owned();
            }
        };
        crate::process::drain(lines);
        let path = format!("/{ACCOUNT}/{CONTAINER}?restype=container&{MAY_MAKE}");
        let made = http::send(&address, &Request { method: "PUT", path: &path, headers: Vec::new(), body: b"" })?;
        if made.status != 201 {
            return Err(Error::other(format!("azurite makes no container: {}", made.status)));
        }
        Ok(Some(Azure { address, _server: server }))
    }
}
