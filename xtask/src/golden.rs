//! Rewrites the golden files from what the code does now; `git diff` then shows what changed.

use crate::{Outcome, shell};

/// Runs the golden tests in the mode that writes instead of comparing.
pub fn run() -> Outcome {
    let args = ["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast", "--", "golden"];
    shell::run(shell::cargo().args(args).env("UPDATE_GOLDEN", "1"))?;
    shell::run(std::process::Command::new("git").args(["status", "--short", "--", "crates"]))
}
