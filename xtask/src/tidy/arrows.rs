//! Arrows point down only: which crate may know which other, and which may fetch, serve or run async code.

use std::collections::BTreeSet;

use super::{Complaint, relative};
use crate::workspace::{Package, Workspace};

/// Each crate and all it may depend on. What is missing from a row means something: `runtime` and `monitor` start
/// processes and so must stay small and single-threaded; nobody but the binary knows a face.
const ARROWS: [(&str, &[&str]); 18] = [
    ("spec", &[]),
    ("sys", &[]),
    ("probe", &[]),
    ("seccomp", &["spec", "sys"]),
    ("systemd", &["spec", "sys"]),
    ("cgroup", &["spec", "sys", "systemd"]),
    ("layer", &["spec", "sys"]),
    ("net", &["spec", "sys"]),
    ("store", &["spec", "sys", "layer"]),
    ("runtime", &["spec", "sys", "seccomp", "cgroup"]),
    ("monitor", &["spec", "sys", "cgroup", "runtime", "systemd"]),
    ("distribution", &["spec", "sys", "layer", "store"]),
    ("build", &["spec", "sys", "layer", "store"]),
    (
        "engine",
        &[
            "spec",
            "sys",
            "seccomp",
            "cgroup",
            "layer",
            "net",
            "systemd",
            "store",
            "runtime",
            "monitor",
            "distribution",
            "build",
            "probe",
        ],
    ),
    ("cli", &["spec", "engine", "distribution"]),
    ("registry", &["spec", "distribution"]),
    ("knarr", &["cli", "monitor", "probe", "registry", "runtime", "sys"]),
    ("testkit", &["spec", "probe"]),
];

/// Crates where network and async code live.
const ASYNC_HOMES: [&str; 5] = ["distribution", "registry", "api-docker", "api-cri", "build"];

/// What only those may depend on.
const ASYNC: [&str; 9] =
    ["tokio", "hyper", "hyper-util", "axum", "tonic", "reqwest", "futures", "async-trait", "tower"];

/// Test helpers: any crate may use them in its tests, none otherwise.
const FOR_TESTS: [&str; 2] = ["testkit", "probe"];

/// Complaints about every package.
pub fn check(workspace: &Workspace) -> Vec<Complaint> {
    workspace.packages.iter().flat_map(|package| own_arrows(package).into_iter().chain(foreign(package))).collect()
}

fn own_arrows(package: &Package) -> Vec<Complaint> {
    let known: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).chain(["xtask"]).collect();
    let place = relative(&package.manifest_path);
    if !known.contains(&package.short()) {
        return vec![Complaint::new(place, "this crate has no row in the table of arrows (xtask/src/tidy/arrows.rs)")];
    }
    let allowed: &[&str] = ARROWS.iter().find(|(name, _)| *name == package.short()).map_or(&[], |(_, row)| row);
    let ours = package.dependencies.iter().filter(|dep| dep.name.starts_with("knarr-") || dep.name == "knarr");
    let wrong = ours.filter(|dep| {
        let short = dep.name.strip_prefix("knarr-").unwrap_or(&dep.name);
        let for_tests = dep.kind.as_deref() == Some("dev") && FOR_TESTS.contains(&short);
        !allowed.contains(&short) && !for_tests
    });
    wrong.map(|dep| Complaint::new(&place, format!("must not know {}", dep.name))).collect()
}

fn foreign(package: &Package) -> Vec<Complaint> {
    if ASYNC_HOMES.contains(&package.short()) {
        return Vec::new();
    }
    let ordinary: BTreeSet<&str> = package.ordinary();
    let wrong = ASYNC.iter().filter(|name| ordinary.contains(**name));
    wrong
        .map(|name| Complaint::new(relative(&package.manifest_path), format!("{name} belongs to {ASYNC_HOMES:?} only")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependency = |&(name, kind): &(&str, Option<&str>)| Dependency {
            name: name.to_string(),
            kind: kind.map(str::to_string),
        };
        Package {
            name: name.to_string(),
            manifest_path: PathBuf::from("Cargo.toml"),
            dependencies: dependencies.iter().map(dependency).collect(),
            targets: Vec::new(),
        }
    }

    fn complaints(name: &str, dependencies: &[(&str, Option<&str>)]) -> usize {
        let package = package(name, dependencies);
        own_arrows(&package).len() + foreign(&package).len()
    }

    #[test]
    fn an_arrow_that_points_up_is_a_complaint() {
        assert_eq!(complaints("knarr-store", &[("knarr-spec", None)]), 0);
        assert_eq!(complaints("knarr-store", &[("knarr-engine", None)]), 1);
    }

    #[test]
    fn a_test_may_use_the_testkit_but_the_crate_may_not() {
        assert_eq!(complaints("knarr-runtime", &[("knarr-testkit", Some("dev"))]), 0);
        assert_eq!(complaints("knarr-runtime", &[("knarr-testkit", None)]), 1);
    }

    #[test]
    fn async_has_its_homes() {
        assert_eq!(complaints("knarr-distribution", &[("tokio", None)]), 0);
        assert_eq!(complaints("knarr-engine", &[("tokio", None)]), 1);
        assert_eq!(complaints("knarr-engine", &[("tokio", Some("dev"))]), 0);
    }

    #[test]
    fn a_crate_without_a_row_is_a_complaint() {
        assert_eq!(complaints("knarr-pod", &[]), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        let row = |name: &str| ARROWS.iter().find(|(row, _)| *row == name).map_or(&[][..], |(_, row)| row);
        let mut placed: Vec<&str> = Vec::new();
        while let Some((name, _)) =
            ARROWS.iter().find(|(name, _)| !placed.contains(name) && row(name).iter().all(|dep| placed.contains(dep)))
        {
            placed.push(name);
        }
        assert_eq!(placed.len(), ARROWS.len());
    }
}
