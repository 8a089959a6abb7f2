//! Debian's docker-registry as a guarded child on 127.0.0.1, and pushing made images into it.
//!
//! Spec: distribution-spec, "Pushing blobs" (POST then PUT), "Pushing manifests".

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::certificate;
use crate::http::{self, Request, Response};
use crate::process::Guarded;
use crate::{Blob, Image, wait};

/// Where Debian's package puts the program.
pub const PROGRAM: &str = "/usr/bin/docker-registry";

/// User and password of a registry that asks for them.
pub const LOGIN: (&str, &str) = ("ship", "hold-fast");

/// The same as htpasswd(1) with bcrypt writes it, the only hash docker-registry takes.
const HTPASSWD: &str = "ship:$2b$04$idbh17aSb8o.wkWzX17yf.7xzMhB2WtjY6hXkVl9//27ssZcFJ47y\n";

/// Whom a registry lets in, and how it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Plain HTTP for everybody.
    Open,
    /// Plain HTTP, Basic authentication with [`LOGIN`].
    Login,
    /// HTTPS for everybody, with a certificate nobody has signed but itself.
    Tls,
}

/// A running registry; stops and forgets everything on drop.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub address: String,
    process: Guarded,
    directory: TempDir,
    access: Access,
}

impl Registry {
    /// Starts an open one.
    pub fn start() -> io::Result<Registry> {
        Registry::start_in(tempfile::tempdir()?, Access::Open)
    }

    /// Starts again with the same content and other manners.
    pub fn restart(self, access: Access) -> io::Result<Registry> {
        let Registry { process, directory, .. } = self;
        drop(process);
        Registry::start_in(directory, access)
    }

    /// The certificate to trust when [`Access::Tls`].
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("registry.crt")
    }

    fn start_in(directory: TempDir, access: Access) -> io::Result<Registry> {
        let address = free_address()?;
        if access == Access::Tls {
            let [certificate, key] = ["registry.crt", "registry.key"].map(|name| directory.path().join(name));
            if !certificate::for_loopback(&certificate, &key)? {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        fs::write(directory.path().join("htpasswd"), HTPASSWD)?;
        let config = directory.path().join("config.yml");
        fs::write(&config, configuration(directory.path(), &address, access))?;
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(directory.path().join("log"))?);
        let process = Guarded::spawn(&mut command)?;
        let registry = Registry { address, process, directory, access };
        registry.wait_until_it_listens()?;
        Ok(registry)
    }

    fn wait_until_it_listens(&self) -> io::Result<()> {
        wait::until("the registry listens", || std::net::TcpStream::connect(&self.address).ok());
        Ok(())
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Stores `image` under `repository:tag`.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> io::Result<()> {
        image.blobs().try_for_each(|blob| self.push_blob(repository, blob))?;
        self.push_manifest(repository, tag, &image.manifest)
    }

    /// Stores one blob.
    pub fn push_blob(&self, repository: &str, blob: &Blob) -> io::Result<()> {
        let started = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"")?;
        let location = expect(&started, 202)?.header("location").unwrap_or_default();
        let path = location.split_once(&self.address).map_or(location, |(_, path)| path);
        let join = if path.contains('?') { '&' } else { '?' };
        let stored = self.send("PUT", &format!("{path}{join}digest={}", blob.digest), &[], &blob.bytes)?;
        expect(&stored, 201).map(drop)
    }

    /// Stores a manifest or an index whose parts are there already.
    pub fn push_manifest(&self, repository: &str, tag: &str, manifest: &Blob) -> io::Result<()> {
        let content_type = format!("content-type: {}", manifest.media_type);
        let path = format!("/v2/{repository}/manifests/{tag}");
        let stored = self.send("PUT", &path, &[content_type], &manifest.bytes)?;
        expect(&stored, 201).map(drop)
    }

    /// The file in which the registry keeps `blob`, for tests that damage it.
    pub fn blob_file(&self, blob: &Blob) -> PathBuf {
        let (two, hex) = (&blob.hex()[..2], blob.hex());
        self.directory.path().join(format!("data/docker/registry/v2/blobs/sha256/{two}/{hex}/data"))
    }

    fn send(&self, method: &str, path: &str, headers: &[String], body: &[u8]) -> io::Result<Response> {
        let mut headers = headers.to_vec();
        if self.access == Access::Login {
            headers.push(format!("authorization: {}", http::basic(LOGIN.0, LOGIN.1)));
        }
        http::send(&self.address, &Request { method, path, headers, body })
    }
}

fn expect(response: &Response, status: u16) -> io::Result<&Response> {
    let why = || format!("registry: {} {}", response.status, String::from_utf8_lossy(&response.body));
    if response.status == status { Ok(response) } else { Err(io::Error::other(why())) }
}

/// An address nobody listens on now.
fn free_address() -> io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn configuration(directory: &Path, address: &str, access: Access) -> String {
    let directory = directory.display();
    let manners = match access {
        Access::Open => String::new(),
        Access::Login => format!("auth: {{htpasswd: {{realm: harbour, path: {directory}/htpasswd}}}}\n"),
        Access::Tls => {
            format!("  tls: {{certificate: {directory}/registry.crt, key: {directory}/registry.key}}\n")
        }
    };
    format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n\
         http:\n  addr: {address}\n{manners}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ImageMaker, LayerTar};

    #[test]
    fn a_pushed_manifest_can_be_fetched_by_tag() {
        if !Path::new(PROGRAM).exists() {
            return eprintln!("skipped: docker-registry is not installed");
        }
        let registry = Registry::start().expect("a registry");
        let image = ImageMaker::new(json!({}), vec![LayerTar::new().file("a", 0o644, "x").finish()]).make();
        registry.push("fleet/one", "v1", &image).expect("pushed");
        let registry = registry.restart(Access::Login).expect("restarted");
        let accept = vec![format!("accept: {}", image.manifest.media_type)];
        let fetched = registry.send("GET", "/v2/fleet/one/manifests/v1", &accept, b"").expect("an answer");
        assert_eq!((fetched.status, fetched.body), (200, image.manifest.bytes));
    }
}
