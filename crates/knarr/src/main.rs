//! The knarr binary: one table of names, each leading to the applet that answers to it.
//!
//! Law: the file name of argv[0] decides, then argv[1], with exact names and before any parser, logger or async runtime
//! exists; so a runtime applet stays as cheap as a runtime-only binary.
//! Not here: anything an applet does.
#![forbid(unsafe_code)]

mod faces;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// An applet gets the words after its own name.
type Applet = fn(Vec<OsString>) -> ExitCode;

/// Names the binary may be called by (a link or a copy), and the applet each one means.
const CALLED_AS: &[(&str, Applet)] = &[
    ("runc", knarr_runtime::applet),
    ("crun", knarr_runtime::applet),
    ("knarr-runtime", knarr_runtime::applet),
    ("skopeo", knarr_cli::skopeo::main),
];

/// First words that lead past the command line's parser.
const FIRST_WORDS: &[(&str, Applet)] = &[
    ("runtime", knarr_runtime::applet),
    ("monitor", knarr_monitor::applet),
    ("init", knarr_monitor::init_applet),
    ("registry", knarr_registry::applet),
    ("__complete", |words| knarr_cli::completion::main(words, &faces::FACES)),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called_as = args.next().unwrap_or_default();
    let name = Path::new(&called_as).file_name().unwrap_or(OsStr::new("knarr"));
    let rest: Vec<OsString> = args.collect();
    if let Some(applet) = named(CALLED_AS, name) {
        return applet(rest);
    }
    match rest.as_slice() {
        [first, words @ ..] if let Some(applet) = named(FIRST_WORDS, first) => applet(words.to_vec()),
        // `help registry serve` is `registry serve --help`.
        [help, first, words @ ..] if help == "help" && faces::FACES.iter().any(|face| first == face.name) => {
            let applet = named(FIRST_WORDS, first).expect("every face has an applet");
            applet(words.iter().cloned().chain(["--help".into()]).collect())
        }
        _ => knarr_cli::main(rest),
    }
}

fn named(table: &[(&str, Applet)], name: &OsStr) -> Option<Applet> {
    table.iter().find(|(known, _)| name == *known).map(|(_, applet)| *applet)
}
