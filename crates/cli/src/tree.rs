//! All commands as one tree of parsers: what completions walk through and manual pages are made of.
//!
//! Law: nothing is run from it; a command line itself is read by the one parser it names.

use clap::{Arg, Command};

use crate::commands::{GROUPS, NOUNS, SKOPEO};
use crate::verb::Entry;

/// A command line another crate answers to.
#[derive(Clone, Copy)]
pub struct Face {
    /// The word it stands behind: `runtime`.
    pub name: &'static str,
    /// Its commands.
    pub tree: fn() -> Command,
    /// The containers that its words, of which the last may be missing, can be about.
    pub containers: fn(&[String]) -> Vec<String>,
}

/// `knarr …`, with the faces of other crates below it.
pub fn knarr(faces: &[Face]) -> Command {
    let mut tree = Command::new("knarr")
        .about("Build, ship and run containers without a daemon")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(value("root", "DIR", "Where images, volumes and records are kept [/var/lib/knarr, ~/.local/share/knarr]"))
        .arg(value(
            "runroot",
            "DIR",
            "Where running containers have their sockets [/run/knarr, $XDG_RUNTIME_DIR/knarr]",
        ))
        .after_help("Example:\n  knarr run knarr/hello");
    for noun in NOUNS {
        let what = if noun == "system" { "the whole store" } else { &format!("{noun}s") };
        let about = format!("Commands about {what}; `knarr {noun} --help` lists them");
        let group = Command::new(noun).about(about).subcommand_required(true);
        tree = tree.subcommand(entries().filter_map(|entry| below(entry, Some(noun))).fold(group, Command::subcommand));
    }
    tree = entries().filter_map(|entry| below(entry, None)).fold(tree, Command::subcommand);
    let help = Command::new("help").about("Print the help of a command").arg(Arg::new("COMMAND").num_args(1..));
    tree = tree.subcommand(help.disable_help_flag(true)).disable_help_subcommand(true);
    let below = |face: &Face| (face.tree)().name(face.name).bin_name(format!("knarr {}", face.name));
    faces.iter().fold(tree, |tree, face| tree.subcommand(below(face)))
}

/// `skopeo …`.
pub fn skopeo() -> Command {
    let tree = Command::new("skopeo").about("Various operations with container images and registries");
    SKOPEO
        .iter()
        .fold(tree, |tree, (name, entry)| tree.subcommand(entry.parser_as(&format!("skopeo {name}")).name(*name)))
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    GROUPS.iter().flat_map(|(_, entries)| entries.iter())
}

/// The command under its first name after `noun`, the others as aliases.
fn below(entry: &'static Entry, noun: Option<&str>) -> Option<Command> {
    let mut names = entry.names.iter().filter_map(|name| match (name.split_once(' '), noun) {
        (Some((first, verb)), Some(noun)) => (first == noun).then_some(verb),
        (None, None) => Some(*name),
        _ => None,
    });
    let command = entry.parser().name(names.next()?).aliases(names);
    Some(command.hide(entry.about.is_empty() && noun.is_none()))
}

fn value(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}
