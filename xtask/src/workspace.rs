//! What cargo knows about this workspace: packages, their targets, what they depend on, where it builds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Outcome, shell};

/// The repository's top directory.
pub fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The part of `cargo metadata` that the chores use.
#[derive(Deserialize)]
pub struct Workspace {
    /// Every member.
    pub packages: Vec<Package>,
    /// Where cargo builds.
    pub target_directory: PathBuf,
}

/// One member.
#[derive(Deserialize)]
pub struct Package {
    /// `knarr-store`.
    pub name: String,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// Everything in `[dependencies]`, `[dev-dependencies]` and `[build-dependencies]`.
    pub dependencies: Vec<Dependency>,
    /// Crate roots.
    pub targets: Vec<Target>,
}

/// One line of a dependency table.
#[derive(Deserialize)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// `dev`, `build`, or nothing for an ordinary one.
    pub kind: Option<String>,
}

/// One crate root.
#[derive(Deserialize)]
pub struct Target {
    /// `lib`, `bin`, `test`, `example`, ….
    pub kind: Vec<String>,
    /// The file that starts the crate.
    pub src_path: PathBuf,
}

impl Workspace {
    /// Asks cargo, which reads the manifests only.
    pub fn load() -> Outcome<Workspace> {
        let args = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
        let text = shell::output(shell::cargo().args(args))?;
        Ok(serde_json::from_str(&text)?)
    }
}

impl Package {
    /// The directory of the manifest.
    pub fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("/"))
    }

    /// Names of ordinary (not dev, not build) dependencies.
    pub fn ordinary(&self) -> BTreeSet<&str> {
        self.dependencies.iter().filter(|dep| dep.kind.is_none()).map(|dep| dep.name.as_str()).collect()
    }

    /// The name without the prefix every crate of ours carries.
    pub fn short(&self) -> &str {
        self.name.strip_prefix("knarr-").unwrap_or(&self.name)
    }
}
