//! Devices and links in the container's `/dev`.
//!
//! Spec: config-linux.md "Devices", "Default Devices"; runtime-linux.md "Dev symbolic links".

use std::ffi::{CStr, CString};

use knarr_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};
use knarr_sys::InRoot;

use super::Build;
use super::step::{DeviceStep, Step};
use crate::Problem;

const DEFAULTS: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: &[(&str, &CStr)] = &[
    ("/dev/fd", c"/proc/self/fd"),
    ("/dev/stdin", c"/proc/self/fd/0"),
    ("/dev/stdout", c"/proc/self/fd/1"),
    ("/dev/stderr", c"/proc/self/fd/2"),
    ("/dev/core", c"/proc/kcore"),
    ("/dev/ptmx", c"pts/ptmx"),
];

/// Permissions of a device without `fileMode`, and of the default ones.
const MODE_DEFAULT: u32 = 0o666;

pub(super) fn plan(build: &mut Build<'_>, linux: &Linux) {
    let given = linux.devices().as_deref().unwrap_or_default();
    let mut steps: Vec<DeviceStep> = Vec::new();
    for (index, device) in given.iter().enumerate() {
        let Some(step) = device_step(build, index, device) else { continue };
        if steps.iter().any(|other| other.path == step.path) {
            let at = format!("linux.devices[{index}].path");
            build.problems.push(Problem::Duplicate { at, value: format!("/{}", step.path) });
        }
        steps.push(step);
    }
    for &(path, major, minor) in DEFAULTS {
        let bind_from = binds(build).then(|| CString::new(path).expect("no NUL in the table"));
        let path = InRoot::parse(path).expect("no NUL in the table");
        if !steps.iter().any(|other| other.path == path) {
            steps.push(DeviceStep { path, kind: 'c', major, minor, mode: MODE_DEFAULT, uid: 0, gid: 0, bind_from });
        }
    }
    build.child.extend(steps.into_iter().map(Step::Device));
    let links = LINKS.iter().map(|(at, text)| (InRoot::parse(at).expect("no NUL in the table"), *text));
    build.child.extend(links.map(|(at, text)| Step::Link { text: text.to_owned(), at }));
}

fn binds(build: &Build<'_>) -> bool {
    build.in_user_namespace()
}

fn device_step(build: &mut Build<'_>, index: usize, device: &LinuxDevice) -> Option<DeviceStep> {
    let at = |what: &str| format!("linux.devices[{index}].{what}");
    let kind = match device.typ() {
        LinuxDeviceType::B => 'b',
        LinuxDeviceType::C | LinuxDeviceType::U => 'c',
        LinuxDeviceType::P => 'p',
        LinuxDeviceType::A => {
            build.invalid(at("type"), "a", "must be c, b, u or p");
            return None;
        }
    };
    if !device.path().is_absolute() {
        build.invalid(at("path"), device.path().to_string_lossy(), "must be absolute");
    }
    let number = |n: i64| u32::try_from(n).ok();
    let (Some(major), Some(minor)) = (number(device.major()), number(device.minor())) else {
        build.invalid(at("major"), format!("{}:{}", device.major(), device.minor()), "is no device number");
        return None;
    };
    let bind_from = match binds(build) && kind != 'p' {
        true => Some(build.c_string(&at("path"), device.path().as_os_str())?),
        false => None,
    };
    Some(DeviceStep {
        path: build.in_root(&at("path"), device.path())?,
        kind,
        major,
        minor,
        mode: device.file_mode().unwrap_or(MODE_DEFAULT) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        bind_from,
    })
}
