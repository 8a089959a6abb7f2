//! The `process` object: what runs, as whom, with which powers.

use std::collections::HashSet;

use knarr_spec::image::ContainerConfig;
use knarr_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Process, ProcessBuilder, User,
};

use super::mounts::INIT_PATH;
use super::{Basis, PolicyError, hostname};
use crate::userdb::ResolvedUser;
use crate::wanted::{CapabilitySet, Ulimit, Wanted, apply_env};

/// `PATH` where the image sets none.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Entrypoint and command together: a new entrypoint also drops the image's command, as in docker.
pub fn command(wanted: &Wanted, image: &ContainerConfig) -> Result<Vec<String>, PolicyError> {
    let mut words = match &wanted.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => image.entrypoint.clone().unwrap_or_default(),
    };
    if !wanted.command.is_empty() {
        words.extend_from_slice(&wanted.command);
    } else if wanted.entrypoint.is_none() || words.is_empty() {
        words.extend(image.cmd.clone().unwrap_or_default());
    }
    if words.is_empty() || words[0].is_empty() {
        return Err(PolicyError::NoCommand);
    }
    Ok(words)
}

pub(super) fn process(basis: &Basis) -> Result<Process, PolicyError> {
    let wanted = basis.wanted;
    let mut args = command(wanted, basis.image)?;
    if basis.init_binary.is_some() {
        args.splice(0..0, [INIT_PATH, "init", "--"].map(str::to_owned));
    }
    let mut process = Process::default();
    process.set_terminal(Some(wanted.terminal));
    process.set_user(user(basis.user));
    process.set_args(Some(args));
    process.set_env(Some(environment(basis)));
    process.set_cwd(working_dir(wanted, basis.image).into());
    process.set_capabilities(Some(capabilities(granted(wanted)?, basis.user.uid == 0)));
    process
        .set_rlimits(Some(wanted.resources.ulimits.iter().map(rlimit).collect::<Vec<_>>()).filter(|l| !l.is_empty()));
    process.set_no_new_privileges(Some(wanted.security.no_new_privileges));
    process.set_oom_score_adj(wanted.resources.oom_score_adj);
    process.set_apparmor_profile(apparmor(basis));
    process.set_selinux_label(selinux_label(&wanted.security.label));
    Ok(process)
}

/// The process of an `exec` in a container made from `base`, its first process: everything not asked otherwise is inherited.
pub fn exec_process(base: &Process, args: Vec<String>, changes: &ExecChanges) -> Process {
    let mut process = ProcessBuilder::default().build().expect("every field has a default");
    process.set_terminal(Some(changes.terminal));
    process.set_user(changes.user.as_ref().map_or_else(|| base.user().clone(), user));
    process.set_args(Some(args));
    let mut env = base.env().clone().unwrap_or_default();
    if let Some(user) = &changes.user {
        env = apply_env(&env, &[format!("HOME={}", user.home)]);
    }
    if changes.terminal {
        env = apply_env(&env, &["TERM=xterm".to_owned()]);
    }
    process.set_env(Some(apply_env(&env, changes.env)));
    process.set_cwd(changes.workdir.map_or_else(|| base.cwd().clone(), Into::into));
    let root = process.user().uid() == 0;
    let bounding = base.capabilities().as_ref().and_then(|capabilities| capabilities.bounding().clone());
    let set = if changes.privileged { set_of(CapabilitySet::ALL) } else { bounding.unwrap_or_default() };
    process.set_capabilities(Some(capability_sets(set, root)));
    process.set_rlimits(base.rlimits().clone());
    process.set_no_new_privileges(base.no_new_privileges().filter(|_| !changes.privileged));
    process.set_apparmor_profile(base.apparmor_profile().clone().filter(|_| !changes.privileged));
    process.set_selinux_label(base.selinux_label().clone());
    process.set_oom_score_adj(base.oom_score_adj());
    process
}

/// How an `exec` differs from the container's first process.
#[derive(Debug, Clone, Default)]
pub struct ExecChanges<'a> {
    /// Allocate a terminal.
    pub terminal: bool,
    /// Another user, resolved.
    pub user: Option<ResolvedUser>,
    /// Changes of the environment.
    pub env: &'a [String],
    /// Another directory.
    pub workdir: Option<&'a str>,
    /// All capabilities.
    pub privileged: bool,
}

fn user(resolved: &ResolvedUser) -> User {
    let mut user = User::default();
    user.set_uid(resolved.uid);
    user.set_gid(resolved.gid);
    user.set_additional_gids(Some(resolved.additional_gids.clone()).filter(|gids| !gids.is_empty()));
    user
}

