//! OpenPGP signatures, made by gpg.
//!
//! Law: gpg is the one of the caller's search path, with the caller's keyring and agent: whoever signs uses keys of his own.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::Problem;

/// A key that gpg signs with.
#[derive(Debug, Clone)]
pub struct Gpg {
    /// A fingerprint, or whatever else gpg finds a key by.
    pub key: String,
    /// What unlocks it; gpg's agent asks where there is none.
    pub passphrase: Option<String>,
}

const PROGRAM: &str = "gpg";

impl Gpg {
    /// An OpenPGP message with `payload` and a signature over it.
    pub(super) fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, Problem> {
        let dir = tempfile::tempdir();
        let dir = dir.map_err(|source| Problem::File { path: "a temporary directory".into(), source })?;
        let file = dir.path().join("claim");
        std::fs::write(&file, payload).map_err(|source| Problem::File { path: file.clone(), source })?;
        let mut command = Command::new(PROGRAM);
        command.args(["--quiet", "--yes", "--local-user", &self.key, "--output", "-"]);
        if self.passphrase.is_some() {
            command.args(["--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0"]);
        }
        run(command.arg("--sign").arg(&file), self.passphrase.as_deref())
    }
}

/// The public keys that gpg knows by these names.
pub fn export(keys: &[String]) -> Result<Vec<u8>, Problem> {
    let exported = run(Command::new(PROGRAM).args(["--batch", "--quiet", "--export", "--"]).args(keys), None)?;
    match exported.is_empty() {
        true => Err(Problem::Signature(format!("gpg knows no key {}", keys.join(", ")))),
        false => Ok(exported),
    }
}

fn run(command: &mut Command, passphrase: Option<&str>) -> Result<Vec<u8>, Problem> {
    let fed = if passphrase.is_some() { Stdio::piped() } else { Stdio::null() };
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Problem::Signature("gpg is not installed; install the package gnupg".to_owned())
        }
        _ => Problem::File { path: PROGRAM.into(), source: error },
    };
    let mut child = command.stdin(fed).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(missing)?;
    if let (Some(mut stdin), Some(passphrase)) = (child.stdin.take(), passphrase) {
        // Whoever does not read it says why below.
        let _ = writeln!(stdin, "{passphrase}");
    }
    let output = child.wait_with_output().map_err(missing)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Problem::Signature(said.trim().lines().collect::<Vec<_>>().join("; ")));
    }
    Ok(output.stdout)
}
