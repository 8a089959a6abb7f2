//! Stopping and continuing all processes of a cgroup.
//!
//! Version 2 where there is one, in a hybrid layout too; else the freezer of version 1.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use knarr_sys::poll;

use crate::{
    Cgroup, Error,
    files::{read_if_there, write},
    layout::Version,
};

/// A process in an uninterruptible call stops only after it; longer than this it is told as an error.
pub(crate) const FREEZE_MAX: Duration = Duration::from_secs(10);
/// The freezer of version 1 tells nobody when it is done, so it is asked again, at first after this long.
const ASK_AGAIN_FIRST: Duration = Duration::from_micros(200);
/// And at last after this long.
const ASK_AGAIN_LAST: Duration = Duration::from_millis(10);

pub(crate) fn freeze(cgroup: &Cgroup) -> Result<(), Error> {
    match switch(cgroup)? {
        (Version::V2, path) => {
            write(&path.join("cgroup.freeze"), "1")?;
            let done = until(&path.join("cgroup.events"), FREEZE_MAX, |events| event(events, "frozen") != Some("0"))?;
            if done { Ok(()) } else { Err(gave_up(&path.join("cgroup.freeze"), "0", path)) }
        }
        (Version::V1, path) => freeze_v1(path),
    }
}

/// A parent of version 1 is FREEZING until every task below has stopped, and a task that was just moving in can be missed by one
/// write.
fn freeze_v1(path: &Path) -> Result<(), Error> {
    let state = path.join("freezer.state");
    let (deadline, mut pause) = (Instant::now() + FREEZE_MAX, ASK_AGAIN_FIRST);
    loop {
        write(&state, "FROZEN")?;
        match read_if_there(&state)?.as_deref().map(str::trim) {
            Some("FROZEN") | None => return Ok(()),
            _ if Instant::now() > deadline => return Err(gave_up(&state, "THAWED", path)),
            _ => thread::sleep(pause),
        }
        pause = (pause * 2).min(ASK_AGAIN_LAST);
    }
}

/// Lets those that did stop go on.
fn gave_up(file: &Path, thawed: &str, path: &Path) -> Error {
    let _ = write(file, thawed);
    Error::Freeze { path: path.into() }
}

pub(crate) fn thaw(cgroup: &Cgroup) -> Result<(), Error> {
    match switch(cgroup)? {
        (Version::V2, path) => write(&path.join("cgroup.freeze"), "0"),
        (Version::V1, path) => write(&path.join("freezer.state"), "THAWED"),
    }
}

pub(crate) fn frozen(cgroup: &Cgroup) -> Result<bool, Error> {
    match switch(cgroup) {
        Ok((Version::V2, path)) => {
            Ok(read_if_there(&path.join("cgroup.freeze"))?.is_some_and(|text| text.trim() == "1"))
        }
        Ok((Version::V1, path)) => {
            Ok(read_if_there(&path.join("freezer.state"))?.is_some_and(|text| text.trim() != "THAWED"))
        }
        Err(_) => Ok(false),
    }
}

/// Which directory stops processes, and how.
fn switch(cgroup: &Cgroup) -> Result<(Version, &Path), Error> {
    let v2 = cgroup.v2().filter(|directory| directory.path.join("cgroup.freeze").exists());
    let found = v2.or_else(|| cgroup.directory("freezer"));
    found.map(|directory| (directory.version, directory.path.as_path())).ok_or(Error::NoFreezer)
}

/// The value of a key in `cgroup.events`.
pub(crate) fn event<'a>(events: &'a str, key: &str) -> Option<&'a str> {
    events.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

/// Reads the file whenever the kernel says it changed, until `done` or until the time is over; a file that is gone is done.
pub(crate) fn until(path: &Path, limit: Duration, done: impl Fn(&str) -> bool) -> Result<bool, Error> {
    let wrong = |source| Error::Read { path: path.into(), source };
    let deadline = Instant::now() + limit;
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other.map_err(wrong)?,
    };
    loop {
        let mut text = String::new();
        match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
            Err(error) if crate::files::gone(&error) => return Ok(true),
            other => other.map_err(wrong)?,
        };
        if done(&text) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !poll::changed_within(&file, Some(left)).map_err(|error| wrong(error.into()))? {
            return Ok(false);
        }
    }
}
