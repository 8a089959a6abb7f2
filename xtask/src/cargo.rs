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

/// Builds program `bin` of `package` and returns its path.
pub fn program(package: &str, bin: &str, profile: &str) -> Outcome<PathBuf> {
    let mut command = shell::cargo();
    command.args(["build", "--package", package, "--bin", bin, "--profile", profile]);
    let text = shell::output(command.arg("--message-format=json-render-diagnostics"))?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let named = |message: &Message| message.target.as_ref().is_some_and(|target| target.name == bin);
    let path = messages.filter(named).find_map(|message| message.executable);
    Ok(path.ok_or_else(|| format!("cargo build --package {package}: it made no program {bin}"))?)
}
