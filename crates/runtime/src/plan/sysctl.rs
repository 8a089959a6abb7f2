//! Kernel parameters of namespaces.
//!
//! Spec: config-linux.md "Sysctl". Law: only parameters that belong to a namespace of the container's own.

use knarr_spec::runtime::Linux;

use super::Build;
use super::step::{Namespace, ProcWrite, Step};
use crate::Problem;

/// Parameters of an IPC namespace, beside those below `fs.mqueue`.
const IPC: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

pub(super) fn plan(build: &mut Build<'_>, linux: &Linux, domainname: Option<&str>) {
    let mut given: Vec<_> = linux.sysctl().iter().flatten().collect();
    given.sort();
    for (key, value) in given {
        let at = format!("linux.sysctl[{key}]");
        let path = path(key);
        if let Some(problem) = problem(build, &at, key, &path) {
            build.problems.push(problem);
            continue;
        }
        if path == "kernel/domainname" && domainname.is_some_and(|name| name != value) {
            build.invalid(&at, value, "conflicts with the property domainname");
        }
        let file = build.c_string(&at, format!("sys/{path}").as_ref());
        let value = build.c_string(&at, value.as_ref());
        if let (Some(file), Some(value)) = (file, value) {
            build.child.push(Step::WriteProc(ProcWrite { file, value }));
        }
    }
}

/// sysctl(8): whichever of `.` and `/` comes first separates; the other is part of a name.
fn path(key: &str) -> String {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'.') => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn problem(build: &Build<'_>, at: &str, key: &str, path: &str) -> Option<Problem> {
    let needs = |kind: Namespace, needs| {
        let missing = !build.own(kind);
        missing.then(|| Problem::Needs { at: at.into(), value: key.into(), needs })
    };
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Some(Problem::Invalid { at: at.into(), value: key.into(), rule: "is no parameter" });
    }
    if path.starts_with("net/") {
        return needs(Namespace::Network, "a network namespace of the container's own");
    }
    if path.starts_with("fs/mqueue/") || IPC.contains(&path) {
        return needs(Namespace::Ipc, "an ipc namespace of the container's own");
    }
    match path {
        "kernel/domainname" => needs(Namespace::Uts, "a uts namespace of the container's own"),
        "kernel/hostname" => {
            let rule = "conflicts with the property hostname";
            Some(Problem::Invalid { at: at.into(), value: key.into(), rule })
        }
        _ if path.starts_with("user/") => needs(Namespace::User, "a user namespace of the container's own"),
        _ => Some(Problem::Invalid { at: at.into(), value: key.into(), rule: "is not a parameter of a namespace" }),
    }
}
