//! The table of commands, and the first reading of the command line.

use std::path::PathBuf;

use super::{
    argv::{self, Flag, Given, switch, value},
    create, criu, delete, events, exec,
    failure::Failure,
    features, kill, limits, log, query, spec, start,
};

/// What the program finds around itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// The name it was called by.
    pub name: String,
    /// The current directory.
    pub directory: PathBuf,
    /// Where containers are kept without `--root`.
    pub root: PathBuf,
    /// Sockets handed over, from descriptor 3 on.
    pub listen_fds: u32,
    /// Their names.
    pub listen_names: Option<String>,
    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub session_bus: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_directory: Option<String>,
    /// Where the service manager wants to hear that the container is ready.
    pub notify_socket: Option<PathBuf>,
}

/// Flags before the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globals {
    /// Where containers are kept.
    pub root: PathBuf,
    /// The log.
    pub log: Option<log::Target>,
    /// JSON lines instead of text.
    pub log_json: bool,
    /// How much is told there.
    pub log_level: log::Level,
    /// Who makes control groups.
    pub manager: Manager,
    /// Whether a control group that cannot be had is done without.
    pub rootless: Option<bool>,
    /// The program that makes and reads checkpoints.
    pub criu: Option<PathBuf>,
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manager {
    /// We do.
    #[default]
    CgroupFs,
    /// systemd does.
    Systemd,
    /// Nobody.
    Disabled,
}

/// What a command ends with.
#[derive(Debug)]
pub(crate) enum Done {
    /// Nothing to say.
    Quiet,
    /// Text for standard output.
    Text(String),
    /// The program's own exit code.
    Exit(u8),
}

/// A command at work.
pub(crate) struct Context<'a> {
    pub world: &'a World,
    pub globals: &'a Globals,
    pub given: &'a Given,
    /// Prints at once, for commands that go on.
    pub say: &'a mut dyn FnMut(&str),
}

impl Context<'_> {
    /// A path as the caller means it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.world.directory.join(path)
    }

    /// The first word, a container's id.
    pub(crate) fn id(&self) -> Result<&str, Failure> {
        self.given.words.first().map(String::as_str).filter(|id| !id.is_empty()).ok_or(Failure::EmptyId)
    }
}

