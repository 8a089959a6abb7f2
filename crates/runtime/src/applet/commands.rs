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
    /// The words behind it, as the help shows them.
    operands: &'static str,
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
            Action::Help(None) => Ok(Done::Text(help(called(&world.name)))),
            Action::Help(Some(command)) => Ok(Done::Text(help_of(called(&world.name), command))),
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
    let named = |name: &String| {
        COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| Failure::Command(name.clone()))
    };
    if name == "help" {
        let topic = rest.iter().find(|word| !word.starts_with('-')).map(named).transpose()?;
        return Ok(Call { globals, given: Given::default(), action: Action::Help(topic) });
    }
    let command = named(name)?;
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

/// A command, as completions and manual pages show it.
#[derive(Clone, Copy, Debug)]
pub struct CommandHelp {
    /// `kill`.
    pub name: &'static str,
    /// One line, in lower case.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// The words behind it: `CONTAINER [SIGNAL]`.
    pub operands: &'static str,
}

/// The flags before the command, and every command.
pub fn command_help() -> (&'static [Flag], impl Iterator<Item = CommandHelp>) {
    let shown = |command: &Command| {
        let Command { name, about, flags, operands, .. } = *command;
        CommandHelp { name, about, flags, operands }
    };
    (GLOBALS, COMMANDS.iter().map(shown))
}

