//! Completions: the scripts shells load, and the answers to what those ask.
//!
//! A script knows nothing of commands. At each TAB it runs `knarr __complete SHELL PROGRAM …` and is told candidates, one a
//! line with what it is behind a tab, and in the last line, after a colon, what else to do: `nospace` (the word goes on), `files PREFIX`
//! or `dirs PREFIX` (offer paths behind that part of the word).
//!
//! Law: a failure is silence: nobody wants an error while typing.
//! Not here: which values an option takes (`values`), how the words are walked through (`walk`).

mod line;
mod values;
mod walk;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::globals::Globals;
use crate::output::print;
use crate::tree::{self, Face};
use crate::world::World;
use values::{Offer, Source};

/// The shells there is a script for.
pub(crate) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];
/// The programs this binary can be called as.
pub(crate) const PROGRAMS: [&str; 5] = ["knarr", "skopeo", "runc", "crun", "knarr-runtime"];

/// The script of `shell` that completes the command line of `program`.
pub(crate) fn script(shell: &str, program: &str) -> String {
    let script = match shell {
        "bash" => include_str!("completion/bash.sh"),
        "zsh" => include_str!("completion/zsh.sh"),
        _ => include_str!("completion/fish.fish"),
    };
    script.replace("PROGRAM", program).replace("IDENTIFIER", &program.replace('-', "_"))
}

/// Answers a script: `args` are the shell, the program and its words, the last of which is being typed; bash tells the line up to the
/// cursor and the characters it splits words at instead.
pub fn main(args: Vec<OsString>, faces: &[Face]) -> ExitCode {
    let args: Vec<String> = args.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some((shell, [program, rest @ ..])) = args.split_first() else { return ExitCode::FAILURE };
    let (words, kept) = match (shell.as_str(), rest) {
        ("bash", [typed, breaks]) => line::words(typed, breaks),
        _ => (rest.to_vec(), 0),
    };
    let text = answer(program, faces, &words, kept);
    // A shell that has gone away is no concern of ours.
    let _ = print(&text);
    ExitCode::SUCCESS
}

/// What is told of `words`; the first `kept` bytes of every candidate stand before what the shell replaces.
fn answer(program: &str, faces: &[Face], words: &[String], kept: usize) -> String {
    let face = |name: &str| faces.iter().find(|face| face.name == name);
    let (tree, globals, containers) = match (program, face("runtime"), words.first().and_then(|word| face(word))) {
        ("skopeo", ..) => (tree::skopeo(), Globals::default(), None),
        ("runc" | "crun" | "knarr-runtime", Some(runtime), _) => {
            ((runtime.tree)(), Globals::default(), Some((runtime.containers)(words)))
        }
        (_, _, face) => {
            let ahead = words[..words.len().saturating_sub(1)].iter().map(OsString::from).collect();
            let globals = Globals::parse(ahead).map(|(globals, _)| globals).unwrap_or_default();
            (tree::knarr(faces), globals, face.map(|face| (face.containers)(&words[1..])))
        }
    };
    let Some(place) = walk::walk(&tree, words) else { return ":\n".to_owned() };
    let offer = values::offer(&place, &Source { world: World::new(globals), containers });
    render(&place.before, &place.typed, &offer, kept)
}

fn render(before: &str, typed: &str, offer: &Offer, kept: usize) -> String {
    let mut text = String::new();
    for (value, about) in offer.candidates.iter().filter(|(value, _)| value.starts_with(typed)) {
        let whole = format!("{before}{value}");
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        text += &format!("{}\t{about}\n", whole.get(kept..).unwrap_or_default());
    }
    text + &match &offer.paths {
        Some(paths) => format!(":{} {before}{}\n", paths.kind, paths.prefix),
        None if offer.goes_on => ":nospace\n".to_owned(),
        None => ":\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    const RUNTIME: Face = Face {
        name: "runtime",
        tree: || {
            let container = Arg::new("CONTAINER").value_name("CONTAINER");
            Command::new("runtime").subcommand(Command::new("state").about("Print it").arg(container))
        },
        containers: |_| vec!["box".to_owned()],
    };

    fn check(program: &str, line: &str, expect: &str) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(answer(program, &[RUNTIME], &words, 0), expect, "{line}");
    }

    #[test]
    fn first_words_are_commands_with_what_they_do() {
        check("knarr", "imp", "import\tMake an image of a tar of a file system\n:\n");
        check("knarr", "image tr", "tree\tShow the layers of an image\n:\n");
        check("knarr", "help imp", "import\tMake an image of a tar of a file system\n:\n");
        check("knarr", "nothing ", ":\n");
    }

    #[test]
    fn other_faces_have_their_own_commands() {
        check("knarr", "runtime st", "state\tPrint it\n:\n");
        check("runc", "", "state\tPrint it\n:\n");
        check("runc", "state ", "box\t\n:\n");
        check("knarr", "runtime state b", "box\t\n:\n");
        check("skopeo", "list", "list-tags\tList the tags of a repository, a layout or a docker archive\n:\n");
    }

    #[test]
    fn options_are_offered_behind_a_dash() {
        check("knarr", "run --cidf", "--cidfile\tWrite the container's id to this new file\n:\n");
        check("knarr", "run --rm img --cidf", ":\n");
        check("knarr", "run -- --cidf", ":\n");
    }

    #[test]
    fn values_are_offered_behind_their_option() {
        check("knarr", "run --pull ", "always\t\nmissing\t\nnever\t\n:\n");
        check("knarr", "run --pull=m", "--pull=missing\t\n:\n");
        check("knarr", "run --env-file x", ":files \n");
        check("knarr", "run --env-file=x", ":files --env-file=\n");
        check("knarr", "image copy oci:x", ":files oci:\n");
        check("knarr", "image copy doc", "docker://\t\ndocker-archive:\t\n:nospace\n");
        check("knarr", "kill -s TE", "TERM\t\n:\n");
    }

    #[test]
    fn every_script_names_its_program() {
        for (shell, program) in SHELLS.iter().flat_map(|shell| PROGRAMS.map(|program| (shell, program))) {
            let script = script(shell, program);
            assert!(!script.contains("PROGRAM") && !script.contains("IDENTIFIER"), "{shell}");
            assert!(script.contains(&format!("__complete {shell} {program} ")), "{shell}: {script}");
        }
    }
}
