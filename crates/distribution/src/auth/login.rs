//! `login` and `logout`: who we are, kept in a file or by a helper.
//!
//! Spec: containers-auth.json(5), Docker's config.json.
//! Law: of the file only our entry changes; it is replaced in one step, readable by its owner alone. Credentials are tried
//! before they are kept. Where a helper is named for the registry, the file gets no secret.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::files::{AuthFile, keys_of_host, normal};
use super::{Credentials, helper, server_name};
use crate::{Error, Network, Problem, look};

/// Where a login is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file, as good as in the open.
    File(PathBuf),
    /// By this helper.
    Helper(String),
}

/// Tries `user` and `password` at `registry` and keeps them in `file`, or in the helper that it names.
pub fn login(registry: &str, user: &str, password: &str, file: &Path, network: &Network) -> Result<Kept, Error> {
    let mut network = network.clone();
    network.auth.explicit = Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() });
    look::ping(registry, &network)?;
    let kept = keep(registry, user, password, file, &network.auth.helper_dirs);
    kept.map_err(|problem| Error { verb: "login", subject: registry.to_owned(), problem: Box::new(problem) })
}

/// The user `registry` knows us as, without asking it.
pub fn user(registry: &str, network: &Network) -> Result<Option<String>, Error> {
    let find = || {
        let reference = format!("{registry}/x").parse();
        let reference =
            reference.map_err(|error: knarr_spec::ReferenceError| Problem::Unsupported(error.to_string()))?;
        Ok(match network.auth.credentials(&reference)? {
            Some(Credentials::Password { user, .. }) => Some(user),
            Some(_) => Some("<token>".to_owned()),
            None => None,
        })
    };
    find().map_err(|problem| Error { verb: "login", subject: registry.to_owned(), problem: Box::new(problem) })
}

/// Forgets the login of `registry` in `files`, and in the helpers they name; the places that knew it.
pub fn logout(registry: &str, files: &[PathBuf], helper_dirs: &[PathBuf]) -> Result<Vec<Kept>, Error> {
    let forget = || {
        let mut forgotten = Vec::new();
        for file in files {
            let Some(known) = AuthFile::read(file)? else { continue };
            if let Some(name) = known.helper_of(registry)
                && helper::erase(name, helper_dirs, server_name(registry))?
            {
                forgotten.push(Kept::Helper(name.to_owned()));
            }
            let mut document = read(file)?;
            if remove(&mut document, registry) {
                write(file, &document)?;
                forgotten.push(Kept::File(file.clone()));
            }
        }
        Ok(forgotten)
    };
    forget().map_err(|problem| Error { verb: "logout", subject: registry.to_owned(), problem: Box::new(problem) })
}

/// Forgets every login of `file`.
pub fn logout_all(file: &Path) -> Result<(), Error> {
    let forget = || {
        let mut document = read(file)?;
        match document.as_object_mut().and_then(|fields| fields.remove("auths")) {
            Some(_) => write(file, &document),
            None => Ok(()),
        }
    };
    forget().map_err(|problem| Error { verb: "logout", subject: "all".to_owned(), problem: Box::new(problem) })
}

fn keep(registry: &str, user: &str, password: &str, file: &Path, helper_dirs: &[PathBuf]) -> Result<Kept, Problem> {
    let known = AuthFile::read(file)?.unwrap_or_default();
    let mut document = read(file)?;
    let key = key(registry);
    let fields = object(&mut document, file)?;
    let auths = fields.entry("auths").or_insert_with(|| json!({}));
    let auths = auths.as_object_mut().ok_or_else(|| wrong(file))?;
    if let Some(name) = known.helper_of(registry) {
        helper::store(name, helper_dirs, server_name(registry), user, password)?;
        // docker lists the servers of its store so, without a secret.
        auths.insert(key, json!({}));
        write(file, &document)?;
        return Ok(Kept::Helper(name.to_owned()));
    }
    auths.retain(|written, _| !means(written, registry));
    auths.insert(key, json!({"auth": STANDARD.encode(format!("{user}:{password}"))}));
    write(file, &document)?;
    Ok(Kept::File(file.to_owned()))
}

/// docker's own name for its hub; everything else as it is.
fn key(registry: &str) -> String {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => "https://index.docker.io/v1/".to_owned(),
        other => other.to_owned(),
    }
}

fn means(written: &str, registry: &str) -> bool {
    let registry = match registry {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    keys_of_host(registry).iter().any(|host| host == normal(written))
}

fn remove(document: &mut Value, registry: &str) -> bool {
    let Some(auths) = document.get_mut("auths").and_then(Value::as_object_mut) else { return false };
    let before = auths.len();
    auths.retain(|written, _| !means(written, registry));
    auths.len() < before
}

fn read(file: &Path) -> Result<Value, Problem> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(json!({})),
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| Problem::ConfigFile { path: file.to_owned(), what: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
        Err(source) => Err(Problem::File { path: file.to_owned(), source }),
    }
}

fn object<'d>(document: &'d mut Value, file: &Path) -> Result<&'d mut Map<String, Value>, Problem> {
    document.as_object_mut().ok_or_else(|| wrong(file))
}

fn wrong(file: &Path) -> Problem {
    Problem::ConfigFile { path: file.to_owned(), what: "not an object with credentials".to_owned() }
}

fn write(file: &Path, document: &Value) -> Result<(), Problem> {
    let failed = |source| Problem::File { path: file.to_owned(), source };
    // A link (to a file shared with docker, say) stays one.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let permissions = fs::Permissions::from_mode(0o600);
    let mut new =
        tempfile::Builder::new().prefix(".auth-").permissions(permissions).tempfile_in(dir).map_err(failed)?;
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    serde::Serialize::serialize(document, &mut serde_json::Serializer::with_formatter(&mut text, formatter))
        .expect("writing to memory");
    new.write_all(&text).map_err(failed)?;
    new.persist(&file).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_kept_beside_what_the_file_had_and_forgotten_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/config.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(
            &file,
            r#"{"HttpHeaders":{"A":"b"},"auths":{"https://reg.example/v2/":{"auth":"old"},"other.example":{}}}"#,
        )
        .unwrap();
        assert_eq!(keep("reg.example", "u", "p:w", &file, &[]).unwrap(), Kept::File(file.clone()));
        let document = read(&file).unwrap();
        assert_eq!(document["auths"]["reg.example"]["auth"], STANDARD.encode("u:p:w"));
        assert_eq!(document["HttpHeaders"]["A"], "b");
        assert!(document["auths"].get("https://reg.example/v2/").is_none());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(logout("reg.example", std::slice::from_ref(&file), &[]).unwrap().len(), 1);
        assert_eq!(logout("reg.example", std::slice::from_ref(&file), &[]).unwrap().len(), 0);
        assert!(read(&file).unwrap()["auths"].get("other.example").is_some());
    }

    #[test]
    fn docker_hub_has_dockers_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        keep("docker.io", "u", "p", &file, &[]).unwrap();
        assert!(read(&file).unwrap()["auths"].get("https://index.docker.io/v1/").is_some());
        assert!(remove(&mut read(&file).unwrap(), "docker.io"));
    }
}
