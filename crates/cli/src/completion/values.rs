//! What can stand in a place of a command line: commands, options, names of what there is, words.
//!
//! Law: a value's kind is told by the name its help gives it (`CONTAINER`, `FILE`); exceptions are rows of the tables here. The store is
//! read where names are wanted, and only then.

use clap::{Arg, Command};
use knarr_engine::wanted::signal_names;
use knarr_engine::{Context, Status, container, image};

use super::walk::{Place, What};
use super::{PROGRAMS, SHELLS};
use crate::commands::{images, ps};
use crate::world::World;

/// What is offered.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// Each with what it is; those that do not begin with what was typed are left out by the caller.
    pub candidates: Vec<(String, String)>,
    /// No space follows: the word goes on.
    pub goes_on: bool,
    pub paths: Option<Paths>,
}

/// Paths are offered, which the shell knows best.
#[derive(Debug)]
pub(super) struct Paths {
    /// `files` or `dirs`.
    pub kind: &'static str,
    /// What stands before the path within the word.
    pub prefix: String,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Files,
    Dirs,
    Words(&'static [&'static str]),
    /// Keys before `=`.
    Keys(&'static [&'static str]),
    Containers(Which),
    Images,
    ContainersAndImages,
    Lists,
    Artifacts,
    Signals,
    /// A name with a transport before it.
    Places,
    /// `CONTAINER:PATH`, or a path.
    Copied,
    /// `HOST-PATH:PATH` or `VOLUME:PATH`.
    Mounted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Running,
    Resting,
}

/// Commands for containers in one state only.
const IN_STATE: &[(&str, Which)] = &[
    ("attach", Which::Running),
    ("exec", Which::Running),
    ("kill", Which::Running),
    ("rm", Which::Resting),
    ("start", Which::Resting),
    ("stop", Which::Running),
];

/// Operands that their name does not tell: of a command, by their name.
const OPERANDS: &[(&str, &str, Kind)] = &[
    ("artifact", "NAME", Kind::Artifacts),
    ("manifest", "LIST", Kind::Lists),
    ("completion", "SHELL", Kind::Words(&SHELLS)),
    ("completion", "PROGRAM", Kind::Words(&PROGRAMS)),
    ("inspect", "NAME", Kind::ContainersAndImages),
    ("image delete", "IMAGE", Kind::Places),
    ("rename", "NAME", Kind::Nothing),
];

/// Options that the name of their value does not tell: their command or nothing, the option, what it takes.
const OPTIONS: &[(&str, &str, Kind)] = &[
    ("", "cgroup-manager", Kind::Words(&["cgroupfs", "systemd", "disabled"])),
    ("", "cgroupns", Kind::Words(&["host", "private"])),
    ("", "compression", Kind::Words(&["gzip", "zstd", "zstd:chunked", "none"])),
    ("", "dry-run", Kind::Words(&["options", "spec", "plan"])),
    ("", "ipc", Kind::Words(&["host", "private"])),
    ("", "log-driver", Kind::Words(&["json-file", "none"])),
    ("", "log-format", Kind::Words(&["json", "text"])),
    ("", "log-level", Kind::Words(&["error", "warning", "debug"])),
    ("", "log-opt", Kind::Keys(&["max-size", "max-file"])),
    ("", "network", Kind::Words(&["host", "none"])),
    ("", "pid", Kind::Words(&["host", "private"])),
    ("", "platform", Kind::Words(&["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64", "linux/s390x"])),
    ("", "pull", Kind::Words(&["always", "missing", "never"])),
    ("", "restart", Kind::Words(&["no"])),
    ("", "rootless", Kind::Words(&["true", "false", "auto"])),
    ("", "runtime", Kind::Files),
    ("", "uts", Kind::Words(&["host", "private"])),
    ("", "workdir", Kind::Nothing),
    ("inspect", "type", Kind::Words(&["container", "image"])),
    ("ps", "filter", Kind::Keys(&ps::KEYS)),
    ("images", "filter", Kind::Keys(&images::KEYS)),
    ("image sync", "src", Kind::Words(&["docker", "dir", "yaml"])),
    ("image sync", "dest", Kind::Words(&["docker", "dir"])),
    ("image copy", "format", Kind::Words(&["oci", "v2s1", "v2s2"])),
    ("copy", "format", Kind::Words(&["oci", "v2s1", "v2s2"])),
];

