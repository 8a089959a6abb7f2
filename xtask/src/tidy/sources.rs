//! Rules about Rust sources: homes of unsafe code, async functions, printing and the environment; module docs.

use std::fs;

use super::{Complaint, files, relative};
use crate::Outcome;
use crate::workspace::{Package, Target, Workspace};

/// The only crate with unsafe code.
const UNSAFE_HOME: &str = "sys";

/// Crates that talk to the terminal and read the environment; everybody else is handed values.
const WORLDLY: [&str; 4] = ["cli", "knarr", "xtask", "testkit"];

/// Files elsewhere that may: the probe is a program of its own.
const WORLDLY_FILES: [&str; 2] = ["crates/probe/src/main.rs", "crates/probe/src/action.rs"];

/// What makes a file an applet: a program's `main` in all but name, reached through the binary's table.
const APPLET_SIGNS: [&str; 2] = ["pub fn applet(", "pub fn init_applet("];

/// What the others may not say.
const WORLDLY_WORDS: [&str; 12] = [
    "println!(",
    "print!(",
    "eprintln!(",
    "eprint!(",
    "env::var",
    "env::args",
    "env::set_",
    "env::remove_",
    "env::current_dir",
    "env::current_exe",
    "env::home_dir",
    "env::temp_dir",
];

/// Crates where async functions may be written.
const ASYNC_HOMES: [&str; 5] = ["distribution", "registry", "api-docker", "api-cri", "build"];

/// Complaints about every source file of every package.
pub fn check(workspace: &Workspace) -> Outcome<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        complaints.extend(forbids_unsafe(package)?);
        for file in files(package.directory(), "rs")? {
            complaints.extend(check_file(package.short(), &relative(&file), &fs::read_to_string(&file)?));
        }
    }
    Ok(complaints)
}

/// With the attribute in every crate root, rustc itself finds the word anywhere below it.
fn forbids_unsafe(package: &Package) -> Outcome<Vec<Complaint>> {
    let mut complaints = Vec::new();
    let product =
        |target: &&Target| target.kind.iter().any(|kind| ["lib", "bin", "custom-build"].contains(&kind.as_str()));
    for target in package.targets.iter().filter(product).filter(|_| package.short() != UNSAFE_HOME) {
        if !fs::read_to_string(&target.src_path)?.contains("#![forbid(unsafe_code)]") {
            complaints.push(Complaint::new(relative(&target.src_path), "a crate root without #![forbid(unsafe_code)]"));
        }
    }
    Ok(complaints)
}

fn check_file(package: &str, place: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") && !is_test(place) {
        complaints.push(Complaint::new(place, "a module opens with its purpose (//!)"));
    }
    let applet = APPLET_SIGNS.iter().any(|sign| text.contains(sign));
    let outside = is_test(place) || is_build_script(place);
    let worldly = applet || WORLDLY.contains(&package) || WORLDLY_FILES.contains(&place) || outside;
    if is_test(place) && package != UNSAFE_HOME && text.contains(concat!("uns", "afe {")) {
        complaints.push(Complaint::new(place, format!("unsafe code belongs to {UNSAFE_HOME} only, also in tests")));
    }
    for (number, line) in code(text) {
        let place = format!("{place}:{number}");
        if let Some(word) = WORLDLY_WORDS.iter().find(|word| !worldly && line.contains(**word)) {
            complaints.push(Complaint::new(
                &place,
                format!("`{word}` belongs to {WORLDLY:?} only: take the value as an argument"),
            ));
        }
        if !ASYNC_HOMES.contains(&package) && line.contains(&format!("async {}", "fn ")) {
            complaints.push(Complaint::new(&place, format!("async functions belong to {ASYNC_HOMES:?} only")));
        }
    }
    complaints
}

/// Files that are no part of the product.
fn is_test(place: &str) -> bool {
    let directories = ["/tests/", "/examples/", "/benches/", "/fuzz/"];
    place.ends_with("/tests.rs") || directories.iter().any(|directory| place.contains(directory))
}

/// A build script talks to cargo: by its environment, and by what it prints.
fn is_build_script(place: &str) -> bool {
    place.ends_with("/build.rs")
}

/// Numbered lines of code: no comments, and nothing after the tests begin (they stand at the end of a file).
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    let numbered = text[..end].lines().enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(package: &str, text: &str) -> Vec<String> {
        let place = format!("crates/{package}/src/lib.rs");
        check_file(package, &place, text).into_iter().map(|complaint| complaint.place).collect()
    }

    #[test]
    fn a_library_that_prints_is_named_with_the_line() {
        assert_eq!(check("store", "//! Doc.\nfn f() {\n    println!(\"x\");\n}\n"), ["crates/store/src/lib.rs:3"]);
        assert_eq!(check("cli", "//! Doc.\nfn f() { println!(\"x\"); }\n").len(), 0);
    }

    #[test]
    fn an_applet_is_a_main_in_all_but_name() {
        let text = "//! Doc.\npub fn applet(args: Vec<OsString>) -> ExitCode {\n    println!(\"x\");\n}\n";
        assert_eq!(check("registry", text).len(), 0);
    }

    #[test]
    fn tests_and_comments_may_say_anything() {
        let text =
            "//! Doc.\n// println!(\"x\")\n\n#[cfg(test)]\nmod tests {\n    fn f() { eprintln!(\"skipped: x\"); }\n}\n";
        assert_eq!(check("store", text).len(), 0);
    }

    #[test]
    fn a_file_without_a_purpose_is_a_complaint() {
        assert_eq!(check("store", "use std::fs;\n"), ["crates/store/src/lib.rs"]);
    }

    #[test]
    fn async_functions_stay_at_home() {
        let text = format!("//! Doc.\npub async {}f() {{}}\n", "fn ");
        assert_eq!(check("engine", &text).len(), 1);
        assert_eq!(check("distribution", &text).len(), 0);
    }
}
