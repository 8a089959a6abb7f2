//! `kill`.

use std::time::Duration;

use super::{
    commands::{Context, Done},
    container::{Container, Status},
    failure::Failure,
    init::Init,
    query::each_that_matches,
    signal,
};

const SIGKILL: i32 = 9;
/// A killed process ends as soon as the kernel gets to it; one that is stuck in it may not end at all.
const END_MAX: Duration = Duration::from_secs(10);

/// A signal to the init. SIGKILL to a container without a process namespace of its own goes to every process of its cgroup, because
/// there they would outlive the init.
pub(crate) fn kill(context: &mut Context<'_>) -> Result<Done, Failure> {
    match context.given.has("regex") {
        true => each_that_matches(context, "kill", |id| signal(context, id)),
        false => signal(context, context.id()?),
    }
}

fn signal(context: &Context<'_>, id: &str) -> Result<Done, Failure> {
    let container = Container::load(&context.globals.root, id)?;
    let signal = signal::parse(context.given.words.get(1).map_or("TERM", String::as_str))?;
    if signal == SIGKILL && !container.record.own_processes {
        all(&container)?;
        return Ok(Done::Quiet);
    }
    let everyone = context.given.has("all");
    match container.status() {
        Status::Stopped if everyone => Ok(Done::Quiet),
        Status::Stopped => Err(Failure::NotRunning),
        status => {
            if let (true, Some(cgroup)) = (everyone, &container.record.cgroup) {
                cgroup.signal(signal)?;
            } else {
                one(&container, signal)?;
            }
            // The freezer of version 1 keeps the killed from ending.
            if let (SIGKILL, Status::Paused, Some(cgroup)) = (signal, status, &container.record.cgroup) {
                cgroup.thaw()?;
            }
            Ok(Done::Quiet)
        }
    }
}

fn one(container: &Container, signal: i32) -> Result<(), Failure> {
    let Some(init) = Init::open(container)? else { return Err(Failure::NotRunning) };
    if init.signal(signal)? { Ok(()) } else { Err(Failure::NotRunning) }
}

/// Ends every process of the container, and waits until the init has ended.
pub(crate) fn all(container: &Container) -> Result<(), Failure> {
    let init = Init::open(container)?;
    if let Some(cgroup) = container.record.cgroup.as_ref().filter(|cgroup| cgroup.exists()) {
        cgroup.kill()?;
    }
    let Some(init) = init else { return Ok(()) };
    let _ = init.signal(SIGKILL);
    if init.ended_within(END_MAX) { Ok(()) } else { Err(Failure::StillRunning) }
}
