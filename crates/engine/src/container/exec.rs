//! `exec`: another process in a running container.

use std::path::{Path, PathBuf};

use knarr_monitor::{CONFIG_VERSION, Client, ExecConfig, Job, Status, StdinMode};
use knarr_sys::Root;

use super::start::Ahead;
use super::{bundle, find, names, users};
use crate::policy::{ExecChanges, exec_process};
use crate::{Context, Error, Namespace, Result, rootless};

/// What is asked of the process.
#[derive(Debug, Clone, Default)]
pub struct ExecWanted {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Changes of the environment.
    pub env: Vec<String>,
    /// Another user, as `user[:group]`.
    pub user: Option<String>,
    /// Another current directory.
    pub workdir: Option<String>,
    /// Allocate a terminal.
    pub terminal: bool,
    /// Pass standard input on.
    pub interactive: bool,
    /// Do not wait: the session removes itself.
    pub detach: bool,
    /// All capabilities.
    pub privileged: bool,
}

/// A session whose monitor is launched.
pub struct ExecSession {
    /// The connection; the caller attaches, says [`Client::start`], and reads.
    pub client: Client,
    dir: PathBuf,
    detached: bool,
}

impl Drop for ExecSession {
    fn drop(&mut self) {
        if !self.detached {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Launches the monitor of a new process in the container that `text` means, or gives it to the one launched ahead.
pub fn exec(context: &Context, text: &str, wanted: &ExecWanted, ahead: Ahead) -> Result<ExecSession> {
    let container = find(context, text)?;
    let record = &container.record;
    if container.state.status != Status::Running {
        return Err(Error::NotRunning(record.id.clone()));
    }
    if context.namespace == Namespace::Outside {
        rootless::join_namespace(container.state.monitor_pid)?;
    }
    let bundle = context.paths.container(&record.id);
    let base = bundle::read_process(&bundle)?;
    let changes = ExecChanges {
        terminal: wanted.terminal,
        user: wanted.user.as_deref().map(|user| user_inside(container.state.pid, user)).transpose()?,
        env: &wanted.env,
        workdir: wanted.workdir.as_deref(),
        privileged: wanted.privileged,
    };
    let id = names::new_id()?;
    let container_run_dir = context.paths.container_run(&record.id);
    let dir = container_run_dir.join("exec").join(&id);
    let config = ExecConfig {
        version: CONFIG_VERSION,
        id,
        container: record.id.clone(),
        bundle,
        container_run_dir,
        process: exec_process(&base, wanted.args.clone(), &changes),
        stdin: if wanted.interactive { StdinMode::Once } else { StdinMode::Closed },
        runtime: container.options.wanted.runtime.clone(),
        remove_session: wanted.detach,
    };
    config.save(&dir)?;
    let client = ahead.take(Job::Exec(&dir))?;
    Ok(ExecSession { client, dir, detached: wanted.detach })
}

fn user_inside(pid: u32, user: &str) -> Result<crate::userdb::ResolvedUser> {
    let path = format!("/proc/{pid}/root");
    let root = Root::open(Path::new(&path)).map_err(Error::sys("open the container's root"))?;
    users::in_root(root, user, &[])
}
