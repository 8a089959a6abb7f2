//! The end-to-end tests: one compiled program (`crates/testkit/e2e`), run as root, as an ordinary user, and inside
//! user-mode Linux, always from a kit: a directory with the binary under test, the probe, and the images they use.
//!
//! The program prints one line per test, `ok NAME`, `FAILED NAME` or `skipped (REASON) NAME`, with details indented, and
//! `done` at the end; without that last line the run counts as broken.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::tally::Tally;
use crate::watch::{self, SILENCE_MAX};
use crate::workspace::Workspace;
use crate::{Outcome, cargo, shell};

/// The ordinary user of the rootless tests; made when missing.
const USER: &str = "knarr-test";

/// Everything the tests need, readable by everybody, removed at the end.
pub struct Kit {
    /// Where it stands.
    pub directory: PathBuf,
}

impl Kit {
    /// Builds the programs and lets the test program make its images.
    pub fn stage() -> Outcome<Kit> {
        Kit::stage_with(cargo::FAST)
    }

    /// The same with the binary built by another profile.
    pub fn stage_with(profile: &str) -> Outcome<Kit> {
        let directory = std::env::temp_dir().join(format!("knarr-e2e-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        let kit = Kit { directory };
        let product = cargo::programs(&[("knarr", "knarr"), ("knarr-probe", "probe")], profile)?;
        let tests = cargo::programs(&[("knarr-testkit", "e2e")], "dev")?;
        for program in product.iter().chain(&tests) {
            fs::copy(program, kit.directory.join(program.file_name().ok_or("a program without a name")?))?;
        }
        let cache = Workspace::load()?.target_directory.join("e2e-cache");
        shell::run(Command::new(kit.program()).arg("prepare").arg(&kit.directory).arg(cache))?;
        Ok(kit)
    }

    /// The test program.
    pub fn program(&self) -> PathBuf {
        self.directory.join("e2e")
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The tests as root, on the cgroups this machine has.
pub fn as_root(kit: &Kit, filter: &[&str]) -> Outcome<Tally> {
    if !shell::is_root() {
        return Ok(Tally::missing("root: all", "not root"));
    }
    let mut command = Command::new(kit.program());
    command.arg("run").arg(&kit.directory).args(filter);
    Ok(read(command)?.under("root"))
}

/// The tests as an ordinary user: ourselves, or one that root makes for this.
pub fn as_user(kit: &Kit, filter: &[&str]) -> Outcome<Tally> {
    let mut command = if shell::is_root() { become_user(kit)? } else { Command::new("env") };
    command.arg(kit.program()).arg("run").arg(&kit.directory).args(filter);
    Ok(read(command)?.under("rootless"))
}

/// A command that runs the words appended to it as [`USER`], with an environment of that user's own.
fn become_user(kit: &Kit) -> Outcome<Command> {
    let (uid, gid) = make_user()?;
    let runtime = kit.directory.join("run-user");
    fs::create_dir_all(&runtime)?;
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700))?;
    chown(&runtime, Some(uid), Some(gid))?;
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
    command.args(["--init-groups", "--inh-caps=-all", "--reset-env", "env"]);
    command.arg(format!("XDG_RUNTIME_DIR={}", runtime.display())).current_dir("/");
    Ok(command)
}

/// The user and group id of [`USER`], who is made if there is none.
pub fn make_user() -> Outcome<(u32, u32)> {
    if ids_of_user().is_none() {
        println!("setup: useradd {USER}, an ordinary user for the rootless tests");
        shell::run(Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", USER]))?;
    }
    Ok(ids_of_user().ok_or("useradd made no user")?)
}

fn ids_of_user() -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find_map(|line| line.strip_prefix(USER)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Runs the test program and reads what it says as it comes.
fn read(mut command: Command) -> Outcome<Tally> {
    tally(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?, 1, SILENCE_MAX, |line| println!("{line}"))
}

/// Counts the lines of `runs` runs of the test program, which `child` is or contains and which write to its piped output,
/// handing each to `show`.
pub fn tally(mut child: Child, runs: usize, silence_max: Duration, mut show: impl FnMut(&str)) -> Outcome<Tally> {
    let out = child.stdout.take().ok_or("no output")?;
    let (mut tally, mut done) = (Tally::default(), 0);
    let heard = watch::lines(&mut child, out, silence_max, |line| {
        let line = line.trim_end();
        show(line);
        done += usize::from(line == "done");
        count(line, &mut tally);
    });
    match heard {
        Err(why) => tally.add(Tally::broken("the test program", why)),
        Ok(()) if done != runs => tally.add(Tally::broken("the test program", "it ended before its last test")),
        Ok(()) => (),
    }
    child.wait()?;
    Ok(tally)
}

/// Adds what one line says, if it is a result.
pub fn count(line: &str, tally: &mut Tally) {
    if line.starts_with("ok ") {
        tally.passed += 1;
    } else if let Some(name) = line.strip_prefix("FAILED ") {
        tally.failed.push(name.to_string());
    } else if let Some((reason, name)) = line.strip_prefix("skipped (").and_then(|rest| rest.rsplit_once(") ")) {
        tally.skipped.push((name.to_string(), reason.to_string()));
    }
}

/// Whether a path is there; named for reading in conditions.
pub fn present(path: &str) -> bool {
    Path::new(path).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(said: &str, runs: usize) -> Tally {
        let child = Command::new("printf").arg(said).stdout(Stdio::piped()).spawn().expect("printf");
        tally(child, runs, SILENCE_MAX, |_| ()).expect("a tally")
    }

    #[test]
    fn each_kind_of_line_is_counted() {
        let tally = counted("ok a\nFAILED b\n    why\nskipped (no (real) root) c\ndone\n", 1);
        assert_eq!((tally.passed, tally.failed.len()), (1, 1));
        assert_eq!(tally.skipped, [("c".to_string(), "no (real) root".to_string())]);
    }

    #[test]
    fn a_run_that_stops_halfway_is_a_failure() {
        assert_eq!(counted("ok a\ndone\n", 2).failed.len(), 1);
    }
}
