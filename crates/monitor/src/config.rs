//! What the engine tells a monitor: `monitor.json` in the container's directory, `exec.json` in a session's.
//!
//! Law: plain data, versioned, written before the monitor starts and never changed by it.
//! Not here: the runtime document itself (`config.json` in the bundle).

use std::fs;
use std::path::{Path, PathBuf};

use knarr_runtime::CreateOptions;
use knarr_spec::runtime::Process;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The version of `monitor.json` and `exec.json`.
pub const CONFIG_VERSION: u32 = 1;

/// SIGTERM.
const STOP_SIGNAL: i32 = 15;

/// Everything a container's monitor has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MonitorConfig {
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// How the container is made: id, bundle, root, cgroup. The monitor sets `pdeathsig` itself.
    pub create: CreateOptions,
    /// `<run>/containers/<id>`, made by the engine.
    pub run_dir: PathBuf,
    /// Where output is kept; `None` keeps nothing.
    #[serde(default)]
    pub log: Option<LogConfig>,
    /// Output and input are one pseudoterminal (`-t`). Must agree with `process.terminal`.
    #[serde(default)]
    pub terminal: bool,
    /// What becomes of standard input.
    #[serde(default)]
    pub stdin: StdinMode,
    /// A foreign OCI runtime to make the container with.
    #[serde(default)]
    pub runtime: Option<PathBuf>,
    /// Executed at the end when no client promised to clean up (or broke the promise). The first word is the program's path;
    /// `/proc/self/exe` is this binary.
    #[serde(default)]
    pub exit_command: Option<Vec<String>>,
    /// What a SIGTERM to the monitor becomes for the container.
    #[serde(default = "stop_signal")]
    pub stop_signal: i32,
}

/// Everything the monitor of an exec'd process has to know: `exec.json` in its session directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecConfig {
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// The session's id.
    pub id: String,
    /// The container's id, for a foreign runtime.
    pub container: String,
    /// The container's bundle; its `config.json` names the seccomp profile.
    pub bundle: PathBuf,
    /// The container's run directory: its `state.json` names the process to join.
    pub container_run_dir: PathBuf,
    /// The program.
    pub process: Process,
    /// What becomes of standard input.
    #[serde(default)]
    pub stdin: StdinMode,
    /// The foreign runtime the container was made with.
    #[serde(default)]
    pub runtime: Option<PathBuf>,
    /// Remove the session directory at the end (`exec -d`); otherwise the client does.
    #[serde(default)]
    pub remove_session: bool,
}

/// What becomes of standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdinMode {
    /// `/dev/null` (with a terminal: the terminal, into which nothing is typed).
    #[default]
    Closed,
    /// Open until the container ends, whoever attaches and leaves (`-di`).
    Open,
    /// Closed when a client says `stdin-eof` or the last client that attached stdin leaves (`-i`; docker's StdinOnce).
    Once,
}

/// A log in docker's json-file format, `log.jsonl` in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The file.
    pub path: PathBuf,
    /// Begin a new file when this one has grown to so many bytes (`max-size`).
    #[serde(default)]
    pub bytes_max: Option<u64>,
    /// How many files are kept, the current one included (`max-file`); at least 1.
    #[serde(default = "one")]
    pub files_max: u32,
}

fn stop_signal() -> i32 {
    STOP_SIGNAL
}

fn one() -> u32 {
    1
}

impl MonitorConfig {
    /// The least there is to say; everything else at its default.
    pub fn new(create: CreateOptions, run_dir: PathBuf) -> MonitorConfig {
        MonitorConfig {
            version: CONFIG_VERSION,
            create,
            run_dir,
            log: None,
            terminal: false,
            stdin: StdinMode::default(),
            runtime: None,
            exit_command: None,
            stop_signal: STOP_SIGNAL,
        }
    }

    /// Reads `monitor.json` in `<state>/containers/<id>`.
    pub fn load(container_dir: &Path) -> Result<MonitorConfig, Error> {
        let path = container_dir.join("monitor.json");
        let config: MonitorConfig = load(&path)?;
        check_version(&path, config.version)?;
        Ok(config)
    }

    /// Writes `monitor.json`.
    pub fn save(&self, container_dir: &Path) -> Result<(), Error> {
        save(&container_dir.join("monitor.json"), self)
    }
}

impl ExecConfig {
    /// Reads `exec.json` in `<run>/containers/<id>/exec/<session id>`.
    pub fn load(session_dir: &Path) -> Result<ExecConfig, Error> {
        let path = session_dir.join("exec.json");
        let config: ExecConfig = load(&path)?;
        check_version(&path, config.version)?;
        Ok(config)
    }

    /// Makes the session directory and writes `exec.json`.
    pub fn save(&self, session_dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(session_dir).map_err(Error::io("make", session_dir))?;
        save(&session_dir.join("exec.json"), self)
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Config { path: path.to_owned(), source })
}

fn check_version(path: &Path, version: u32) -> Result<(), Error> {
    match version {
        CONFIG_VERSION => Ok(()),
        version => Err(Error::Version { path: path.to_owned(), version }),
    }
}

fn save(path: &Path, config: &impl Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(config).map_err(|source| Error::Config { path: path.to_owned(), source })?;
    fs::write(path, bytes).map_err(Error::io("write", path))
}