/// Docker's order: PATH, HOSTNAME, TERM, then the image's and the user's, then HOME.
fn environment(basis: &Basis) -> Vec<String> {
    let mut base = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", hostname(basis))];
    if basis.wanted.terminal {
        base.push("TERM=xterm".to_owned());
    }
    let mut env = apply_env(&apply_env(&base, &basis.image.env), &basis.wanted.env);
    if !env.iter().any(|entry| entry.starts_with("HOME=")) && !basis.wanted.env.iter().any(|entry| entry == "HOME") {
        env.push(format!("HOME={}", basis.user.home));
    }
    env
}

fn working_dir(wanted: &Wanted, image: &ContainerConfig) -> String {
    let base = if image.working_dir.is_empty() { "/" } else { &image.working_dir };
    match &wanted.workdir {
        Some(dir) => dir.clone(),
        None if base.starts_with('/') => base.to_owned(),
        // Docker reads a relative WorkingDir from the root.
        None => format!("/{base}"),
    }
}

fn granted(wanted: &Wanted) -> Result<CapabilitySet, PolicyError> {
    let base = if wanted.privileged { CapabilitySet::ALL } else { CapabilitySet::docker_default() };
    Ok(base.adjusted(&wanted.cap_add, &wanted.cap_drop)?)
}

fn capabilities(granted: CapabilitySet, root: bool) -> LinuxCapabilities {
    capability_sets(set_of(granted), root)
}

/// Root holds what is granted; others hold nothing, but can gain it by a set-user-id program. Nothing is ever inheritable (CVE-2022-24769).
fn capability_sets(set: Capabilities, root: bool) -> LinuxCapabilities {
    let held = if root { set.clone() } else { HashSet::new() };
    let builder = LinuxCapabilitiesBuilder::default().bounding(set).permitted(held.clone()).effective(held);
    builder.inheritable(HashSet::new()).ambient(HashSet::new()).build().expect("every field has a default")
}

fn set_of(granted: CapabilitySet) -> Capabilities {
    capabilities_of(granted).collect()
}

pub(super) fn capabilities_of(granted: CapabilitySet) -> impl Iterator<Item = Capability> {
    granted.names().map(|name| name.parse().expect("oci-spec knows every capability"))
}

fn rlimit(ulimit: &Ulimit) -> PosixRlimit {
    let name = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
    let kind: PosixRlimitType = name.parse().expect("the names of Ulimit are the kernel's");
    PosixRlimitBuilder::default()
        .typ(kind)
        .soft(ulimit.soft)
        .hard(ulimit.hard)
        .build()
        .expect("every field has a default")
}

fn apparmor(basis: &Basis) -> Option<String> {
    match &basis.wanted.security.apparmor {
        Some(profile) => Some(profile.clone()),
        None if basis.wanted.privileged => None,
        None => basis.host.apparmor.clone(),
    }
}

/// `label=user:u`, `role:r`, `type:t`, `level:l` to `u:r:t:l`; nothing or `disable` is no label.
fn selinux_label(options: &[String]) -> Option<String> {
    if options.is_empty() || options.iter().any(|option| option == "disable") {
        return None;
    }
    let mut parts = ["system_u", "system_r", "container_t", "s0"].map(str::to_owned);
    for (key, value) in options.iter().filter_map(|option| option.split_once(':')) {
        let place = ["user", "role", "type", "level"].iter().position(|name| *name == key);
        if let Some(place) = place {
            parts[place] = value.to_owned();
        }
    }
    Some(parts.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn check(entrypoint: Option<&[&str]>, cmd: &[&str], wanted: (Option<&[&str]>, &[&str]), expect: Option<&[&str]>) {
        let image = ContainerConfig { entrypoint: entrypoint.map(words), cmd: Some(words(cmd)), ..Default::default() };
        let wanted = Wanted { entrypoint: wanted.0.map(words), command: words(wanted.1), ..Default::default() };
        assert_eq!(command(&wanted, &image).ok(), expect.map(words));
    }

    #[test]
    fn the_images_words_are_the_default() {
        check(Some(&["/e"]), &["a"], (None, &[]), Some(&["/e", "a"]));
        check(None, &["sh"], (None, &[]), Some(&["sh"]));
    }

    #[test]
    fn a_command_replaces_the_images_command_only() {
        check(Some(&["/e"]), &["a"], (None, &["b"]), Some(&["/e", "b"]));
    }

    #[test]
    fn a_new_entrypoint_drops_the_images_command() {
        check(Some(&["/e"]), &["a"], (Some(&["/n"]), &[]), Some(&["/n"]));
        check(Some(&["/e"]), &["a"], (Some(&["/n"]), &["x"]), Some(&["/n", "x"]));
    }

    #[test]
    fn an_empty_entrypoint_removes_the_images() {
        check(Some(&["/e"]), &["a"], (Some(&[]), &["x"]), Some(&["x"]));
        check(Some(&["/e"]), &["a"], (Some(&[]), &[]), Some(&["a"]));
    }

    #[test]
    fn no_word_at_all_is_an_error() {
        check(None, &[], (None, &[]), None);
    }
}
