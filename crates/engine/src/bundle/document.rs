//! The runtime document of a bundle.
//!
//! Spec: image-spec conversion.md: User, Env, WorkingDir, Entrypoint and Cmd become the process; os, architecture, author,
//! created, stop signal and exposed ports become annotations, and so do labels.
//! Law: the document of `run` with the engine's own files left out, and `Volumes` as empty mounts; rootless with a user namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};

use knarr_sys::Root;
use serde_json::{Value, json};

use super::Unpacking;
use crate::container::users;
use crate::image::shelf::Picked;
use crate::policy::{self, Basis, HostFacts};
use crate::wanted::Wanted;
use crate::{Error, Result};

/// Where the engine's own files would be; whatever is mounted from there is left out.
const NOWHERE: &str = "/knarr-bundle";

/// What is run where the image says nothing.
const SHELL: &str = "sh";

/// Writes `config.json`.
pub(super) fn write(path: &Path, root: &Root, picked: &Picked, how: &Unpacking) -> Result<()> {
    let config = &picked.config.config;
    let mut wanted = Wanted { hostname: Some("knarr".to_owned()), terminal: true, ..Wanted::default() };
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) && config.cmd.as_ref().is_none_or(Vec::is_empty) {
        wanted.command = vec![SHELL.to_owned()];
    }
    let again = root.try_clone().map_err(Error::sys("open the bundle"))?;
    let user = users::in_root(again, &config.user, &[])?;
    // The terminals' group is 5; a lone user's namespace has no such id.
    let host = HostFacts { rootless: how.rootless, gid_max: if how.rootless { 0 } else { 5 }, ..HostFacts::default() };
    let basis = Basis {
        id: "bundle",
        dir: PathBuf::from(NOWHERE),
        wanted: &wanted,
        image: config,
        host: &host,
        user: &user,
        mounts: &[],
        devices: &[],
        init_binary: None,
    };
    let spec = policy::spec(&basis)?;
    let mut document = serde_json::to_value(spec).expect("a document has string keys and finite numbers");
    adapt(&mut document, how);
    sort_capabilities(&mut document);
    if let Some(env) = document["process"]["env"].as_array_mut() {
        // The engine's, like the files it has left out.
        env.retain(|entry| entry != "HOSTNAME=knarr" || config.env.iter().any(|own| entry == own));
    }
    volumes(&mut document, config.volumes.keys());
    document["annotations"] = Value::Object(annotations(picked));
    let text = serde_json::to_vec_pretty(&document).expect("a value has string keys");
    fs::write(path, text).map_err(Error::io("write", path))
}

fn adapt(document: &mut Value, how: &Unpacking) {
    let own = |mount: &Value| mount["source"].as_str().is_some_and(|source| source.starts_with(NOWHERE));
    if let Some(mounts) = document["mounts"].as_array_mut() {
        mounts.retain(|mount| !own(mount));
    }
    let Some(linux) = document["linux"].as_object_mut() else { return };
    linux.remove("cgroupsPath");
    if how.rootless {
        linux.remove("resources");
        if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
            namespaces.retain(|namespace| namespace["type"] != "network" && namespace["type"] != "cgroup");
            namespaces.push(json!({"type": "user"}));
        }
        let (uid, gid) = how.outside;
        linux.insert("uidMappings".to_owned(), json!([{"containerID": 0, "hostID": uid, "size": 1}]));
        linux.insert("gidMappings".to_owned(), json!([{"containerID": 0, "hostID": gid, "size": 1}]));
        if let Some(mounts) = document["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["type"] != "cgroup");
            for mount in mounts.iter_mut().filter(|mount| mount["destination"] == "/sys") {
                // A file system of the network namespace cannot be mounted by whoever does not own it.
                *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
            }
        }
    }
}

/// They are sets, and the same image gives the same document.
fn sort_capabilities(document: &mut Value) {
    let Some(sets) = document["process"]["capabilities"].as_object_mut() else { return };
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
    }
}

/// What the image keeps apart from its files is empty, and gone with the container, as umoci has it: a bundle has no engine that
/// would keep it.
fn volumes<'v>(document: &mut Value, paths: impl Iterator<Item = &'v String>) {
    let Some(mounts) = document["mounts"].as_array_mut() else { return };
    mounts.extend(paths.map(|path| {
        json!({"destination": path, "type": "tmpfs", "source": "none",
               "options": ["rw", "nosuid", "nodev", "noexec", "relatime"]})
    }));
}

fn annotations(picked: &Picked) -> serde_json::Map<String, Value> {
    let config = &picked.config;
    let mut annotations = serde_json::Map::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            annotations.insert(format!("org.opencontainers.image.{name}"), value.into());
        }
    };
    put("os", &config.platform.os);
    put("architecture", &config.platform.architecture);
    put("variant", config.platform.variant.as_deref().unwrap_or_default());
    put("author", config.author.as_deref().unwrap_or_default());
    put("created", config.created.as_deref().unwrap_or_default());
    put("stopSignal", config.config.stop_signal.as_deref().unwrap_or_default());
    put("exposedPorts", &config.config.exposed_ports.keys().cloned().collect::<Vec<_>>().join(","));
    // What the author of the image wrote comes before what we derive.
    annotations.extend(config.config.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())));
    annotations
}
