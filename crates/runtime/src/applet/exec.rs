//! `exec`.

use std::{ffi::OsStr, os::fd::AsFd, path::Path};

use knarr_cgroup::Directory;
use knarr_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process};

use super::{
    argv::Given,
    attend::Attendant,
    commands::{Context, Done},
    console::hand_over,
    container::{Container, Status},
    create::{check_descriptors, tell, write_pid},
    document,
    failure::{At, Failure},
    log,
};
use crate::{ExecTarget, Host, Stdio, exec_plan, exec_planned};

/// One more program in a container.
pub(crate) fn exec(context: &mut Context<'_>) -> Result<Done, Failure> {
    one_more(context).map_err(|failure| Failure::ExecFailed(Box::new(failure)))
}

fn one_more(context: &Context<'_>) -> Result<Done, Failure> {
    let container = Container::of(context)?;
    match container.status() {
        Status::Stopped => return Err(Failure::ExecStopped),
        Status::Paused if !context.given.has("ignore-paused") => return Err(Failure::ExecPaused),
        _ => {}
    }
    let spec = container.spec()?;
    let process = match context.given.value("process").filter(|path| !path.is_empty()) {
        Some(path) => read(context, &context.path(path))?,
        None => from_flags(spec.process().clone().unwrap_or_default(), context)?,
    };
    let (terminal, detach) = (process.terminal().unwrap_or(false), context.given.has("detach"));
    match (detach && terminal, context.given.value("console-socket")) {
        (true, None) => return Err(Failure::NoConsoleSocket),
        (false, Some(_)) => return Err(Failure::NeedlessConsoleSocket),
        _ => {}
    }
    let preserve_fds = context.given.number("preserve-fds")?.unwrap_or(0);
    check_descriptors(context, 0, preserve_fds)?;
    let target = ExecTarget {
        pid: container.record.pid,
        cgroup: cgroup(&container, context.given)?,
        cgroup_of_init: if context.given.value("cgroup").is_some() { None } else { cgroup_of_init(&container) },
        seccomp: spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()),
        rdt: container.record.rdt.clone(),
        annotations: container.record.annotations.clone(),
        state: Some(container.state(crate::Status::Running)),
        personality: spec.linux().as_ref().and_then(|linux| linux.personality().clone()),
        memory_policy: spec.linux().as_ref().and_then(|linux| linux.memory_policy().clone()),
        leave_line_ends: !detach,
        pdeathsig: false,
        preserve_fds,
    };
    let attendant = if detach { None } else { Some(Attendant::new()?) };
    let plan = exec_plan(&target, &process)?;
    tell(context.globals, &plan);
    log::debug(context.globals, || "child process in init() gets its plan; setns_init: about to exec".into());
    let mut running = exec_planned(&plan, &target, Stdio::default())?;
    let console = running.console.take();
    if let (Some(socket), Some(master)) = (context.given.value("console-socket"), &console) {
        hand_over(&context.path(socket), master.as_fd(), "/dev/ptmx")?;
    }
    if let Some(socket) = context.given.value("pidfd-socket") {
        hand_over(&context.path(socket), running.pidfd.as_fd(), "pidfd")?;
    }
    if let Some(path) = context.given.value("pid-file") {
        write_pid(&context.path(path), running.pid)?;
    }
    match attendant {
        None => Ok(Done::Quiet),
        Some(attendant) => Ok(Done::Exit(attendant.attend(&running, console)?.shell_code() as u8)),
    }
}

/// The container's cgroup, or with `--cgroup PATH` or `--cgroup CONTROLLER,…:PATH` one below it.
fn cgroup(container: &Container, given: &Given) -> Result<Option<knarr_cgroup::Cgroup>, Failure> {
    let Some(mut cgroup) = container.record.cgroup.clone() else { return Ok(None) };
    for text in given.values("cgroup") {
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) => (controllers.split(',').collect(), path),
            None => (Vec::new(), text),
        };
        let names: Vec<&OsStr> = Path::new(path).iter().filter(|part| *part != "/").collect();
        if names.iter().any(|name| *name == "..") {
            return Err(Failure::SubCgroup(text.into()));
        }
        let has = |directory: &Directory, name: &str| directory.controllers.iter().any(|known| known == name);
        if let Some(name) = controllers.iter().find(|name| !cgroup.directories.iter().any(|d| has(d, name))) {
            return Err(Failure::Controller((*name).into()));
        }
        if let Some(unit) = &mut cgroup.unit {
            unit.subgroup = [unit.subgroup.as_str(), path.trim_matches('/')].join("/").trim_matches('/').to_owned();
        }
        let meant = |d: &Directory| controllers.is_empty() || controllers.iter().any(|name| has(d, name));
        for directory in cgroup.directories.iter_mut().filter(|directory| meant(directory)) {
            directory.path.extend(&names);
        }
    }
    Ok(Some(cgroup))
}