/// Where `words`, a command line that may be unfinished, would have containers kept.
pub(crate) fn root_of(words: &[String], world: &World) -> PathBuf {
    let root = argv::parse(GLOBALS, words, 1).ok().and_then(|given| given.value("root").map(str::to_owned));
    root.map_or(world.root.clone(), |root| world.directory.join(root))
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

/// The words that lead here.
fn called(name: &str) -> &str {
    if name == "knarr" { "knarr runtime" } else { name }
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
    let (word, about, flags, operands) = (command.name, command.about, flags_help(command.flags), command.operands);
    let space = if operands.is_empty() { "" } else { " " };
    format!(
        "NAME:\n   {name} {word} - {about}\n\nUSAGE:\n   {name} {word} [command options]{space}{operands}\n\nOPTIONS:\n{flags}"
    )
}

/// A line for each, what they do in a column.
fn flags_help(flags: &[Flag]) -> String {
    let name = |flag: &Flag| {
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        let short = flag.short.map(|letter| format!(", -{letter}{value}")).unwrap_or_default();
        format!("--{}{value}{short}", flag.name)
    };
    let width = flags.iter().map(|flag| name(flag).len()).max().unwrap_or(0);
    flags.iter().map(|flag| format!("   {:<width$}  {}\n", name(flag), flag.help)).collect()
}

#[rustfmt::skip]
const GLOBALS: &[Flag] = &[
    switch("debug", None, "tell the log everything"),
    value("log", None, "FILE", "write messages to this file, or to journald: or syslog:"),
    value("log-format", None, "FORMAT", "text or json"),
    value("log-level", None, "LEVEL", "error, warning or debug"),
    value("root", None, "DIR", "where containers are kept"),
    switch("systemd-cgroup", None, "let systemd make control groups"),
    value("cgroup-manager", None, "WHO", "who makes control groups: cgroupfs, systemd or disabled"),
    value("rootless", None, "BOOL", "do without control groups that cannot be had: true, false or auto"),
    value("criu", None, "PROGRAM", "the program that makes and reads checkpoints"),
    switch("version", Some('v'), "print the version"),
    switch("help", Some('h'), "print this help"),
];

const ANY: usize = usize::MAX;
const HELP: Flag = switch("help", Some('h'), "print this help");

/// How a container is made, by `create` and by `run`.
#[rustfmt::skip]
const MAKE: [Flag; 12] = [
    value("bundle", Some('b'), "DIR", "the directory with config.json; without it the current one"),
    value("config", Some('f'), "FILE", "another file in place of config.json"),
    value("console-socket", None, "SOCKET", "send the terminal's other end to this socket"),
    value("pidfd-socket", None, "SOCKET", "send a descriptor of the process to this socket"),
    value("pid-file", None, "FILE", "write the process id to this file"),
    switch("no-pivot", None, "change the root without pivot_root, as from a ramdisk"),
    switch("no-new-keyring", None, "keep the session keyring"),
    value("preserve-fds", None, "NUMBER", "hand over so many descriptors, from 3 on"),
    switch("detach", Some('d'), "do not wait for the program"),
    switch("keep", None, "leave the container when its program has ended"),
    switch("no-subreaper", None, "do not adopt the container's orphans"),
    HELP,
];

/// Every command.
#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    Command { name: "create", about: "make a container; its program waits for start", operands: "CONTAINER", flags: &MAKE, words: (1, 1), flags_until: ANY, enters: true, run: create::create },
    Command { name: "start", about: "start the program of a created container", operands: "CONTAINER", flags: &[HELP], words: (1, 1), flags_until: ANY, enters: false, run: start::start },
    Command { name: "run", about: "make a container, start it, wait for it and delete it", operands: "CONTAINER", flags: &MAKE, words: (1, 1), flags_until: ANY, enters: true, run: create::run },
    Command { name: "exec", about: "run one more program in a container", operands: "CONTAINER COMMAND [ARGUMENT...]", flags: &[
        value("console-socket", None, "SOCKET", "send the terminal's other end to this socket"),
        value("pidfd-socket", None, "SOCKET", "send a descriptor of the process to this socket"),
        value("cwd", None, "DIR", "the current directory inside"),
        value("env", Some('e'), "NAME=VALUE", "set an environment variable"),
        switch("tty", Some('t'), "allocate a terminal"),
        value("user", Some('u'), "UID[:GID]", "user and group"),
        value("additional-gids", Some('g'), "GID", "one more group"),
        value("process", Some('p'), "FILE", "the process as a JSON document"),
        switch("detach", Some('d'), "do not wait for the program"),
        value("pid-file", None, "FILE", "write the process id to this file"),
        value("process-label", None, "LABEL", "the SELinux label"),
        value("apparmor", None, "PROFILE", "the AppArmor profile"),
        switch("no-new-privs", None, "the program cannot gain privileges"),
        value("cap", Some('c'), "CAP", "one more capability"),
        value("preserve-fds", None, "NUMBER", "hand over so many descriptors, from 3 on"),
        value("cgroup", None, "PATH", "a group below the container's; CONTROLLER:PATH in version 1"),
        switch("ignore-paused", None, "also in a paused container"),
        HELP,
    ], words: (1, ANY), flags_until: 1, enters: true, run: exec::exec },
    Command { name: "kill", about: "send a signal to a container's first process", operands: "CONTAINER [SIGNAL]", flags: &[
        switch("all", Some('a'), "every process, not the first alone"),
        switch("regex", Some('r'), "every container whose id matches"),
        HELP,
    ], words: (1, 2), flags_until: 1, enters: false, run: kill::kill },
    Command { name: "delete", about: "remove what a stopped container holds", operands: "CONTAINER", flags: &[
        switch("force", Some('f'), "kill it first where it runs"),
        switch("regex", Some('r'), "every container whose id matches"),
        HELP,
    ], words: (1, 1), flags_until: ANY, enters: false, run: delete::delete },
    Command { name: "state", about: "print a container's state as JSON", operands: "CONTAINER", flags: &[HELP], words: (1, 1), flags_until: ANY, enters: false, run: query::state },
    Command { name: "list", about: "print the containers", operands: "", flags: &[
        value("format", Some('f'), "FORMAT", "table or json"),
        switch("quiet", Some('q'), "ids only"),
        HELP,
    ], words: (0, 0), flags_until: ANY, enters: false, run: query::list },
    Command { name: "ps", about: "print the processes of a container", operands: "CONTAINER [PS-OPTION...]", flags: &[
        value("format", Some('f'), "FORMAT", "table or json"),
        HELP,
    ], words: (1, ANY), flags_until: 1, enters: false, run: query::ps },
    Command { name: "pause", about: "stop every process of a container", operands: "CONTAINER", flags: &[HELP], words: (1, 1), flags_until: ANY, enters: false, run: limits::pause },
    Command { name: "resume", about: "let the processes of a paused container go on", operands: "CONTAINER", flags: &[HELP], words: (1, 1), flags_until: ANY, enters: false, run: limits::resume },
    Command { name: "update", about: "change a container's limits", operands: "CONTAINER", flags: &[
        value("resources", Some('r'), "FILE", "limits as a JSON document; - is standard input"),
        value("blkio-weight", None, "WEIGHT", "share of block IO, 10 to 1000"),
        value("cpu-period", None, "US", "the period that --cpu-quota is about, in microseconds"),
        value("cpu-quota", None, "US", "time of all CPUs in a period, in microseconds"),
        value("cpu-burst", None, "US", "time that may be saved up beyond the quota, in microseconds"),
        value("cpu-share", None, "SHARES", "share of CPU time (relative weight)"),
        value("cpu-shares", None, "SHARES", "the same by its longer name"),
        value("cpu-rt-period", None, "US", "the period of real-time processes, in microseconds"),
        value("cpu-rt-runtime", None, "US", "time of real-time processes in a period, in microseconds"),
        value("cpuset-cpus", None, "LIST", "CPUs to run on: 0-3, 0,1"),
        value("cpuset-mems", None, "LIST", "memory nodes to use: 0-3, 0,1"),
        value("kernel-memory", None, "BYTES", "without effect, as with runc: the kernel has dropped it"),
        value("kernel-memory-tcp", None, "BYTES", "without effect, as with runc: the kernel has dropped it"),
        value("memory", None, "BYTES", "limit of memory"),
        value("cpu-idle", None, "NUMBER", "1: run only where nobody else wants to"),
        value("memory-reservation", None, "BYTES", "soft limit of memory"),
        value("memory-swap", None, "BYTES", "limit of memory and swap together; -1 for none"),
        value("pids-limit", None, "NUMBER", "limit of processes and threads"),
        value("l3-cache-schema", None, "SCHEMA", "share of the L3 cache (Intel RDT)"),
        value("mem-bw-schema", None, "SCHEMA", "share of the memory bandwidth (Intel RDT)"),
        HELP,
    ], words: (1, 1), flags_until: ANY, enters: false, run: limits::update },
    Command { name: "events", about: "print counters and out-of-memory events as JSON lines", operands: "CONTAINER", flags: &[
        switch("stats", None, "print the counters once and end"),
        value("interval", None, "DURATION", "time between counters: 5s"),
        HELP,
    ], words: (1, 1), flags_until: ANY, enters: false, run: events::events },
    Command { name: "checkpoint", about: "write a running container down with criu", operands: "CONTAINER", flags: criu::CHECKPOINT, words: (1, 1), flags_until: ANY, enters: false, run: criu::checkpoint },
    Command { name: "restore", about: "bring a container back from a checkpoint", operands: "CONTAINER", flags: criu::RESTORE, words: (1, 1), flags_until: ANY, enters: true, run: criu::restore },
    Command { name: "spec", about: "write a config.json to begin with", operands: "", flags: &[
        value("bundle", Some('b'), "DIR", "the directory with config.json; without it the current one"),
        switch("rootless", None, "for an ordinary user: with a user namespace"),
        HELP,
    ], words: (0, 0), flags_until: ANY, enters: false, run: spec::spec },
    Command { name: "features", about: "print what this runtime can do as JSON", operands: "", flags: &[HELP], words: (0, 0), flags_until: ANY, enters: false, run: features::features },
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
        assert_eq!(told("help"), "help");
        assert_eq!(told("help run"), "help run");
        assert_eq!(told("help frob"), "No help topic for 'frob': there is no such command");
    }

    #[test]
    fn every_flag_says_what_it_does_and_no_line_is_long() {
        let help: Vec<String> = COMMANDS.iter().map(|command| help_of("knarr-runtime", command)).collect();
        for text in help.iter().chain([&super::help("knarr-runtime")]) {
            assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        }
        let flags = COMMANDS.iter().flat_map(|command| command.flags).chain(GLOBALS);
        flags.for_each(|flag| assert!(!flag.help.is_empty(), "{}", flag.name));
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
