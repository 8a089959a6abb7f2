//! Which part of a command line is being typed.
//!
//! Law: pure; reads a line that is not complete and may be wrong.

use clap::{Arg, ArgAction, Command};

/// What is being typed, and where.
pub(super) struct Place<'t> {
    /// The command's words behind the program: `image copy`.
    pub path: String,
    /// The command.
    pub command: &'t Command,
    pub what: What<'t>,
    /// What stands in the word before `typed`: `--pull=`.
    pub before: String,
    /// The letters there are.
    pub typed: String,
}

/// What can stand there.
pub(super) enum What<'t> {
    Subcommand,
    Option,
    /// A value of an option, or an operand; with the operands before it.
    Value {
        arg: &'t Arg,
        operands: Vec<String>,
    },
}

/// Walks through `words`; nothing where nothing is known of the place.
pub(super) fn walk<'t>(tree: &'t Command, words: &[String]) -> Option<Place<'t>> {
    let (typed, before) = words.split_last()?;
    let (mut command, mut path) = (tree, Vec::new());
    let (mut operands, mut pending, mut only_operands) = (Vec::new(), None, false);
    for word in before {
        match pending.take() {
            Some(_) => {}
            None if !only_operands && word == "--" => only_operands = true,
            None if !only_operands && word.starts_with('-') && word.len() > 1 => {
                pending = if word.contains('=') { None } else { option(command, word).filter(|arg| takes_word(arg)) };
            }
            // What follows is a command's name, as without it.
            None if word == "help" && path.is_empty() => {}
            None if command.has_subcommands() && operands.is_empty() => {
                command = command.find_subcommand(word)?;
                path.push(command.get_name());
            }
            None => {
                operands.push(word.clone());
                only_operands |= command.get_positionals().any(Arg::is_trailing_var_arg_set);
            }
        }
    }
    let place = |what, before: &str, typed: &str| Place {
        path: path.join(" "),
        command,
        what,
        before: before.to_owned(),
        typed: typed.to_owned(),
    };
    if let Some(arg) = pending {
        return Some(place(What::Value { arg, operands }, "", typed));
    }
    if !only_operands && typed.starts_with('-') {
        return match typed.split_once('=') {
            None => Some(place(What::Option, "", typed)),
            Some((name, value)) => {
                let arg = option(command, name)?;
                Some(place(What::Value { arg, operands }, &format!("{name}="), value))
            }
        };
    }
    if command.has_subcommands() {
        return Some(place(What::Subcommand, "", typed));
    }
    let arg = operand(command, operands.len())?;
    Some(place(What::Value { arg, operands }, "", typed))
}

/// The option a word names; of a cluster of short ones the last.
fn option<'t>(command: &'t Command, word: &str) -> Option<&'t Arg> {
    match word.strip_prefix("--") {
        Some(name) => command.get_arguments().find(|arg| {
            arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
        }),
        None => command.get_arguments().find(|arg| arg.get_short() == word.chars().last()),
    }
}

/// Whether its value is the next word.
fn takes_word(arg: &Arg) -> bool {
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    takes && !arg.is_require_equals_set()
}

/// The operand at `index`; the last one may take all that follow, but the words of a program are not ours to know.
fn operand(command: &Command, index: usize) -> Option<&Arg> {
    let positionals: Vec<&Arg> = command.get_positionals().collect();
    let repeats = |arg: &&Arg| {
        let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        (many || matches!(arg.get_action(), ArgAction::Append)) && !arg.is_trailing_var_arg_set()
    };
    positionals.get(index).copied().or_else(|| positionals.last().copied().filter(repeats))
}
