//! `start`.

use std::fs;

use super::{
    commands::{Context, Done},
    container::{Container, Status, short},
    delete::destroy,
    failure::Failure,
    kill,
    notify::Notify,
};
use crate::{Gate, Host, plan, run_hooks, start_at};

/// Opens the gate. A failed poststart hook stops the container and undoes what `create` did (runtime.md, Lifecycle 9 and 12).
pub(crate) fn start(context: &mut Context<'_>) -> Result<Done, Failure> {
    let container = Container::of(context)?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(Failure::HasStopped),
        Status::Running => return Err(Failure::AlreadyRunning),
        status => return Err(Failure::State { verb: "start", status: status.name() }),
    }
    let spec = container.spec()?;
    if spec.process().is_none() {
        return Err(Failure::NoProcess);
    }
    let notify = Notify::bind(context, &container.directory)?;
    let gate = short(&container.gate())?;
    let mut options = container.record.options.clone();
    options.gate = Gate::Socket(gate.path.clone());
    let plan = plan(&spec, &Host::probe(), &options).map_err(crate::Error::from)?;
    let started = start_at(&plan, &gate.path);
    let _ = fs::remove_file(container.gate());
    started?;
    if let Err(error) = run_hooks(&plan.poststart, &container.state(crate::Status::Running)) {
        kill::all(&container)?;
        destroy(context.globals, &container)?;
        return Err(error.into());
    }
    if let Some(notify) = notify {
        notify.forward(container.record.pid, false);
    }
    Ok(Done::Quiet)
}
