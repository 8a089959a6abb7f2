//! Argument vectors and the wishes they make: `tests/golden/options/<case>/{argv.txt, options.json}`, one argument per line; the text is that of
//! `--dry-run=options`. `UPDATE_GOLDEN=1` rewrites the expected files.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::FromArgMatches;
use knarr_engine::container::dry_run::options_text;

use super::ContainerFlags;
use crate::commands::find;
use crate::failure::Failure;
use crate::verb::usage;

fn parse(words: &[OsString]) -> Result<String, Failure> {
    let (entry, _) = find(&["create".into()])?;
    let mut parser = entry.parser();
    let words = crate::boolean::rewrite(&parser, words);
    let matches = match parser.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(error) => return usage(entry, error).map(|code| code.to_string()),
    };
    let flags = ContainerFlags::from_arg_matches(&matches).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(options_text(&flags.wanted()?))
}

fn render(words: &[OsString]) -> String {
    parse(words).unwrap_or_else(|failure| format!("{}\n", failure.of("create").text()))
}

fn check(dir: &Path) -> Result<(), String> {
    let argv = fs::read_to_string(dir.join("argv.txt")).map_err(|error| format!("{}: {error}", dir.display()))?;
    let got = render(&argv.lines().map(OsString::from).collect::<Vec<_>>());
    let file = dir.join("options.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(&file, got).map_err(|error| error.to_string());
    }
    let expect = fs::read_to_string(&file).unwrap_or_default();
    if got == expect { Ok(()) } else { Err(format!("{}:\nexpected {expect}\ngot {got}", file.display())) }
}

#[test]
fn every_argument_vector_makes_the_wish_beside_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/options");
    let mut cases: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let wrong: Vec<String> = cases.iter().filter_map(|dir| check(dir).err()).collect();
    assert!(cases.len() >= 8, "only {} cases in {}", cases.len(), root.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
