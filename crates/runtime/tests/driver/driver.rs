//! Runs a bundle as the monitor does, in a process of one thread: what the tests of this crate call.
//!
//! `runtime-driver <wanted.json>`; see [`Wanted`]. `runtime-driver runtime …` is the command line of the applet. Exits with the program's code, or ours with the error on standard error.
//! `runtime-driver without CALL,…:ERRNO WORD…` is the same on a kernel that answers these calls with that number.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use knarr_runtime::{
    CreateOptions, Created, Error, ExecTarget, Gate, Host, NewNetwork, Plan, Running, Stdio, create, exec, plan,
    start_at,
};
use knarr_spec::runtime::{Process, Spec};
use serde::Deserialize;

/// What the test wants.
#[derive(Deserialize)]
struct Wanted {
    /// Beside the bundle's `config.json`.
    options: CreateOptions,
    /// Only print the plan.
    #[serde(default)]
    dry_run: bool,
    /// A process to run in the container once it runs; its code is the result then, and the container is killed.
    #[serde(default)]
    exec: Option<Process>,
}

/// Executes ourselves again behind a filter.
fn without(list: &str) -> ExitCode {
    let (names, errno) = list.split_once(':').expect("CALL,…:ERRNO");
    let names: Vec<&str> = names.split(',').collect();
    let rule = serde_json::json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.parse::<u32>().expect("a number") });
    let profile = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    let profile = serde_json::from_value(profile).expect("a profile");
    let program =
        knarr_seccomp::compile(&profile, knarr_seccomp::native().expect("an architecture")).expect("a program");
    assert!(program.unknown.is_empty(), "no such calls: {:?}", program.unknown);
    if knarr_sys::seccomp::install(&program.instructions, 0).is_err() {
        // Who is not root may once nothing that is executed can give him more.
        knarr_sys::prctl::set_no_new_privileges().expect("set");
        knarr_sys::seccomp::install(&program.instructions, 0).expect("installed: this process may");
    }
    let name = std::env::args_os().next().expect("a name");
    // Called as a runtime, what is executed is a mount that no path leads to.
    let mut command = std::process::Command::new("/proc/self/exe");
    let why = command.arg0(name).args(std::env::args_os().skip(3)).exec();
    panic!("executed behind the filter: {why}");
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == "without") {
        return without(&std::env::args().nth(2).expect("what is missing"));
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == "runtime") {
        return knarr_runtime::applet(std::env::args_os().skip(2).collect());
    }
    let wanted = PathBuf::from(std::env::args_os().nth(1).expect("a file"));
    let wanted: Wanted = serde_json::from_slice(&std::fs::read(wanted).expect("readable")).expect("what is wanted");
    match run(&wanted) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("{error}{cause}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(wanted: &Wanted) -> Result<u8, Error> {
    let config = std::fs::read(wanted.options.bundle.join("config.json")).expect("config.json");
    let spec: Spec = serde_json::from_slice(&config).expect("a configuration");
    let network = NewNetwork::begin(&spec);
    let plan = plan(&spec, &Host::probe(), &wanted.options)?;
    if wanted.dry_run {
        print!("{plan}");
        return Ok(0);
    }
    let created = create(plan.clone(), Stdio::default(), network)?;
    created.notes().iter().for_each(|note| eprintln!("note: {note}"));
    let cgroup = created.cgroup().cloned();
    let code = start(&plan, &wanted.options, created).and_then(|running| follow(wanted, running));
    // After a failed start it is gone already.
    if let Some(cgroup) = cgroup.filter(|cgroup| cgroup.exists()) {
        cgroup.remove()?;
    }
    code.map(|code| code as u8)
}

/// To the end of the container, or of the process that joins it.
fn follow(wanted: &Wanted, mut running: Running) -> Result<i32, Error> {
    let console = running.console.take();
    let Some(process) = &wanted.exec else {
        console.into_iter().for_each(copy_out);
        return Ok(running.wait()?.shell_code());
    };
    let cgroup = running.cgroup.clone();
    let target = ExecTarget { pid: running.pid, cgroup, seccomp: None, ..ExecTarget::default() };
    let joined = exec(&target, process, Stdio::default()).and_then(|joined| joined.wait());
    let _ = knarr_sys::pidfd::send_signal(&running.pidfd, 9);
    running.wait()?;
    console.into_iter().for_each(copy_out);
    Ok(joined?.shell_code())
}

/// Through the socket, as another process would, where the options say so.
fn start(plan: &Plan, options: &CreateOptions, mut created: Created) -> Result<Running, Error> {
    let Gate::Socket(path) = &options.gate else { return created.start() };
    let pidfd = created.pidfd().try_clone_to_owned().expect("a descriptor");
    let running =
        Running { pid: created.pid(), pidfd, console: created.take_console(), cgroup: created.cgroup().cloned() };
    drop(created);
    start_at(plan, path).map(|()| running)
}

/// What the program writes to its terminal, until nobody has that open any more.
fn copy_out(master: std::os::fd::OwnedFd) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = knarr_sys::io::read(&master, &mut bytes) {
        std::io::stdout().write_all(&bytes[..length]).expect("written");
    }
}
