//! The same verbs called as skopeo: skopeo's words, its log lines and exit codes.
//!
//! Law: options before the command are the command's; what the table does not have is refused by name.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::boolean;
use crate::commands::{self, SKOPEO};
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::print;
use crate::verb;
use crate::world::World;

/// Options before the command that take a value.
const WITH_VALUE: [&str; 9] = [
    "--policy",
    "--override-arch",
    "--override-os",
    "--override-variant",
    "--tmpdir",
    "--registries-conf",
    "--registries.d",
    "--command-timeout",
    "--user-agent-prefix",
];

/// Commands that know no options of images.
const PLAIN: [&str; 7] = [
    "completion",
    "login",
    "logout",
    "manifest-digest",
    "generate-sigstore-key",
    "standalone-sign",
    "standalone-verify",
];

/// skopeo's commands that are not here, and why not.
const ABSENT: [(&str, &str); 1] = [("layers", "use copy with dir:")];

/// Runs `args` as skopeo would.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.log();
            ExitCode::from(if failure.code == knarr_engine::exit_code::OURS { 1 } else { failure.code })
        }
    }
}

fn run(args: &[OsString]) -> Result<u8, Failure> {
    let mut ahead: Vec<OsString> = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        let name = text.split_once('=').map_or(text, |(name, _)| name);
        match name {
            "--version" | "-v" => {
                print(concat!("skopeo version ", env!("CARGO_PKG_VERSION"), " (knarr)\n"))?;
                return Ok(0);
            }
            "help" if !words.as_slice().is_empty() => {
                return command(&words.as_slice()[0].to_string_lossy(), &[], &["--help".into()]);
            }
            "--help" | "-h" | "help" => return help(),
            "--command-timeout" | "--user-agent-prefix" | "--require-signed" => {
                return Err(Failure::usage(format!("{name} is not supported")));
            }
            "--debug" | "--insecure-policy" => ahead.push(word.clone()),
            _ if WITH_VALUE.contains(&name) => {
                ahead.push(word.clone());
                if !text.contains('=') {
                    ahead.extend(words.next().cloned());
                }
            }
            _ if text.starts_with('-') => return Err(Failure::usage(format!("unknown flag: {name}"))),
            _ => return command(text, &ahead, words.as_slice()),
        }
    }
    Err(Failure::usage("Missing command 'skopeo COMMAND'\nTry 'skopeo --help' for more information"))
}

fn command(name: &str, ahead: &[OsString], words: &[OsString]) -> Result<u8, Failure> {
    if let Some((_, why)) = ABSENT.iter().find(|(absent, _)| *absent == name) {
        return Err(Failure::usage(format!("{name} is not supported: {why}")));
    }
    let Some((_, entry)) = SKOPEO.iter().find(|(known, _)| *known == name) else {
        let near = SKOPEO.iter().find(|(known, _)| commands::distance(known, name) <= 2);
        let near = near.map_or(String::new(), |(known, _)| format!("\n\nDid you mean this?\n\t{known}\n"));
        let what = format!("Unrecognized command `skopeo {name}`{near}\nTry 'skopeo --help' for more information");
        return Err(Failure::usage(what));
    };
    let known = |option: &&OsString| !PLAIN.contains(&name) || (name == "login" && *option == "--debug");
    let words: Vec<OsString> = ahead.iter().filter(known).chain(words).cloned().collect();
    let mut parser = entry.parser_as(&format!("skopeo {name}"));
    let words = boolean::rewrite(&parser, &words);
    match parser.try_get_matches_from_mut(words) {
        Ok(matches) => (entry.run)(&World::new(Globals::default()), &matches),
        Err(error) => verb::usage(entry, error),
    }
}

fn help() -> Result<u8, Failure> {
    let mut text = "Various operations with container images and container image registries\n\nUsage:\n  skopeo [flags]\n  skopeo [command]\n\nAvailable Commands:\n".to_owned();
    for (name, entry) in commands::SKOPEO {
        text += &format!("  {name:<20} {}\n", entry.about);
    }
    text += "\nFlags:\n      --debug                   log requests and their answers\n      --insecure-policy         check no policy\n      --override-arch ARCH      choose images of this architecture\n      --override-os OS          choose images of this operating system\n      --override-variant VARIANT  choose images of this variant\n      --policy FILE             a trust policy file\n      --tmpdir DIR              directory for temporary files\n  -v, --version                 print the version\n\nUse \"skopeo [command] --help\" for more information about a command.\n";
    print(&text)?;
    Ok(0)
}
