//! The command line of runc and crun: `knarr runtime …`, or this binary called `runc`, `crun` or `knarr-runtime`.
//!
//! Spec: runtime-spec runtime.md "Operations"; the command line is runc's, with what engines use of crun's.
//! Law: starts in microseconds: a table of flags, no parser library, no logger, no thread before a container runs. The only
//! module of this crate that reads the environment and prints; the commands below it are handed values and return text.
//! Not here: how a container is made (`plan`, `apply`).

mod argv;
mod attend;
mod commands;
mod console;
mod container;
mod create;
mod criu;
mod delete;
mod document;
mod events;
mod exec;
mod failure;
mod features;
mod init;
mod kill;
mod limits;
mod log;
mod notify;
mod other_stats;
mod query;
mod signal;
mod spec;
mod start;
mod time;

use std::{
    env,
    ffi::OsString,
    io::Write,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use knarr_sys::{credentials, memory, self_exe};

use crate::host;
pub use argv::Flag;
pub use commands::{CommandHelp, command_help};
use commands::{Done, Globals, World};
use failure::Failure;

/// What a container's document, its plan and its filter take of the heap.
const HEAP_BYTES: usize = 256 << 10;

/// Runs one command. `args` are the words after the program's name (and after `runtime`).
pub fn applet(args: Vec<OsString>) -> ExitCode {
    let world = world();
    let words = match args.into_iter().map(OsString::into_string).collect::<Result<Vec<String>, OsString>>() {
        Ok(words) => words,
        Err(word) => return fail(&Globals::default(), &Failure::NotText(word), &world.name, ""),
    };
    match commands::parse(&words, &world) {
        Err(failure) => fail(&Globals::default(), &failure, &world.name, ""),
        Ok(call) => {
            let mut say = |text: &str| print(text);
            let done = if call.enters_containers() {
                protect().and_then(|()| {
                    memory::reserve_heap(HEAP_BYTES);
                    call.run(&world, &mut say)
                })
            } else {
                call.run(&world, &mut say)
            };
            match done {
                Ok(Done::Quiet) => ExitCode::SUCCESS,
                Ok(Done::Text(text)) => {
                    print(&text);
                    ExitCode::SUCCESS
                }
                Ok(Done::Exit(code)) => ExitCode::from(code),
                Err(failure) => fail(&call.globals, &failure, &world.name, call.name()),
            }
        }
    }
}

/// The ids of the containers that the command line `words`, which may be unfinished, can be about; none where that cannot be told.
pub fn container_ids(words: &[String]) -> Vec<String> {
    query::names_in(&commands::root_of(words, &world())).unwrap_or_default()
}

/// What the surroundings say, once.
fn world() -> World {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let number = |name: &str| variable(name)?.to_str()?.parse::<u32>().ok();
    let meant_for_us = number("LISTEN_PID") == Some(std::process::id());
    let name = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    World {
        name: name.file_name().map_or("knarr".into(), |name| name.to_string_lossy().into_owned()),
        directory: env::current_dir().unwrap_or_else(|_| "/".into()),
        root: default_root(
            credentials::effective_user() == 0
                && (!host::in_user_namespace() || variable("USER") == Some("root".into())),
            variable("XDG_RUNTIME_DIR").map(PathBuf::from).as_deref(),
        ),
        listen_fds: if meant_for_us { number("LISTEN_FDS").unwrap_or(0) } else { 0 },
        listen_names: variable("LISTEN_FDNAMES").filter(|_| meant_for_us).and_then(|names| names.into_string().ok()),
        session_bus: variable("DBUS_SESSION_BUS_ADDRESS").and_then(|text| text.into_string().ok()),
        runtime_directory: variable("XDG_RUNTIME_DIR").and_then(|text| text.into_string().ok()),
        notify_socket: variable("NOTIFY_SOCKET").map(PathBuf::from),
    }
}

/// `/run/knarr/runtime`, or the user's own, also where he is root of a user namespace only, as in an engine's; runc's rule.
fn default_root(root: bool, runtime_directory: Option<&Path>) -> PathBuf {
    match (root, runtime_directory) {
        (true, _) | (_, None) => "/run/knarr/runtime".into(),
        (_, Some(directory)) => directory.join("knarr/runtime"),
    }
}

/// Executes ourselves again from a file nobody can write to, so that a container that makes us execute `/proc/self/exe`
/// inside of it gets hold of nothing (CVE-2019-5736).
fn protect() -> Result<(), Failure> {
    if self_exe::is_protected() {
        return Ok(());
    }
    let exe = self_exe::protected()?;
    let mut words = env::args_os();
    let mut command = Command::new(format!("/proc/self/fd/{}", exe.as_raw_fd()));
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    Err(Failure::Protect(command.args(words).exec()))
}

fn print(text: &str) {
    // A closed pipe is the reader's choice.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn print_error(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Tells the log and, unless that is the same place, standard error.
fn fail(globals: &Globals, failure: &Failure, program: &str, command: &str) -> ExitCode {
    // What execve(2) answered runc's child tells itself, without a frame: nobody listens to it any more.
    let bare = matches!(failure, Failure::Runtime(crate::Error::Execute { .. }));
    log::error(globals, &failure.text_of(program, command), program == "runc" && !bare);
    ExitCode::from(failure.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_directory_of_the_machines_and_users_their_own() {
        let own = Some(Path::new("/run/user/7"));
        assert_eq!(default_root(true, own), Path::new("/run/knarr/runtime"));
        assert_eq!(default_root(false, own), Path::new("/run/user/7/knarr/runtime"));
        assert_eq!(default_root(false, None), Path::new("/run/knarr/runtime"));
    }
}
