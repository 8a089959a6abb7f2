//! `delete`.

use std::{fs, io};

use super::{
    commands::{Context, Done, Globals},
    container::{Container, Status, check_id},
    failure::{At, Failure},
    kill, log,
    query::each_that_matches,
};
use crate::{Host, poststop, run_hooks};

/// Removes what a stopped container holds; with `--force`, stops it before, and is content when there is none.
pub(crate) fn delete(context: &mut Context<'_>) -> Result<Done, Failure> {
    match context.given.has("regex") {
        true => each_that_matches(context, "delete", |id| one(context, id)),
        false => one(context, context.id()?),
    }
}

fn one(context: &Context<'_>, id: &str) -> Result<Done, Failure> {
    let force = context.given.has("force");
    let container = match Container::load(&context.globals.root, id) {
        Err(Failure::Missing(id)) => return nothing_there(context, id, force),
        other => other?,
    };
    match container.status() {
        Status::Stopped | Status::Created => {}
        _ if force => {}
        status => return Err(Failure::NotStopped { id: container.id().into(), status: status.name() }),
    }
    kill::all(&container)?;
    destroy(context.globals, &container)?;
    Ok(Done::Quiet)
}

/// A `create` that was killed leaves a directory without a record; the next one of that id needs it gone.
fn nothing_there(context: &Context<'_>, id: String, force: bool) -> Result<Done, Failure> {
    check_id(&id)?;
    let directory = context.globals.root.join(&id);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("remove", directory),
        _ => {}
    }
    if force { Ok(Done::Quiet) } else { Err(Failure::Missing(id)) }
}

/// The cgroup, the directory, the hooks: each is tried whatever became of the one before. A failed poststop hook is a warning
/// (runtime.md, Lifecycle 13).
pub(crate) fn destroy(globals: &Globals, container: &Container) -> Result<(), Failure> {
    // What a hook is does not depend on the machine.
    let hooks = || container.spec().map(|spec| poststop(&spec, &Host::default(), &container.record.options));
    let hooks = if container.record.poststop { hooks().unwrap_or_default() } else { Vec::new() };
    let cgroup = container.record.cgroup.clone().map_or(Ok(()), |cgroup| {
        if !container.record.own_processes {
            // They outlived the init.
            let _ = cgroup.kill();
        }
        cgroup.remove()
    });
    let directory = fs::remove_dir_all(&container.directory).at("remove", &container.directory);
    for hook in &hooks {
        if let Err(error) = run_hooks(std::slice::from_ref(hook), &container.state(crate::Status::Stopped)) {
            log::warning(globals, &error.to_string());
        }
    }
    cgroup?;
    container.record.rdt.as_ref().map_or(Ok(()), |rdt| rdt.leave())?;
    directory
}
