//! The command line: argv to wanted, results to tables and templates.
//!
//! Spec: docker's command line: its words, columns, texts and exit codes.
//! Law: environment, home and current directory, terminal and printing are met here and nowhere below. Only the parser of the one
//! command that was named is built; one thread; the store is opened once, after the last fork.
//! Not here: what a verb does (engine).
#![forbid(unsafe_code)]
// `inspect` is one literal with as many fields as docker has.
#![recursion_limit = "256"]

mod access;
mod boolean;
mod commands;
pub mod completion;
mod container_flags;
mod failure;
mod foreground;
mod globals;
mod help;
mod json;
pub mod listing;
mod output;
mod passphrase;
mod progress;
mod registries_d;
mod rows;
pub mod skopeo;
pub mod template;
pub mod tree;
mod units;
mod unsupported;
mod verb;
mod world;
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::globals::{First, Globals};
use crate::verb::Entry;
use crate::world::World;

/// Runs the command line `args`, without the program's own name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

fn run(args: Vec<OsString>) -> Result<u8, Failure> {
    let (globals, first) = Globals::parse(args)?;
    let words = match first {
        First::Help => return help::print_all(),
        First::Version => return help::print_version(),
        First::Command(words) => words,
    };
    // `help image ls` is `image ls --help`.
    let words = match words.split_first() {
        Some((help, [])) if help == "help" => return help::print_all(),
        Some((help, topic)) if help == "help" => topic.iter().cloned().chain(["--help".into()]).collect(),
        _ => words,
    };
    if let Some(noun) = commands::group(&words) {
        return help::print_group(noun);
    }
    let (entry, words) = commands::find(&words)?;
    dispatch(entry, World::new(globals), words)
}

fn dispatch(entry: &Entry, world: World, words: &[OsString]) -> Result<u8, Failure> {
    let mut parser = entry.parser();
    let words = boolean::rewrite(&parser, words);
    match parser.try_get_matches_from_mut(words) {
        Ok(matches) => (entry.run)(&world, &matches).map_err(|failure| failure.of(entry.name())),
        Err(error) => verb::usage(entry, error),
    }
}
