//! Writes the manual pages: a program beside the binary makes them of the same parsers that read command lines.

use std::process::Command;

use crate::{Outcome, cargo, shell};

/// A page for each command, dated by the last change, so that the same tree gives the same pages.
pub fn run(dir: &str) -> Outcome {
    let date = shell::output(Command::new("git").args(["log", "-1", "--format=%cs"]))?;
    shell::run(Command::new(cargo::example("knarr", "man")?).args([dir, date.trim()]))?;
    let pages = std::fs::read_dir(dir)?.count();
    println!("{dir}: {pages} pages; read one with `man {dir}/knarr.1`");
    Ok(())
}
