//! Certificates of servers for tests, made by openssl.

use std::io::Result;
use std::path::Path;
use std::process::Command;

/// Makes a certificate for 127.0.0.1 and localhost that nobody but itself vouches for, and its key, in PEM. `false`, and says so, where openssl
/// is not installed.
///
/// # Errors
/// Where openssl cannot be run for another reason than that it is missing.
pub fn for_loopback(certificate: &Path, key: &Path) -> Result<bool> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.arg("-keyout").arg(key).arg("-out").arg(certificate);
    match openssl.output() {
        Ok(output) if output.status.success() => Ok(true),
        Ok(output) => Err(std::io::Error::other(format!("openssl: {}", String::from_utf8_lossy(&output.stderr)))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: openssl is not installed (cargo xtask setup)");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
