//! Building programs and learning where cargo put them.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{Outcome, shell};

/// The profile of the binary under test: close to release, built in a fraction of its time.
pub const FAST: &str = "fast";

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Builds programs, each given as `(package, program)`, in one go, so that what they share is built once; returns their
/// paths in the same order.
pub fn programs(wanted: &[(&str, &str)], profile: &str) -> Outcome<Vec<PathBuf>> {
    let mut command = shell::cargo();
    command.args(["build", "--profile", profile, "--message-format=json-render-diagnostics"]);
    for (package, bin) in wanted {
        command.args(["--package", package, "--bin", bin]);
    }
    let text = shell::output(&mut command)?;
    wanted.iter().map(|(_, bin)| executable(&text, bin)).collect()
}

/// An example of a package, built to be run.
pub fn example(package: &str, name: &str) -> Outcome<PathBuf> {
    let mut command = shell::cargo();
    command.args(["build", "--message-format=json-render-diagnostics", "--package", package, "--example", name]);
    executable(&shell::output(&mut command)?, name)
}

/// Where cargo put a program, by what it said.
pub fn executable(said: &str, name: &str) -> Outcome<PathBuf> {
    let messages: Vec<Message> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    find(&messages, name)
}

fn find(messages: &[Message], bin: &str) -> Outcome<PathBuf> {
    let named = |message: &&Message| message.target.as_ref().is_some_and(|target| target.name == bin);
    let path = messages.iter().filter(named).find_map(|message| message.executable.clone());
    Ok(path.ok_or_else(|| format!("cargo build made no program {bin}"))?)
}
