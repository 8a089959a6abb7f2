//! Plans of configurations, one directory each: `config.json`, `host.json`, `options.json`, and the plan or the problems
//! in `plan.txt`. `UPDATE_GOLDEN=1` rewrites the last.

use std::fs;
use std::path::{Path, PathBuf};

use knarr_runtime::{CreateOptions, Host, plan, verify};
use knarr_spec::runtime::Spec;
use serde::de::DeserializeOwned;

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan");
    let mut cases: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn read<T: DeserializeOwned>(path: PathBuf) -> T {
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(case: &Path) -> String {
    let spec: Spec = read(case.join("config.json"));
    let host: Host = read(case.join("host.json"));
    let options: CreateOptions = read(case.join("options.json"));
    match plan(&spec, &host, &options) {
        Ok(plan) => {
            assert_eq!(verify(&plan), Ok(()), "{}", case.display());
            plan.to_string()
        }
        Err(problems) => problems.0.iter().map(|problem| format!("problem: {problem}\n")).collect(),
    }
}

#[test]
fn every_plan_is_as_written() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for case in cases() {
        let (found, file) = (text(&case), case.join("plan.txt"));
        if update {
            fs::write(&file, &found).unwrap();
        }
        let expect = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(found, expect, "{}; UPDATE_GOLDEN=1 rewrites it", case.display());
    }
}
