//! The caller's world: environment, home and current directory, who called; and how a context comes of it.

use std::cell::RefCell;
use std::path::PathBuf;

use knarr_distribution::{Network, Policy, Progress};
use knarr_engine::container::start::Ahead;
use knarr_engine::context::{default_paths, secure_run_dir};
use knarr_engine::image::pull::Pulls;
use knarr_engine::rootless::{self, MapSource};
use knarr_engine::{Caller, Context, IdMap, Namespace, Paths};
use knarr_spec::Reference;

use crate::access::{self, Access};
use crate::failure::Failure;
use crate::globals::Globals;
use crate::progress::Bars;

/// What a command meets outside of its own words.
pub(crate) struct World {
    globals: Globals,
    /// Nothing but results is printed (`--quiet`).
    pub quiet: RefCell<bool>,
}

/// Where an ordinary user or root has come to: the directories, the user namespace, its highest group id.
type Entered = (Paths, Namespace, u32);

/// An environment variable that says something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The current directory; `/` where it is gone.
pub(crate) fn current_dir() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| "/".into())
}

impl World {
    pub(crate) fn new(globals: Globals) -> World {
        World { globals, quiet: RefCell::new(false) }
    }

    /// A context to look at records with, for which an ordinary user needs no namespace.
    pub(crate) fn reading(&self) -> Result<Context, Failure> {
        let (caller, nested) = self.caller();
        Ok(Context::open(self.paths(&caller)?, namespace(&caller, nested), gid_max())?)
    }

    /// A context to touch layers and containers with: an ordinary user becomes root of a user namespace first.
    pub(crate) fn rooted(&self) -> Result<Context, Failure> {
        self.open(self.enter()?)
    }

    /// The context where [`World::enter`] has led.
    pub(crate) fn open(&self, (paths, namespace, gid_max): Entered) -> Result<Context, Failure> {
        Ok(Context::open(paths, namespace, gid_max)?)
    }

    /// A monitor that starts while the store is opened; an ordinary user has to join the container's namespace first.
    pub(crate) fn ahead(&self) -> Ahead {
        let (caller, _) = self.caller();
        if caller.uid == 0 { Ahead::launch() } else { Ahead::default() }
    }

    /// Where things are, and the namespace we are in after entering one if need be; nothing is opened yet.
    pub(crate) fn enter(&self) -> Result<Entered, Failure> {
        let (mut caller, nested) = self.caller();
        let paths = self.paths(&caller)?;
        if caller.uid == 0 {
            return Ok((paths, namespace(&caller, nested), gid_max()));
        }
        caller.name = login_name(caller.uid);
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let path = std::env::split_paths(&variable("PATH").unwrap_or_default()).collect();
        let source = MapSource { subuid: read("/etc/subuid"), subgid: read("/etc/subgid"), path };
        let entered = rootless::enter_namespace(&caller, &source).map_err(knarr_engine::Error::from)?;
        if let Some(note) = entered.note {
            self.note(&note);
        }
        Ok((paths, Namespace::Own, gid_max()))
    }

    /// Whether the caller is root, of the machine or of a namespace.
    pub(crate) fn is_root(&self) -> bool {
        Caller::current().uid == 0
    }

    /// The caller's user and group, before any namespace was entered.
    pub(crate) fn ids(&self) -> (u32, u32) {
        let caller = Caller::current();
        (caller.uid, caller.gid)
    }

    /// Makes an ordinary user root of a namespace in which only they exist. Whether we are in a namespace of our own then.
    pub(crate) fn enter_alone(&self) -> Result<bool, Failure> {
        let (caller, nested) = self.caller();
        if caller.uid != 0 {
            rootless::enter_namespace(&caller, &MapSource::default()).map_err(knarr_engine::Error::from)?;
        }
        Ok(nested || caller.uid != 0)
    }

    /// The owners there are where we are now.
    pub(crate) fn id_map(&self) -> IdMap {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        IdMap::of_namespace(&read("/proc/self/uid_map"), &read("/proc/self/gid_map"))
    }

    /// Who called, and whether already in a user namespace.
    fn caller(&self) -> (Caller, bool) {
        let caller = Caller::current();
        let nested = caller.uid == 0 && Caller::nested();
        (caller, nested)
    }

    fn paths(&self, caller: &Caller) -> Result<Paths, Failure> {
        let directory = |name: &str| variable(name).map(PathBuf::from);
        let (home, data, runtime) = (directory("HOME"), directory("XDG_DATA_HOME"), directory("XDG_RUNTIME_DIR"));
        let defaults = default_paths(caller.uid, home.as_deref(), data.as_deref(), runtime.as_deref());
        let own = (self.globals.root.clone(), self.globals.runroot.clone());
        let paths = match (own, defaults) {
            ((Some(state), Some(run)), _) => Paths { state, run },
            ((state, run), Some(defaults)) => {
                Paths { state: state.unwrap_or(defaults.state), run: run.unwrap_or(defaults.run) }
            }
            _ => {
                let failure = Failure::usage("no place for images and containers: HOME is not set");
                return Err(failure.hint("set HOME, or name directories with --root and --runroot"));
            }
        };
        if caller.uid != 0 {
            secure_run_dir(&paths.run, caller.uid)?;
        }
        Ok(paths)
    }

    /// Writes a note for the user to standard error.
    pub(crate) fn note(&self, text: &str) {
        if !*self.quiet.borrow() {
            anstream::eprintln!("note: {text}");
        }
    }

    /// Writes the notes the engine left.
    pub(crate) fn notes_of(&self, context: &Context) {
        for note in context.notes.take() {
            self.note(&note);
        }
    }
}

fn namespace(caller: &Caller, nested: bool) -> Namespace {
    match (caller.uid, nested) {
        (0, false) => Namespace::Initial,
        (0, true) => Namespace::Own,
        _ => Namespace::Outside,
    }
}

fn login_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields[0].to_owned())
    });
    named.or_else(|| variable("USER")).unwrap_or_else(|| uid.to_string())
}

/// The highest group id of the namespace we are in.
fn gid_max() -> u32 {
    let map = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    let ends = map.lines().filter_map(|line| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [inside, _, count] = numbers[..] else { return None };
        inside.checked_add(count.checked_sub(1)?)
    });
    ends.max().unwrap_or(0)
}

/// What pulls need of the world, read when the first pull begins.
pub(crate) struct CliPulls {
    bars: Bars,
    quiet: bool,
    access: Access,
}

impl CliPulls {
    pub(crate) fn new(quiet: bool, tls_verify: Option<bool>) -> CliPulls {
        CliPulls::with(quiet, Access { tls_verify, ..Access::default() })
    }

    /// With the command's own way to reach registries.
    pub(crate) fn with(quiet: bool, access: Access) -> CliPulls {
        CliPulls { bars: Bars::new(quiet), quiet, access }
    }
}

impl Pulls for CliPulls {
    fn network(&self) -> knarr_engine::Result<Network> {
        Ok(access::network(&self.access)?)
    }

    fn policy(&self) -> knarr_engine::Result<Policy> {
        Ok(access::default_policy()?)
    }

    fn progress(&self) -> &dyn Progress {
        &self.bars
    }

    fn missing(&self, reference: &Reference) {
        if !self.quiet {
            anstream::eprintln!("Unable to find image '{}' locally", reference.familiar());
        }
    }
}
