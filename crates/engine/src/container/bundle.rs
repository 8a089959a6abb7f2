//! The directory of a container: `config.json` and `monitor.json` at create; hosts, hostname and resolv.conf at each start.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use knarr_monitor::{LogConfig, MonitorConfig, StdinMode};
use knarr_runtime::{CgroupChoice, CreateOptions, OverlayRoot, RootSource};
use knarr_spec::runtime::{Process, Spec};
use knarr_store::RootMounts;

use crate::policy::{hostname_file, hosts_file, resolv_conf};
use crate::record::Options;
use crate::wanted::{Network, Wanted};
use crate::{Context, Error, Result};

/// Files a container keeps when nothing is said; docker's `max-file` default with a `max-size`.
const LOG_FILES: u32 = 1;

pub(super) fn make_dir(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("create", dir))
}

pub(super) fn write_config(dir: &Path, spec: &Spec) -> Result<()> {
    let path = dir.join("config.json");
    let bytes = serde_json::to_vec(spec).map_err(|source| Error::Document { path: path.clone(), source })?;
    write(&path, &bytes)
}

/// The process of a container's document, and nothing else of it: most of the document is its seccomp profile.
pub(super) fn read_process(dir: &Path) -> Result<Process> {
    #[derive(serde::Deserialize)]
    struct OnlyProcess {
        process: Process,
    }
    let path = dir.join("config.json");
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let document: OnlyProcess = serde_json::from_slice(&bytes).map_err(|source| Error::Document { path, source })?;
    Ok(document.process)
}

/// The three files. Written at each start, because the host's resolver may have changed.
pub(super) fn write_network_files(dir: &Path, options: &Options) -> Result<()> {
    let (wanted, effective) = (&options.wanted, &options.effective);
    let host = wanted.namespaces.network == Network::Host;
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let hosts = match host.then(|| std::fs::read_to_string("/etc/hosts")) {
        Some(Ok(text)) => text + &extra_lines(&wanted.extra_hosts),
        _ => hosts_file(&effective.hostname, wanted.domainname.as_deref(), None, &wanted.extra_hosts),
    };
    write(&dir.join("hosts"), hosts.as_bytes())?;
    write(&dir.join("hostname"), hostname_file(&effective.hostname).as_bytes())?;
    write(&dir.join("resolv.conf"), resolv_conf(&resolver, &wanted.dns, host).as_bytes())
}

fn extra_lines(extra: &[(String, String)]) -> String {
    extra.iter().map(|(name, address)| format!("{address}\t{name}\n")).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(Error::io("write", path))
}

/// What the monitor is told.
pub(super) fn monitor_config(
    context: &Context,
    id: &str,
    options: &Options,
    root: RootMounts,
    no_cgroup: bool,
) -> MonitorConfig {
    let wanted = &options.wanted;
    let dir = context.paths.container(id);
    let mut config =
        MonitorConfig::new(create_options(id, dir.clone(), root, no_cgroup), context.paths.container_run(id));
    config.log = log_config(wanted, &dir);
    config.terminal = wanted.terminal;
    config.stdin = match (wanted.interactive, wanted.stdin_once) {
        (false, _) => StdinMode::Closed,
        (true, true) => StdinMode::Once,
        (true, false) => StdinMode::Open,
    };
    config.runtime.clone_from(&wanted.runtime);
    config.stop_signal = options.effective.stop_signal;
    config.exit_command = wanted.auto_remove.then(|| cleanup_command(context, id));
    config
}

fn log_config(wanted: &Wanted, dir: &Path) -> Option<LogConfig> {
    let path = dir.join("log.jsonl");
    let files_max = wanted.log.max_file.unwrap_or(LOG_FILES);
    (!wanted.log.none).then_some(LogConfig { path, bytes_max: wanted.log.max_size_bytes, files_max })
}

/// The applet that removes a container whose foreground client is gone.
fn cleanup_command(context: &Context, id: &str) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let mut words = vec!["/proc/self/exe".to_owned(), "--root".to_owned(), text(&context.paths.state)];
    words.extend(["--runroot".to_owned(), text(&context.paths.run)]);
    words.extend(["cleanup".to_owned(), id.to_owned()]);
    words
}

pub(super) fn create_options(id: &str, bundle: PathBuf, root: RootMounts, no_cgroup: bool) -> CreateOptions {
    CreateOptions {
        id: id.to_owned(),
        bundle,
        root: RootSource::Overlay(OverlayRoot {
            base: root.base,
            lower: root.lower,
            upper: root.upper,
            work: root.work,
            userxattr: root.userxattr,
        }),
        cgroup: if no_cgroup { CgroupChoice::Caller } else { CgroupChoice::Spec },
        pdeathsig: true,
        ..CreateOptions::default()
    }
}
