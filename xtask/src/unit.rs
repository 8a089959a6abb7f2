//! The unit and golden tests of every crate: `cargo test`, with its output read as it comes.
//!
//! A test that cannot run where it stands prints `skipped: REASON` and returns; with `--show-output` libtest shows what
//! passing tests printed, and such a test counts as skipped and not as passed.

use std::collections::BTreeMap;
use std::io::pipe;

use crate::tally::Tally;
use crate::watch::{self, SILENCE_MAX};
use crate::{Outcome, shell};

/// Builds and runs them all; output is passed on except what passing tests printed.
pub fn run(filter: &[&str]) -> Outcome<Tally> {
    // Examples are programs that some tests run; `cargo test --examples` would build their tests instead.
    shell::run(shell::cargo().args(["build", "--workspace", "--examples"]))?;
    let (reader, writer) = pipe()?;
    let mut command = shell::cargo();
    command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast", "--", "--show-output"]);
    let mut child = command.args(filter).stderr(writer.try_clone()?).stdout(writer).spawn()?;
    drop(command);
    let mut reading = Reading::default();
    let heard = watch::lines(&mut child, reader, SILENCE_MAX, |line| {
        if reading.line(line) {
            println!("{line}");
        }
    });
    let mut tally = reading.tally();
    if let Err(why) = heard {
        tally.add(Tally::broken("cargo test", why));
        return Ok(tally);
    }
    let status = child.wait()?;
    Ok(if !status.success() && tally.failed.is_empty() {
        Tally::broken("cargo test", format!("{status}; see above"))
    } else {
        tally
    })
}

/// What has been read of the output so far.
#[derive(Default)]
struct Reading {
    /// The test program that runs now, such as `knarr_store`.
    program: String,
    /// The test whose output is being shown.
    shown: Option<String>,
    /// Whether what is shown belongs to tests that passed.
    successes: bool,
    passed: Vec<String>,
    tally: Tally,
    skipped: BTreeMap<String, String>,
}

impl Reading {
    /// Takes in one line; returns whether a reader wants to see it.
    fn line(&mut self, line: &str) -> bool {
        if let Some(rest) = line.trim_start().strip_prefix("Running ") {
            self.program = program(rest);
        } else if let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            self.result(&format!("{} {name}", self.program), result);
        } else if line == "successes:" || line == "failures:" {
            self.successes = line == "successes:";
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.shown = Some(format!("{} {name}", self.program));
        } else if let Some(reason) = line.strip_prefix("skipped: ") {
            let name = self.shown.clone().filter(|_| self.successes);
            self.skipped.extend(name.map(|name| (name, reason.to_string())));
        } else if line.starts_with("test result:") {
            self.successes = false;
        }
        !self.successes
    }

    fn result(&mut self, name: &str, result: &str) {
        match result.split([',', ' ']).next() {
            Some("ok") => self.passed.push(name.to_string()),
            Some("ignored") => {
                let reason = result.strip_prefix("ignored, ").unwrap_or("marked as ignored");
                self.tally.skipped.push((name.to_string(), reason.to_string()));
            }
            _ => self.tally.failed.push(name.to_string()),
        }
    }

    fn tally(mut self) -> Tally {
        self.tally.passed = self.passed.iter().filter(|name| !self.skipped.contains_key(*name)).count();
        self.tally.skipped.extend(self.skipped);
        self.tally
    }
}

/// `unittests src/lib.rs (target/debug/deps/knarr_store-0123abcd)` runs `knarr_store`.
fn program(running: &str) -> String {
    let file = running.rsplit('/').next().unwrap_or(running).trim_end_matches(')');
    file.rsplit_once('-').map_or(file, |(name, _)| name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
     Running unittests src/lib.rs (target/debug/deps/knarr_store-0f)
running 4 tests
test a::holds ... ok
test a::needs_root ... ok
test a::slow ... ignored, takes an hour
test a::breaks ... FAILED

successes:

---- a::needs_root stdout ----
skipped: not root

successes:
    a::holds

failures:

---- a::breaks stdout ----
skipped: this text is not a reason
test result: FAILED. 2 passed; 1 failed
";

    fn read(text: &str) -> Tally {
        let mut reading = Reading::default();
        for line in text.lines() {
            reading.line(line);
        }
        reading.tally()
    }

    #[test]
    fn a_test_that_says_it_skipped_does_not_count_as_passed() {
        let tally = read(OUTPUT);
        assert_eq!(tally.passed, 1);
        assert!(tally.skipped.contains(&("knarr_store a::needs_root".to_string(), "not root".to_string())));
        assert_eq!(tally.skipped.len(), 2, "what a failed test printed is no reason");
    }

    #[test]
    fn an_ignored_test_keeps_its_reason() {
        let skipped = ("knarr_store a::slow".to_string(), "takes an hour".to_string());
        assert!(read(OUTPUT).skipped.contains(&skipped));
    }

    #[test]
    fn a_failure_is_named_with_its_program() {
        assert_eq!(read(OUTPUT).failed, ["knarr_store a::breaks"]);
    }
}
