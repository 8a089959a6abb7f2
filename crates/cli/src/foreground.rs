//! Being connected to a process in a container: raw mode, signals, detach keys; and everything back as it was at the end.

use std::os::fd::{AsFd, BorrowedFd};

use knarr_engine::terminal::{self, Raw, SignalFd};
use knarr_engine::{Attach, Client, Ended, Error, Session};

use crate::failure::Failure;

/// ctrl-p, ctrl-q.
const DETACH_KEYS: [u8; 2] = [16, 17];

/// 128 + SIGPIPE: what the shell says of a writer whose reader has gone.
const OUTPUT_CLOSED: u8 = 141;

/// Signals that a foreground client passes on: all that can be caught, but those that are about this process itself (children,
/// faults, the pipe, job control) and SIGURG, which Go programs send themselves.
const PASSED_ON: [i32; 13] = [1, 2, 3, 10, 12, 14, 15, 18, 24, 25, 26, 27, 29];
/// SIGWINCH.
const WINDOW: i32 = 28;

/// How a client takes part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams {
    /// Read our standard input and send it.
    pub stdin: bool,
    /// Show the container's standard output.
    pub stdout: bool,
    /// Show its standard error.
    pub stderr: bool,
    /// The container has a terminal.
    pub terminal: bool,
    /// Pass signals on.
    pub signals: bool,
    /// Keys that leave the container alone.
    pub detach_keys: Vec<u8>,
    /// We promise to clean up at the end.
    pub cleanup: bool,
}

/// How it ended for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The container ended with this code.
    Exited(u8),
    /// We left; the exit code of the command.
    Left(u8),
}

/// Docker's check: input from a terminal is asked for and there is none.
pub(crate) fn check_terminal(stdin: bool, terminal: bool) -> Result<(), Failure> {
    if stdin && terminal && !terminal::is_terminal(std::io::stdin()) {
        return Err(Failure::new("the input device is not a TTY").hint("leave out -t, or run it in a terminal"));
    }
    Ok(())
}

/// `ctrl-p,ctrl-q`, `ctrl-@`, `a` to bytes; empty for none.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<Vec<u8>, Failure> {
    let Some(text) = text else { return Ok(DETACH_KEYS.to_vec()) };
    let key = |key: &str| match (key.strip_prefix("ctrl-").map(str::as_bytes), key.as_bytes()) {
        (Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]), _) => {
            Ok(letter.to_ascii_uppercase() - b'@')
        }
        (None, [byte]) => Ok(*byte),
        _ => Err(Failure::usage(format!("--detach-keys: invalid value {text:?}: unknown key {key:?}"))),
    };
    text.split(',').filter(|key| !key.is_empty()).map(key).collect()
}

/// Attaches, lets `go` say what starts it, and copies until one of the two ends.
pub(crate) fn run(
    client: &mut Client,
    streams: &Streams,
    go: impl FnOnce(&mut Client) -> Result<(), knarr_engine::MonitorError>,
) -> Result<End, Error> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let signals = Some(SignalFd::block(&blocked(streams)))
        .transpose()
        .map_err(|source| Error::Sys { action: "receive signals", source })?;
    client.attach(Attach {
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        lossless: true,
        cleanup: streams.cleanup,
    })?;
    // Before the start: a program asks for the size once, and first of all.
    if streams.terminal
        && let Some((rows, columns)) = terminal::size(&stdout)
    {
        client.resize(rows, columns)?;
    }
    go(client)?;
    let is_terminal = streams.terminal && terminal::is_terminal(&stdin);
    let _raw = if is_terminal && streams.stdin { Raw::enter(stdin.as_fd()).ok() } else { None };
    let shown = |wanted: bool, fd| if wanted { Some(fd) } else { None::<BorrowedFd> };
    let session = Session {
        stdin: shown(streams.stdin, stdin.as_fd()),
        stdout: shown(streams.stdout, stdout.as_fd()),
        stderr: shown(streams.stderr, stderr.as_fd()),
        signals: signals.as_ref(),
        terminal: shown(streams.terminal && terminal::is_terminal(&stdout), stdout.as_fd()),
        detach_keys: if streams.terminal { &streams.detach_keys } else { &[] },
    };
    Ok(match session.run(client)? {
        Ended::Exited(exit) => End::Exited(exit.code),
        Ended::Detached => End::Left(0),
        Ended::OutputClosed => End::Left(OUTPUT_CLOSED),
    })
}

fn blocked(streams: &Streams) -> Vec<i32> {
    let mut list = if streams.signals { PASSED_ON.to_vec() } else { Vec::new() };
    if streams.terminal {
        list.push(WINDOW);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&[u8]>) {
        assert_eq!(detach_keys(Some(text)).ok().as_deref(), expect, "{text:?}");
    }

    #[test]
    fn keys_are_control_letters_and_plain_ones() {
        check("ctrl-p,ctrl-q", Some(&[16, 17]));
        check("ctrl-@,a", Some(&[0, b'a']));
        check("", Some(&[]));
        assert_eq!(detach_keys(None).unwrap(), DETACH_KEYS);
    }

    #[test]
    fn unknown_keys_are_refused() {
        check("ctrl-1", None);
        check("alt-x", None);
        check("ctrl-", None);
    }
}
