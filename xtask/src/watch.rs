//! Reading what a program says while it runs, and ending one that has fallen silent: a test that hangs is a failure with a
//! name, not a run without an end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::Outcome;

/// Longest silence of a program under test. The longest known is the build of one program on a busy machine.
pub const SILENCE_MAX: Duration = Duration::from_secs(900);

/// Longest time the killed may take to let go of the output.
const DEATH_MAX: Duration = Duration::from_secs(30);

/// Hands each line of `out`, which `child` writes to, to `show`, until its end. After `silence_max` without a line the
/// child is killed with all it started, and the error names the last line.
pub fn lines(
    child: &mut Child,
    out: impl Read + Send + 'static,
    silence_max: Duration,
    mut show: impl FnMut(&str),
) -> Outcome {
    let (sender, lines) = channel();
    // It ends with the output, or when nobody listens any more.
    std::thread::spawn(move || {
        let read = BufReader::new(out).split(b'\n');
        read.map_while(Result::ok).try_for_each(|line| sender.send(String::from_utf8_lossy(&line).into_owned()))
    });
    let mut last = String::new();
    loop {
        match lines.recv_timeout(silence_max) {
            Ok(line) => {
                show(&line);
                last = line;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                kill_tree(child.id());
                child.wait()?;
                let held = std::iter::repeat_with(|| lines.recv_timeout(DEATH_MAX)).find_map(Result::err);
                let left = if held == Some(RecvTimeoutError::Timeout) { ", and something of it survived" } else { "" };
                let seconds = silence_max.as_secs();
                return Err(format!("killed after {seconds} s of silence{left}; its last line: {last}").into());
            }
        }
    }
}

/// Kills a process and its descendants. Each is stopped before its children are listed, so that it starts no more.
fn kill_tree(pid: u32) {
    // A process that has ended meanwhile is what is wanted.
    let signal = |name: &str| Command::new("kill").args([name, &pid.to_string()]).status();
    let _ = signal("-STOP");
    descend(pid).into_iter().for_each(kill_tree);
    let _ = signal("-KILL");
}

/// The children of all threads of a process.
fn descend(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn sh(script: &str) -> (Child, impl Read + Send + 'static) {
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a shell");
        let out = child.stdout.take().expect("its output");
        (child, out)
    }

    #[test]
    fn every_line_is_shown_until_the_end() {
        let (mut child, out) = sh("echo one; echo two");
        let mut seen = Vec::new();
        lines(&mut child, out, SILENCE_MAX, |line| seen.push(line.to_string())).expect("it ends");
        assert_eq!(seen, ["one", "two"]);
        assert!(child.wait().expect("its status").success());
    }

    #[test]
    fn who_falls_silent_is_killed_with_all_it_started() {
        let (mut child, out) = sh("sleep 1000 & echo here; wait");
        let why = lines(&mut child, out, Duration::from_millis(200), |_| ()).expect_err("it never ends");
        assert_eq!(why.to_string(), "killed after 0 s of silence; its last line: here");
    }
}
