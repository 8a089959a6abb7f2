//! The command lines beside the engine's, as completions and manual pages see them: each as a tree of `clap`, which the runtime does
//! not use.

use clap::{Arg, ArgAction, Command};
use knarr_cli::tree::Face;

/// All of them.
pub const FACES: [Face; 2] = [
    Face { name: "runtime", tree: runtime, containers: knarr_runtime::container_ids },
    Face { name: "registry", tree: knarr_registry::command, containers: |_| Vec::new() },
];

fn runtime() -> Command {
    let (globals, commands) = knarr_runtime::command_help();
    let tree = Command::new("runtime").about("The OCI runtime: runc's command line").disable_help_subcommand(true);
    let tree = tree.disable_help_flag(true).disable_version_flag(true).args(globals.iter().map(flag));
    commands.fold(tree, |tree, command| {
        let mut about = command.about.to_owned();
        about[..1].make_ascii_uppercase();
        let parser = Command::new(command.name).about(about).disable_help_flag(true);
        let parser = parser.args(command.flags.iter().map(flag));
        tree.subcommand(command.operands.split(' ').filter(|word| !word.is_empty()).fold(parser, operand))
    })
}

fn flag(flag: &knarr_runtime::Flag) -> Arg {
    let mut help = flag.help.to_owned();
    help[..1].make_ascii_uppercase();
    let arg = Arg::new(flag.name).long(flag.name).help(help);
    let arg = match flag.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    match flag.value {
        Some(name) => arg.value_name(name).action(ArgAction::Append),
        None => arg.action(ArgAction::SetTrue),
    }
}

/// `CONTAINER`, `[SIGNAL]`, `[ARGUMENT...]`.
fn operand(parser: Command, word: &'static str) -> Command {
    let (optional, many) = (word.starts_with('['), word.contains("..."));
    let name = word.trim_matches(['[', ']']).trim_end_matches("...");
    let arg = Arg::new(name).value_name(name).required(!optional);
    parser.arg(if many { arg.num_args(0..).trailing_var_arg(true) } else { arg })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(command: &Command, path: &str, check: &mut dyn FnMut(&Command, &str)) {
        check(command, path);
        for below in command.get_subcommands() {
            each(below, &format!("{path} {}", below.get_name()), check);
        }
    }

    #[test]
    fn every_command_and_every_flag_says_what_it_does() {
        for tree in [knarr_cli::tree::knarr(&FACES), knarr_cli::tree::skopeo()] {
            each(&tree, tree.get_name(), &mut |command, path| {
                assert!(command.is_hide_set() || command.get_about().is_some(), "{path}");
                let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
                let operand = path.contains("runtime") || path.ends_with(" help");
                for arg in shown.filter(|arg| !operand || !arg.is_positional()) {
                    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                    assert!(!help.is_empty() && !help.ends_with('.'), "{path}: {}: {help:?}", arg.get_id());
                }
            });
        }
    }

    #[test]
    fn no_line_of_help_is_wider_than_the_terminal() {
        for tree in [knarr_cli::tree::knarr(&FACES), knarr_cli::tree::skopeo()] {
            each(&tree, tree.get_name(), &mut |command, path| {
                for width in [80, 100] {
                    let help = command.clone().term_width(width).render_help().to_string();
                    // What one would copy is not broken.
                    let long =
                        |line: &&str| line.chars().count() > if line.starts_with("Usage: ") { 100 } else { width };
                    assert_eq!(help.lines().find(long), None, "{path}");
                }
            });
        }
    }

    #[test]
    fn every_face_is_a_valid_tree() {
        let tree = knarr_cli::tree::knarr(&FACES);
        tree.clone().debug_assert();
        let runtime = tree.find_subcommand("runtime").unwrap();
        let kill: Vec<&Arg> = runtime.find_subcommand("kill").unwrap().get_positionals().collect();
        assert_eq!(kill.len(), 2);
        assert!(kill[0].is_required_set() && !kill[1].is_required_set());
    }
}