/// What the names of values say.
const BY_NAME: &[(&str, Kind)] = &[
    ("BOOL", Kind::Words(&["true", "false"])),
    ("BUNDLE", Kind::Dirs),
    ("CONTAINER", Kind::Containers(Which::All)),
    ("CONTAINER COMMAND", Kind::Containers(Which::Running)),
    ("DESTINATION", Kind::Places),
    ("DESTINATION-IMAGE", Kind::Places),
    ("DEVICE", Kind::Files),
    ("DIR", Kind::Dirs),
    ("DIR[:TAG]", Kind::Dirs),
    ("EXPORT_DIR", Kind::Dirs),
    ("FILE", Kind::Files),
    ("FORMAT", Kind::Words(&["json", "table", "{{json .}}"])),
    ("IMAGE", Kind::Images),
    ("IMAGE-NAME", Kind::Places),
    ("MANIFEST-FILE", Kind::Files),
    ("OLD", Kind::Images),
    ("PATH", Kind::Files),
    ("REPOSITORY[:TAG]", Kind::Images),
    ("SIGNAL", Kind::Signals),
    ("SOURCE", Kind::Copied),
    ("SOURCE-IMAGE", Kind::Places),
    ("TARGET", Kind::Copied),
    ("TARGET_IMAGE", Kind::Images),
    ("VOLUME", Kind::Mounted),
];

/// The transports of image names; those that lead to paths.
const TRANSPORTS: [&str; 6] = ["docker://", "oci:", "oci-archive:", "docker-archive:", "dir:", "local:"];

/// Where names come from.
pub(super) struct Source {
    pub world: World,
    /// In place of the store's containers.
    pub containers: Option<Vec<String>>,
}

/// What can stand in `place`.
pub(super) fn offer(place: &Place<'_>, source: &Source) -> Offer {
    match &place.what {
        What::Subcommand => words(place.command.get_subcommands().filter(|c| !c.is_hide_set()).map(|command| {
            (command.get_name().to_owned(), command.get_about().map(ToString::to_string).unwrap_or_default())
        })),
        What::Option => words(options(place.command, &place.typed)),
        What::Value { arg, operands } => {
            let possible: Vec<_> = arg.get_possible_values();
            if !possible.is_empty() {
                return words(possible.iter().map(|value| (value.get_name().to_owned(), String::new())));
            }
            let mut offer = values(kind(&place.path, arg), &place.typed, source);
            offer.candidates.retain(|(value, _)| !operands.contains(value));
            offer
        }
    }
}

fn words(list: impl Iterator<Item = (String, String)>) -> Offer {
    Offer { candidates: list.collect(), ..Offer::default() }
}

/// The long names, and the letters where nothing but a dash is there yet and there is no long name.
fn options<'t>(command: &'t Command, typed: &'t str) -> impl Iterator<Item = (String, String)> + 't {
    let shown = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let named = move |arg: &Arg| {
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let letter = || arg.get_short().filter(|_| typed == "-").map(|letter| format!("-{letter}"));
        Some((arg.get_long().map(|name| format!("--{name}")).or_else(letter)?, about))
    };
    let help = command.get_arguments().all(|arg| arg.get_long() != Some("help"));
    shown.filter_map(named).chain(help.then(|| ("--help".to_owned(), "Print help".to_owned())))
}

fn kind(path: &str, arg: &Arg) -> Kind {
    let path =
        path.strip_prefix("container ").or_else(|| path.strip_prefix("image ls").map(|_| "images")).unwrap_or(path);
    let value_name =
        arg.get_value_names().and_then(<[_]>::first).map_or_else(|| arg.get_id().as_str(), |name| name.as_str());
    let about = |command: &str| path == command || path.split(' ').next() == Some(command);
    let exception = match arg.get_long() {
        Some(long) => {
            OPTIONS.iter().find(|(command, option, _)| *option == long && (command.is_empty() || about(command)))
        }
        None if arg.is_positional() => OPERANDS.iter().find(|(command, name, _)| *name == value_name && about(command)),
        None => None,
    };
    let by_name = || BY_NAME.iter().find(|(name, _)| name.eq_ignore_ascii_case(value_name)).map(|(_, kind)| *kind);
    match exception.map(|(_, _, kind)| *kind).or_else(by_name) {
        Some(Kind::Containers(Which::All)) => Kind::Containers(
            IN_STATE.iter().find(|(command, _)| *command == path).map_or(Which::All, |(_, which)| *which),
        ),
        Some(Kind::Copied) if path != "cp" => Kind::Places,
        kind => kind.unwrap_or(Kind::Nothing),
    }
}

