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
    let messages: Vec<Message> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    wanted.iter().map(|(_, bin)| find(&messages, bin)).collect()
}

fn find(messages: &[Message], bin: &str) -> Outcome<PathBuf> {
    let named = |message: &&Message| message.target.as_ref().is_some_and(|target| target.name == bin);
    let path = messages.iter().filter(named).find_map(|message| message.executable.clone());
    Ok(path.ok_or_else(|| format!("cargo build made no program {bin}"))?)
}