struct Command {
    name: &'static str,
    about: &'static str,
    flags: &'static [Flag],
    /// Fewest and most words.
    words: (usize, usize),
    /// After so many words all is words.
    flags_until: usize,
    /// Executes something inside a container: the program must be one nobody can write to.
    enters: bool,
    run: fn(&mut Context<'_>) -> Result<Done, Failure>,
}

/// A command line that makes sense.
pub(crate) struct Call {
    pub globals: Globals,
    given: Given,
    action: Action,
}

enum Action {
    Command(&'static Command),
    Version,
    Help(Option<&'static Command>),
}

impl Call {
    /// The command's name.
    pub(crate) fn name(&self) -> &'static str {
        match self.action {
            Action::Command(command) => command.name,
            _ => "",
        }
    }

    pub(crate) fn enters_containers(&self) -> bool {
        matches!(self.action, Action::Command(command) if command.enters)
    }

    pub(crate) fn run(&self, world: &World, say: &mut dyn FnMut(&str)) -> Result<Done, Failure> {
        match self.action {
            Action::Version => Ok(Done::Text(version(&world.name))),
            Action::Help(None) => Ok(Done::Text(help(&world.name))),
            Action::Help(Some(command)) => Ok(Done::Text(help_of(&world.name, command))),
            Action::Command(command) => {
                (command.run)(&mut Context { world, globals: &self.globals, given: &self.given, say })
            }
        }
    }
}

/// Reads the command line.
pub(crate) fn parse(words: &[String], world: &World) -> Result<Call, Failure> {
    let before = argv::parse(GLOBALS, words, 1)?;
    let root = before.value("root").map_or(world.root.clone(), |root| world.directory.join(root));
    let log = before.value("log").filter(|log| !log.is_empty()).map(|log| log::Target::parse(log, &world.directory));
    log.as_ref().map_or(Ok(()), log::Target::check)?;
    let log_json = match before.value("log-format") {
        None | Some("" | "text") => false,
        Some("json") => true,
        Some(other) => return Err(Failure::Value { flag: "log-format", value: other.into(), wants: "text or json" }),
    };
    let log_level = match (before.has("debug"), before.value("log-level")) {
        (true, _) => log::Level::Debug,
        (false, None | Some("")) => log::Level::default(),
        (false, Some(text)) => log::Level::parse(text).ok_or_else(|| Failure::Value {
            flag: "log-level",
            value: text.into(),
            wants: "error, warning or debug",
        })?,
    };
    let manager = match (before.has("systemd-cgroup"), before.value("cgroup-manager")) {
        (true, _) | (_, Some("systemd")) => Manager::Systemd,
        (_, None | Some("" | "cgroupfs")) => Manager::CgroupFs,
        (_, Some("disabled")) => Manager::Disabled,
        (_, Some(other)) => {
            let (flag, wants) = ("cgroup-manager", "cgroupfs, systemd or disabled");
            return Err(Failure::Value { flag, value: other.into(), wants });
        }
    };
    let rootless = rootless(before.value("rootless").unwrap_or("auto"))?;
    let criu = before.value("criu").filter(|path| !path.is_empty()).map(PathBuf::from);
    let globals = Globals { root, log, log_json, log_level, manager, rootless, criu };
    if before.has("version") {
        return Ok(Call { globals, given: Given::default(), action: Action::Version });
    }
    let Some((name, rest)) = before.words.split_first().filter(|_| !before.has("help")) else {
        return Ok(Call { globals, given: Given::default(), action: Action::Help(None) });
    };
    let command = COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| Failure::Command(name.clone()))?;
    let given = argv::parse(command.flags, rest, command.flags_until)?;
    if given.has("help") {
        return Ok(Call { globals, given, action: Action::Help(Some(command)) });
    }
    let (fewest, most) = command.words;
    match given.words.len() {
        count if count < fewest => Err(Failure::Words { command: command.name, wants: "more arguments are needed" }),
        count if count > most => Err(Failure::Words { command: command.name, wants: "there are too many arguments" }),
        _ => Ok(Call { globals, given, action: Action::Command(command) }),
    }
}

/// Go's words for true and false, and `auto`.
fn rootless(text: &str) -> Result<Option<bool>, Failure> {
    match text {
        "auto" | "" => Ok(None),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        other => Err(Failure::Value { flag: "rootless", value: other.into(), wants: "true, false or auto" }),
    }
}

/// As engines parse it: a line with "version", and the version of the specification.
fn version(name: &str) -> String {
    let name = if name == "knarr" { "knarr-runtime" } else { name };
    let version = env!("CARGO_PKG_VERSION");
    format!("{name} version {version}\ncommit: v{version}\nspec: {}\n", features::SPEC_VERSION)
}

/// In the form of runc's help.
fn help(name: &str) -> String {
    let lines: String = COMMANDS.iter().map(|command| format!("   {:<11} {}\n", command.name, command.about)).collect();
    let flags = flags_help(GLOBALS);
    format!(
        "NAME:\n   {name} - Open Container Initiative runtime\n\n\
         USAGE:\n   {name} [global options] command [command options] [arguments...]\n\n\
         COMMANDS:\n{lines}\nGLOBAL OPTIONS:\n{flags}"
    )
}

fn help_of(name: &str, command: &Command) -> String {
    let (word, about, flags) = (command.name, command.about, flags_help(command.flags));
    let arguments = if command.words.1 == 0 { "" } else { " <container-id>" };
    format!(
        "NAME:\n   {name} {word} - {about}\n\nUSAGE:\n   {name} {word} [command options]{arguments}\n\nOPTIONS:\n{flags}"
    )
}

fn flags_help(flags: &[Flag]) -> String {
    let line = |flag: &Flag| {
        let short = flag.short.map(|letter| format!(", -{letter}")).unwrap_or_default();
        format!("   --{}{short}{}\n", flag.name, if flag.value { " value" } else { "" })
    };
    flags.iter().map(line).collect()
}

#[rustfmt::skip]
const GLOBALS: &[Flag] = &[
    switch("debug", None), value("log", None), value("log-format", None), value("log-level", None), value("root", None),
    switch("systemd-cgroup", None), value("cgroup-manager", None), value("rootless", None), value("criu", None),
    switch("version", Some('v')), switch("help", Some('h')),
];

const ANY: usize = usize::MAX;
const HELP: Flag = switch("help", Some('h'));

/// How a container is made, by `create` and by `run`.
#[rustfmt::skip]
const MAKE: [Flag; 12] = [
    value("bundle", Some('b')), value("config", Some('f')), value("console-socket", None), value("pidfd-socket", None),
    value("pid-file", None), switch("no-pivot", None), switch("no-new-keyring", None), value("preserve-fds", None),
    switch("detach", Some('d')), switch("keep", None), switch("no-subreaper", None), HELP,
];

/// Every command.
#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    Command { name: "create", about: "make a container; its program waits for start", flags: &MAKE, words: (1, 1), flags_until: ANY, enters: true, run: create::create },
    Command { name: "start", about: "start the program of a created container", flags: &[HELP], words: (1, 1), flags_until: ANY, enters: false, run: start::start },
    Command { name: "run", about: "make a container, start it, wait for it and delete it", flags: &MAKE, words: (1, 1), flags_until: ANY, enters: true, run: create::run },
    Command { name: "exec", about: "run one more program in a container", flags: &[
        value("console-socket", None), value("pidfd-socket", None), value("cwd", None), value("env", Some('e')), switch("tty", Some('t')),
        value("user", Some('u')), value("additional-gids", Some('g')), value("process", Some('p')), switch("detach", Some('d')),
        value("pid-file", None), value("process-label", None), value("apparmor", None), switch("no-new-privs", None),
        value("cap", Some('c')), value("preserve-fds", None), value("cgroup", None), switch("ignore-paused", None), HELP,
    ], words: (1, ANY), flags_until: 1, enters: true, run: exec::exec },
    Command { name: "kill", about: "send a signal to a container's first process", flags: &[switch("all", Some('a')), HELP], words: (1, 2), flags_until: 1, enters: false, run: kill::kill },
    Command { name: "delete", about: "remove what a stopped container holds", flags: &[switch("force", Some('f')), switch("regex", Some('r')), HELP], words: (1, 1), flags_until: ANY, enters: false, run: delete::delete },
    Command { name: "state", about: "print a container's state as JSON", flags: &[HELP], words: (1, 1), flags_until: ANY, enters: false, run: query::state },
    Command { name: "list", about: "print the containers", flags: &[value("format", Some('f')), switch("quiet", Some('q')), HELP], words: (0, 0), flags_until: ANY, enters: false, run: query::list },
    Command { name: "ps", about: "print the processes of a container", flags: &[value("format", Some('f')), HELP], words: (1, ANY), flags_until: 1, enters: false, run: query::ps },
    Command { name: "pause", about: "stop every process of a container", flags: &[HELP], words: (1, 1), flags_until: ANY, enters: false, run: limits::pause },
    Command { name: "resume", about: "let them go on", flags: &[HELP], words: (1, 1), flags_until: ANY, enters: false, run: limits::resume },
    Command { name: "update", about: "change a container's limits", flags: &[
        value("resources", Some('r')), value("blkio-weight", None), value("cpu-period", None), value("cpu-quota", None), value("cpu-burst", None),
        value("cpu-share", None), value("cpu-shares", None), value("cpu-rt-period", None), value("cpu-rt-runtime", None), value("cpuset-cpus", None),
        value("cpuset-mems", None), value("kernel-memory", None), value("kernel-memory-tcp", None), value("memory", None), value("cpu-idle", None),
        value("memory-reservation", None), value("memory-swap", None), value("pids-limit", None), value("l3-cache-schema", None),
        value("mem-bw-schema", None), HELP,
    ], words: (1, 1), flags_until: ANY, enters: false, run: limits::update },
    Command { name: "events", about: "print counters and out-of-memory events as JSON lines", flags: &[switch("stats", None), value("interval", None), HELP], words: (1, 1), flags_until: ANY, enters: false, run: events::events },
    Command { name: "checkpoint", about: "write a running container down with criu", flags: criu::CHECKPOINT, words: (1, 1), flags_until: ANY, enters: false, run: criu::checkpoint },
    Command { name: "restore", about: "bring a container back from a checkpoint", flags: criu::RESTORE, words: (1, 1), flags_until: ANY, enters: true, run: criu::restore },
    Command { name: "spec", about: "write a config.json to begin with", flags: &[value("bundle", Some('b')), switch("rootless", None), HELP], words: (0, 0), flags_until: ANY, enters: false, run: spec::spec },
    Command { name: "features", about: "print what this runtime can do as JSON", flags: &[HELP], words: (0, 0), flags_until: ANY, enters: false, run: features::features },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let world = World { root: "/run/x".into(), directory: "/here".into(), ..World::default() };
        match parse(&words, &world) {
            Err(failure) => failure.text(),
            Ok(Call { action: Action::Version, .. }) => "version".into(),
            Ok(Call { action: Action::Help(command), .. }) => {
                format!("help {}", command.map_or("", |command| command.name)).trim_end().into()
            }
            Ok(Call { globals, given, action: Action::Command(command) }) => {
                format!("{} {} {}", command.name, given.words.join(" "), globals.root.display())
            }
        }
    }

    #[test]
    fn what_containerd_says() {
        assert_eq!(
            told(
                "--root /run/containerd/runc/moby --log /l.json --log-format json create --bundle /b --pid-file /p abc"
            ),
            "create abc /run/containerd/runc/moby"
        );
        assert_eq!(told("--root r exec --process /p.json --detach --pid-file /p abc"), "exec abc /here/r");
        assert_eq!(told("kill --all abc 9"), "kill abc 9 /run/x");
    }

    #[test]
    fn what_conmon_says() {
        assert_eq!(told("create --bundle /b --pid-file /p --no-pivot abc"), "create abc /run/x");
        assert_eq!(told("exec --pid-file /p --process /x --detach --tty abc"), "exec abc /run/x");
    }

    #[test]
    fn the_command_of_exec_is_not_read() {
        assert_eq!(told("exec -t abc sh -c true --tty"), "exec abc sh -c true --tty /run/x");
    }

    #[test]
    fn version_and_help() {
        assert_eq!(told("--version"), "version");
        assert_eq!(told("-v"), "version");
        assert_eq!(told(""), "help");
        assert_eq!(told("run --help"), "help run");
    }

    #[test]
    fn wrong_lines_say_why() {
        assert_eq!(told("frob"), "No help topic for 'frob': there is no such command");
        assert_eq!(told("create"), "create: more arguments are needed");
        assert_eq!(told("state a b"), "state: there are too many arguments");
        assert_eq!(told("--log-format xml list"), "invalid value for log-format: \"xml\" is not text or json");
        assert_eq!(
            told("--log-level loud list"),
            "invalid value for log-level: \"loud\" is not error, warning or debug"
        );
        assert_eq!(told("--rootless maybe list"), "invalid value for rootless: \"maybe\" is not true, false or auto");
        assert_eq!(
            told("--cgroup-manager=own list"),
            "invalid value for cgroup-manager: \"own\" is not cgroupfs, systemd or disabled"
        );
    }

    #[test]
    fn global_flags_have_a_meaning() {
        let globals = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            parse(&words, &World::default()).map(|call| call.globals).unwrap()
        };
        assert_eq!(globals("--debug list").log_level, log::Level::Debug);
        assert_eq!(globals("--log-level=error list").log_level, log::Level::Error);
        assert_eq!(globals("--rootless=true list").rootless, Some(true));
        assert_eq!(globals("--rootless=auto list").rootless, None);
        assert_eq!(globals("--cgroup-manager=disabled list").manager, Manager::Disabled);
        assert_eq!(globals("--systemd-cgroup list").manager, Manager::Systemd);
        assert_eq!(globals("--cgroup-manager systemd list").manager, Manager::Systemd);
    }
}