fn values(kind: Kind, typed: &str, source: &Source) -> Offer {
    let world = &source.world;
    let plain = |list: Vec<String>| words(list.into_iter().map(|value| (value, String::new())));
    let paths =
        |kind, prefix: &str| Offer { paths: Some(Paths { kind, prefix: prefix.to_owned() }), ..Offer::default() };
    match kind {
        Kind::Nothing => Offer::default(),
        Kind::Files => paths("files", ""),
        Kind::Dirs => paths("dirs", ""),
        Kind::Words(list) => plain(list.iter().map(ToString::to_string).collect()),
        Kind::Keys(list) => Offer { goes_on: true, ..plain(list.iter().map(|key| format!("{key}=")).collect()) },
        Kind::Signals => plain(signal_names().map(str::to_owned).collect()),
        Kind::Containers(which) => words(containers(source, which, typed).into_iter()),
        Kind::Images => words(images(world, typed).into_iter()),
        Kind::ContainersAndImages => {
            words(containers(source, Which::All, typed).into_iter().chain(images(world, typed)))
        }
        Kind::Lists => plain(stored(world, |context| image::manifest::names(context).ok())),
        Kind::Artifacts => plain(stored(world, |context| {
            Some(image::artifact::list(context).ok()?.iter().map(|artifact| artifact.record.name.familiar()).collect())
        })),
        Kind::Places => match typed.split_once(':') {
            Some(("oci" | "oci-archive" | "docker-archive" | "dir", _)) => {
                paths("files", &typed[..=typed.find(':').unwrap_or_default()])
            }
            Some(("local", name)) => {
                let named = |(image, about): (String, String)| (format!("local:{image}"), about);
                words(images(world, name).into_iter().map(named))
            }
            _ => Offer { goes_on: true, ..plain(TRANSPORTS.map(str::to_owned).to_vec()) },
        },
        Kind::Copied => with_paths(containers(source, Which::All, typed), typed),
        Kind::Mounted => {
            with_paths(volumes(world).into_iter().map(|name| (name, "volume".to_owned())).collect(), typed)
        }
    }
}

/// Names with a colon behind, or paths where what is typed begins as one.
fn with_paths(names: Vec<(String, String)>, typed: &str) -> Offer {
    let fitting: Vec<_> = names.into_iter().filter(|(name, _)| name.starts_with(typed)).collect();
    if fitting.is_empty() || typed.starts_with(['.', '/', '~']) {
        let paths = (!typed.contains(':')).then(|| Paths { kind: "files", prefix: String::new() });
        return Offer { paths, ..Offer::default() };
    }
    Offer { goes_on: true, ..words(fitting.into_iter().map(|(name, about)| (name + ":", about))) }
}

/// What `read` finds in the store; nothing where there is none.
fn stored<T: Default>(world: &World, read: impl FnOnce(&Context) -> Option<T>) -> T {
    world.reading().ok().and_then(|context| read(&context)).unwrap_or_default()
}

/// Names with their images; ids only for who has begun to type one.
fn containers(source: &Source, which: Which, typed: &str) -> Vec<(String, String)> {
    if let Some(list) = &source.containers {
        return list.iter().map(|id| (id.clone(), String::new())).collect();
    }
    let list = stored(&source.world, |context| container::list(context).ok());
    let fits = |status| match which {
        Which::All => true,
        Which::Running => status == Status::Running,
        Which::Resting => status != Status::Running,
    };
    let fitting: Vec<_> = list.iter().filter(|container| fits(container.state.status)).collect();
    let named = |name: &str, image: &str| (name.to_owned(), image.to_owned());
    let mut names: Vec<_> = fitting.iter().map(|c| named(&c.record.name, &c.record.image_name)).collect();
    if !typed.is_empty() {
        names.extend(fitting.iter().map(|c| named(c.short_id(), &c.record.image_name)));
    }
    names
}

/// Names; ids only for who has begun to type one.
fn images(world: &World, typed: &str) -> Vec<(String, String)> {
    let list = stored(world, |context| image::list::list(context).ok());
    let mut names: Vec<_> =
        list.iter().flat_map(|image| &image.names).map(|name| (name.familiar(), String::new())).collect();
    if !typed.is_empty() {
        names.extend(list.iter().map(|image| (image.id.short().to_owned(), String::new())));
    }
    names
}

fn volumes(world: &World) -> Vec<String> {
    stored(world, |context| Some(context.store.volumes().ok()?.into_iter().map(|volume| volume.name).collect()))
}
