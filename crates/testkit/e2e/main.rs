//! The end-to-end tests: `e2e prepare KIT CACHE` makes the images, `e2e run KIT [FILTER…]` runs the tests, `e2e list` names
//! them.
//!
//! Each test runs in a process and a directory of its own, so that a hang, a crash or a leak belongs to one name. Results
//! are lines: `ok NAME`, `FAILED NAME`, `skipped (REASON) NAME`, details indented, and `done` at the end.
#![forbid(unsafe_code)]

mod cases;
mod debian;
mod kit;
mod runner;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["prepare", kit, cache] => match kit::prepare(Path::new(kit), Path::new(cache)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("e2e prepare: {why}");
                ExitCode::FAILURE
            }
        },
        ["run", kit, filter @ ..] => runner::run(Path::new(kit), filter),
        ["one", kit, directory, name] => runner::one(Path::new(kit), Path::new(directory), name),
        ["list"] => {
            cases::all().iter().for_each(|case| println!("{}", case.name));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("e2e prepare KIT CACHE | run KIT [FILTER...] | list");
            ExitCode::FAILURE
        }
    }
}
