//! Writing a plan into a cgroup's directories.

use std::{fs::File, io};

use knarr_spec::runtime::LinuxResources;
use knarr_sys::bpf;

use crate::{
    Absent, Cgroup, Directory, Error, Homes, Write, devices,
    files::{gone, read_if_there, try_write, write},
    layout::Version,
    plan,
};

/// Applies the limits. Values that depend on each other (quota and period, memory with and without swap) are refused in one of
/// the two orders, and which one depends on what stands there now: so what is refused is tried again after the rest, for as long
/// as that helps.
pub(crate) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), Error> {
    limits(cgroup, resources)?;
    devices(cgroup, resources)
}

/// All but the device list.
pub(crate) fn limits(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), Error> {
    let mut left = plan(resources, &homes(cgroup))?;
    loop {
        let before = left.len();
        let mut failed = None;
        left.retain(|write| match one(cgroup, write) {
            Ok(()) => false,
            Err(error) => {
                failed.get_or_insert(error);
                true
            }
        });
        match failed {
            None => return Ok(()),
            Some(error) if left.len() == before || !depends_on_order(&error) => return Err(error),
            Some(_) => {}
        }
    }
}

/// The device list.
pub(crate) fn devices(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), Error> {
    match resources.devices() {
        Some(list) => allow_devices(cgroup, &devices::rules(list)?),
        None => Ok(()),
    }
}

/// Whether a limit that must not lie below what is used does.
pub(crate) fn check(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), Error> {
    for write in plan(resources, &homes(cgroup))? {
        if let (Some(file), Some(directory)) = (write.not_below, home(cgroup, &write)) {
            not_below(directory, file, &write.value)?;
        }
    }
    Ok(())
}

/// The controllers that act in this cgroup's directories.
fn homes(cgroup: &Cgroup) -> Homes {
    let of = |version| {
        let directories = cgroup.directories.iter().filter(move |d| d.version == version);
        directories.flat_map(|d| d.controllers.iter().cloned()).collect()
    };
    Homes { v1: of(Version::V1), v2: of(Version::V2), left_out: cgroup.left_out.clone() }
}

fn depends_on_order(error: &Error) -> bool {
    const EINVAL: i32 = 22;
    const EBUSY: i32 = 16;
    matches!(error, Error::Write { source, .. } if matches!(source.raw_os_error(), Some(EINVAL | EBUSY)))
}

/// The directory a file lies in.
fn home<'c>(cgroup: &'c Cgroup, write: &Write) -> Option<&'c Directory> {
    cgroup
        .directories
        .iter()
        .find(|d| d.version == write.version && (d.version == Version::V2 || d.controllers.contains(&write.controller)))
}

fn one(cgroup: &Cgroup, write: &Write) -> Result<(), Error> {
    let Some(directory) = home(cgroup, write) else {
        return Err(Error::Unsupported { what: "linux.resources.unified", version: 1 });
    };
    if let Some(file) = write.not_below {
        not_below(directory, file, &write.value)?;
    }
    let path = directory.path.join(&write.file);
    match (try_write(&path, &write.value), &write.absent) {
        (Ok(()), _) => Ok(()),
        (Err(error), Absent::Skip) if gone(&error) => Ok(()),
        (Err(error), Absent::Instead(other)) if gone(&error) => one(cgroup, other),
        (Err(error), _) if gone(&error) && is_of_no_controller(directory, write) => {
            Err(Error::UnifiedMissing { file: write.file.clone(), controller: write.controller.clone() })
        }
        (Err(source), _) => Err(Error::Write { path, value: write.value.clone(), source }),
    }
}

/// `cgroup.*` are there without one.
fn is_of_no_controller(directory: &Directory, write: &Write) -> bool {
    let known = write.controller == "cgroup" || directory.controllers.contains(&write.controller);
    directory.version == Version::V2 && !known
}

/// Refuses a limit below what is used.
fn not_below(directory: &Directory, file: &str, limit: &str) -> Result<(), Error> {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let usage = read_if_there(&directory.path.join(file))?;
    match (usage.as_deref().and_then(number), number(limit)) {
        (Some(usage), Some(limit)) if usage > limit => Err(Error::BelowUsage { limit, usage }),
        _ => Ok(()),
    }
}

/// Version 1 where it has the controller; else a program in version 2; else, rootless, nothing: there the user namespace keeps
/// devices away.
fn allow_devices(cgroup: &Cgroup, rules: &[devices::Rule]) -> Result<(), Error> {
    if let Some(directory) = cgroup.directory("devices") {
        let lines = devices::v1(rules);
        return lines.iter().try_for_each(|(file, line)| write(&directory.path.join(file), line));
    }
    match cgroup.v2() {
        Some(directory) => attach_program(directory, rules),
        None => Ok(()),
    }
}

/// Puts our program in the place of those that are attached, without a moment in which anything or nothing is allowed.
fn attach_program(directory: &Directory, rules: &[devices::Rule]) -> Result<(), Error> {
    let wrong = |source| Error::Devices { path: directory.path.clone(), source };
    let cgroup = File::open(&directory.path).map_err(|source| Error::Read { path: directory.path.clone(), source })?;
    let old = match bpf::device_programs(&cgroup) {
        Ok(old) => old,
        // Without privilege there is no device to keep away either.
        Err(error) if io::Error::from(error.clone()).kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(wrong(error)),
    };
    if devices::everything(rules) {
        return old.iter().try_for_each(|program| bpf::detach_device_program(&cgroup, program)).map_err(wrong);
    }
    let program = bpf::load_device_program(&devices::program(rules)).map_err(wrong)?;
    use std::os::fd::AsFd;
    match &old[..] {
        [one] => bpf::attach_device_program(&cgroup, &program, Some(one.as_fd())).map_err(wrong),
        several => {
            bpf::attach_device_program(&cgroup, &program, None).map_err(wrong)?;
            several.iter().try_for_each(|old| bpf::detach_device_program(&cgroup, old)).map_err(wrong)
        }
    }
}
