//! The invariants of ARCHITECTURE.md as assertions about the sources; they run as `cargo xtask tidy` and as a test.
//!
//! Law: checks facts (arrows, homes of unsafe, async and printing, module docs, links), reads files only, never counts
//! lines. Every complaint names the file and the rule.
//! Not here: what rustc and clippy check already.

mod arrows;
mod manifests;
mod pages;
mod sources;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::workspace::{self, Workspace};

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// File, relative to the top, with a line number where there is one.
    pub place: String,
    /// What is wrong and what to do instead.
    pub what: String,
}

impl Complaint {
    fn new(place: impl fmt::Display, what: impl fmt::Display) -> Complaint {
        Complaint { place: place.to_string(), what: what.to_string() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "tidy: {}: {}", self.place, self.what)
    }
}

/// Prints every complaint; fails if there is one.
pub fn run() -> Outcome {
    let complaints = complaints()?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    if !complaints.is_empty() {
        return Err(format!("tidy: {} broken", complaints.len()).into());
    }
    println!("tidy: all invariants hold");
    Ok(())
}

/// Everything that is wrong, in a stable order.
fn complaints() -> Outcome<Vec<Complaint>> {
    let workspace = Workspace::load()?;
    let mut all = arrows::check(&workspace);
    all.extend(manifests::check(&workspace)?);
    all.extend(sources::check(&workspace)?);
    all.extend(pages::check(workspace::top())?);
    Ok(all)
}

/// Every file below `directory` whose name ends in `.extension`, sorted; what is built or hidden is left out.
fn files(directory: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type()?.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|ending| ending == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `path` as seen from the top of the repository.
fn relative(path: &Path) -> String {
    let top = workspace::top().canonicalize().unwrap_or_default();
    let path = path.canonicalize().unwrap_or(path.to_path_buf());
    path.strip_prefix(&top).unwrap_or(&path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let complaints = complaints().expect("the sources can be read");
        assert!(complaints.is_empty(), "{}", complaints.iter().map(|one| format!("\n{one}")).collect::<String>());
    }
}
