//! Hooks: when they run, and where.
//!
//! Spec: config.md "POSIX-platform Hooks"; the order of runtime.md "Lifecycle".

use std::collections::HashMap;

use knarr_spec::runtime::{Hook, Spec};

use super::Build;
use super::step::{HookKind, HookStep, ParentStep, Step, Sync};

fn hooks(build: &mut Build<'_>, kind: HookKind, hooks: Option<&Vec<Hook>>) -> Vec<HookStep> {
    let numbered = hooks.into_iter().flatten().enumerate();
    numbered.filter_map(|(index, hook)| hook_step(build, kind, index, hook)).collect()
}

fn hook_step(build: &mut Build<'_>, kind: HookKind, index: usize, hook: &Hook) -> Option<HookStep> {
    let at = format!("hooks.{}[{index}]", kind.name());
    if !hook.path().is_absolute() {
        build.invalid(format!("{at}.path"), hook.path().to_string_lossy(), "must be absolute");
    }
    let timeout_s = match hook.timeout() {
        Some(seconds) if seconds <= 0 => {
            build.invalid(format!("{at}.timeout"), seconds.to_string(), "must be above zero");
            None
        }
        other => other.map(i64::unsigned_abs),
    };
    let path = build.c_string(&at, hook.path().as_os_str())?;
    let arguments = match hook.args() {
        Some(arguments) if !arguments.is_empty() => build.c_strings(&at, arguments),
        _ => vec![path.clone()],
    };
    let environment = hook.env().as_deref().map(|given| build.c_strings(&at, given));
    let output = build.annotations.hook_output.clone();
    Some(HookStep { kind, index, path, arguments, environment, timeout_s, output })
}

/// prestart and createRuntime in our own namespaces, createContainer in the container's; all before the root changes.
pub(super) fn before_pivot(build: &mut Build<'_>, spec: &Spec) {
    let Some(given) = spec.hooks() else { return };
    let mut ours = hooks(build, HookKind::Prestart, given.prestart().as_ref());
    ours.extend(hooks(build, HookKind::CreateRuntime, given.create_runtime().as_ref()));
    let theirs = hooks(build, HookKind::CreateContainer, given.create_container().as_ref());
    // The container's own hooks wait too: what they read on stdin, the parent writes when it knows the process id.
    if !ours.is_empty() || !theirs.is_empty() {
        build.child.extend([Step::Say(Sync::NamespacesReady), Step::Wait(Sync::HooksDone)]);
        build.after_clone.push(ParentStep::Wait(Sync::NamespacesReady));
        build.after_clone.extend(ours.into_iter().map(ParentStep::Hook));
        build.after_clone.push(ParentStep::Say(Sync::HooksDone));
    }
    build.child.extend(theirs.into_iter().map(Step::Hook));
    build.plan.poststart = hooks(build, HookKind::Poststart, given.poststart().as_ref());
    // Checked now, run by whoever deletes the container.
    hooks(build, HookKind::Poststop, given.poststop().as_ref());
}

/// In the container, after the start and before the program: as the program, under the same filter (runc's place for them).
pub(super) fn start_container(build: &mut Build<'_>, spec: &Spec) {
    let given = spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_ref());
    let theirs = hooks(build, HookKind::StartContainer, given);
    build.child.extend(theirs.into_iter().map(Step::Hook));
}

/// The hooks to run after the container is gone.
pub fn poststop(spec: &Spec, host: &crate::Host, options: &crate::CreateOptions) -> Vec<HookStep> {
    let given = spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_ref());
    let mut build = Build::new(host, options);
    build.annotations = super::annotation::read(&mut build, spec.annotations().as_ref().unwrap_or(&HashMap::new()));
    hooks(&mut build, HookKind::Poststop, given)
}