/// The container's cgroup, with the version 2 group its init has moved itself to.
fn cgroup_of_init(container: &Container) -> Option<knarr_cgroup::Cgroup> {
    let mut cgroup = container.record.cgroup.clone()?;
    let v2 = cgroup.directories.iter_mut().find(|directory| directory.version == knarr_cgroup::Version::V2)?;
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", container.record.pid)).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let hierarchy = Host::probe().cgroups.into_iter().find(|hierarchy| hierarchy.version2)?;
    let of_init = hierarchy.mount_point.join(path);
    if v2.path == of_init {
        return None;
    }
    v2.path = of_init;
    Some(cgroup)
}

fn read(context: &Context<'_>, path: &Path) -> Result<Process, Failure> {
    let bytes = std::fs::read(path).at("read", path)?;
    let read = document::read(&bytes, path, "")?;
    read.warnings.iter().for_each(|text| log::warning(context.globals, text));
    check(read.document)
}

fn check(process: Process) -> Result<Process, Failure> {
    match process.args().as_ref().is_none_or(Vec::is_empty) {
        true => Err(Failure::Exec("exec args cannot be empty")),
        false if !process.cwd().is_absolute() => Err(Failure::Exec("Cwd must be an absolute path")),
        false => Ok(process),
    }
}

/// The container's own process with what the flags change.
fn from_flags(mut process: Process, context: &Context<'_>) -> Result<Process, Failure> {
    let given = context.given;
    process.set_args(Some(given.words[1..].to_vec()));
    process.set_terminal(Some(given.has("tty")));
    if let Some(directory) = given.value("cwd").filter(|path| !path.is_empty()) {
        process.set_cwd(directory.into());
    }
    let added: Vec<String> = given.values("env").map(str::to_owned).collect();
    process.set_env(Some([process.env().clone().unwrap_or_default(), added].concat()));
    if let Some(label) = given.value("process-label").filter(|label| !label.is_empty()) {
        process.set_selinux_label(Some(label.into()));
    }
    if let Some(profile) = given.value("apparmor").filter(|profile| !profile.is_empty()) {
        process.set_apparmor_profile(Some(profile.into()));
    }
    if given.value("no-new-privs").is_some() {
        process.set_no_new_privileges(Some(given.has("no-new-privs")));
    }
    user(&mut process, given)?;
    capabilities(&mut process, context);
    check(process)
}

/// `--user UID[:GID]` and `--additional-gids`.
fn user(process: &mut Process, given: &Given) -> Result<(), Failure> {
    let mut user = process.user().clone();
    if let Some(text) = given.value("user").filter(|text| !text.is_empty()) {
        let number = |part: &str| {
            part.parse().map_err(|_| Failure::Value { flag: "user", value: text.into(), wants: "UID or UID:GID" })
        };
        let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
        user.set_uid(number(uid)?);
        if let Some(gid) = gid {
            user.set_gid(number(gid)?);
        }
    }
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    for text in given.values("additional-gids").flat_map(|list| list.split(',')) {
        let wants = "a group number";
        groups.push(text.parse().map_err(|_| Failure::Value { flag: "additional-gids", value: text.into(), wants })?);
    }
    if !groups.is_empty() {
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    Ok(())
}

/// `--cap`: into the bounding, effective and permitted sets, and the ambient one where something can be inherited.
fn capabilities(process: &mut Process, context: &Context<'_>) {
    let mut added = Capabilities::new();
    for name in context.given.values("cap") {
        let text = name.to_ascii_uppercase();
        let full = if text.starts_with("CAP_") { text } else { format!("CAP_{text}") };
        // As in a document: nobody has what nobody knows.
        match serde_json::from_value::<Capability>(full.into()) {
            Ok(known) => drop(added.insert(known)),
            Err(_) => {
                log::warning(context.globals, &format!("--cap: ignoring unknown or unavailable capabilities: [{name}]"))
            }
        }
    }
    if added.is_empty() {
        return;
    }
    let mut sets: LinuxCapabilities = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<Capabilities>| {
        let mut all = set.clone().unwrap_or_default();
        all.extend(added.iter().copied());
        Some(all)
    };
    sets.set_bounding(with(sets.bounding()));
    sets.set_effective(with(sets.effective()));
    sets.set_permitted(with(sets.permitted()));
    if sets.inheritable().as_ref().is_some_and(|set| !set.is_empty()) {
        sets.set_ambient(with(sets.ambient()));
    }
    process.set_capabilities(Some(sets));
}
