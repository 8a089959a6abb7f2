//! The `probe` program: stands inside a container under test, reports what it sees, and does one simple thing on request.
//!
//! Not here: any knowledge of the engine; tests read its JSON and its exit code.
#![forbid(unsafe_code)]

mod action;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match action::run(&args) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("probe: {}: {why}", args.join(" "));
            ExitCode::FAILURE
        }
    }
}
