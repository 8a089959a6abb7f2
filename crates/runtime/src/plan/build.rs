//! What the parts of the planner fill together.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use knarr_spec::runtime::{LinuxIdMapping, LinuxResources, Process};
use knarr_sys::InRoot;

use super::annotation::Annotations;
use super::step::{IdMaps, IdRange, Namespace, ParentStep, Step};
use super::{Plan, Program};
use crate::{CreateOptions, Host, Problem, Problems};

/// A plan in the making.
pub(crate) struct Build<'a> {
    pub host: &'a Host,
    pub options: &'a CreateOptions,
    pub plan: Plan,
    pub problems: Vec<Problem>,
    /// The parent's steps before and after the clone.
    pub before_clone: Vec<ParentStep>,
    pub after_clone: Vec<ParentStep>,
    pub child: Vec<Step>,
    /// Mounts that become read-only when all else is in place.
    pub seals: Vec<InRoot>,
    /// `MS_SLAVE` or `MS_PRIVATE`: of every mount of the container. What was opened outside has that of the mounts there until it is told.
    pub propagation: u64,
    pub new: Vec<Namespace>,
    pub joined: Vec<Namespace>,
    /// Those of `new` that clone3 makes.
    pub cloned: Vec<Namespace>,
    /// Those of `joined` that the parent enters around the clone.
    pub around: Vec<Namespace>,
    /// The container's ids.
    pub ids: Option<IdMaps>,
    /// `setgroups` will be denied.
    pub groups_denied: bool,
    /// `linux.mountLabel`.
    pub label: Option<String>,
    pub annotations: Annotations,
    /// Limits whose device list is set after the clone.
    pub devices: Option<Box<LinuxResources>>,
}

impl<'a> Build<'a> {
    pub fn new(host: &'a Host, options: &'a CreateOptions) -> Build<'a> {
        Build {
            host,
            options,
            plan: Plan::default(),
            problems: Vec::new(),
            before_clone: Vec::new(),
            after_clone: Vec::new(),
            child: Vec::new(),
            seals: Vec::new(),
            propagation: 0,
            new: Vec::new(),
            joined: Vec::new(),
            cloned: Vec::new(),
            around: Vec::new(),
            ids: None,
            groups_denied: host.setgroups_denied,
            label: None,
            annotations: Annotations::default(),
            devices: None,
        }
    }

    pub fn has_new(&self, kind: Namespace) -> bool {
        self.new.contains(&kind)
    }

    pub fn joins(&self, kind: Namespace) -> bool {
        self.joined.contains(&kind)
    }

    pub fn own(&self, kind: Namespace) -> bool {
        self.has_new(kind) || self.joins(kind)
    }

    pub fn new_user_namespace(&self) -> bool {
        self.has_new(Namespace::User)
    }

    /// Sources are opened outside, where the ids of a new user namespace might not reach them; without privileges outside the child
    /// has no less than we have.
    pub fn opens_outside(&self) -> bool {
        self.new_user_namespace() && self.host.euid == 0
    }

    /// Device nodes cannot be made in a user namespace.
    pub fn in_user_namespace(&self) -> bool {
        self.host.user_namespace || self.own(Namespace::User)
    }

    pub fn invalid(&mut self, at: impl Into<String>, value: impl Into<String>, rule: &'static str) {
        self.problems.push(Problem::Invalid { at: at.into(), value: value.into(), rule });
    }

    pub fn c_string(&mut self, at: &str, text: &OsStr) -> Option<CString> {
        let made = CString::new(text.as_bytes()).ok();
        if made.is_none() {
            self.invalid(at, text.to_string_lossy(), "must not contain a NUL byte");
        }
        made
    }

    pub fn c_strings(&mut self, at: &str, texts: &[String]) -> Vec<CString> {
        let numbered = texts.iter().enumerate();
        numbered.filter_map(|(index, text)| self.c_string(&format!("{at}[{index}]"), text.as_ref())).collect()
    }

    pub fn in_root(&mut self, at: &str, path: &Path) -> Option<InRoot> {
        InRoot::parse(path.as_os_str()).map_err(|_| self.invalid(at, path.to_string_lossy(), "is no path")).ok()
    }

    /// The label a new file system gets; those of the kernel itself have their own.
    pub fn mount_label(&self, fstype: &str) -> Option<String> {
        let own = matches!(fstype, "proc" | "sysfs" | "cgroup" | "cgroup2" | "mqueue");
        self.label.clone().filter(|_| self.host.selinux && !own)
    }

    /// Our group in the version 2 hierarchy.
    pub fn own_cgroup2(&self) -> Option<CString> {
        let hierarchy = self.host.cgroups.iter().find(|h| h.version2)?;
        let path = hierarchy.mount_point.join(&hierarchy.own);
        CString::new(path.as_os_str().as_bytes()).ok()
    }

    /// The whole version 2 hierarchy, as we see it.
    pub fn all_cgroups2(&self) -> Option<CString> {
        let hierarchy = self.host.cgroups.iter().find(|h| h.version2)?;
        CString::new(hierarchy.mount_point.as_os_str().as_bytes()).ok()
    }

    /// Spec: config.md "Process": args, env.
    pub fn program(&mut self, process: &Process) {
        let empty = Vec::new();
        let arguments = process.args().as_ref().unwrap_or(&empty);
        let Some(name) = arguments.first().filter(|name| !name.is_empty()) else {
            self.problems.push(Problem::Missing { at: "process.args".into() });
            return;
        };
        let environment = process.env().as_ref().unwrap_or(&empty);
        let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(PATH_DEFAULT);
        let candidates: Vec<String> = match name.contains('/') {
            true => vec![name.clone()],
            false => path.split(':').filter(|d| d.starts_with('/')).map(|dir| format!("{dir}/{name}")).collect(),
        };
        let mut environment = last_of_each_name(environment);
        self.listen_environment(&mut environment);
        let home = !environment.iter().any(|entry| entry.starts_with("HOME="));
        environment.extend(home.then(|| HOME_DEFAULT.to_owned()));
        self.plan.program = Program {
            home: home.then(|| environment.len() - 1),
            name: name.clone(),
            candidates: self.c_strings("process.args", &candidates),
            arguments: self.c_strings("process.args", arguments),
            environment: self.c_strings("process.env", &environment),
        };
    }

    /// sd_listen_fds(3): the program finds itself named as the receiver.
    fn listen_environment(&self, environment: &mut Vec<String>) {
        if self.options.listen_fds == 0 {
            return;
        }
        environment.retain(|entry| !entry.starts_with("LISTEN_"));
        environment.push(format!("LISTEN_FDS={}", self.options.listen_fds));
        environment.push("LISTEN_PID=1".into());
        environment.extend(self.options.listen_names.iter().map(|names| format!("LISTEN_FDNAMES={names}")));
    }

    pub fn finish(mut self, terminal: bool) -> Result<Plan, Problems> {
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        self.plan.terminal = terminal;
        self.plan.parent = self.before_clone;
        self.plan.parent.push(ParentStep::Clone { new: self.cloned, around: self.around });
        self.plan.parent.extend(self.after_clone);
        self.plan.child = self.child;
        Ok(self.plan)
    }
}

/// An empty `HOME` is none; of two entries for a name the later one counts.
fn last_of_each_name(environment: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let again = |index: usize, of: &str| environment[index + 1..].iter().any(|later| name(later) == of);
    let kept = environment.iter().enumerate().filter(|(index, entry)| !again(*index, &name(entry)));
    kept.map(|(_, entry)| entry.clone()).filter(|entry| entry != "HOME=").collect()
}

/// What a user without an entry, or a container without a list of users, has.
const HOME_DEFAULT: &str = "HOME=/";
/// Where programs are looked for when the environment has no PATH, as crun does.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Mappings as ranges.
pub(crate) fn id_ranges(mappings: Option<&[LinuxIdMapping]>) -> Vec<IdRange> {
    let mappings = mappings.unwrap_or_default().iter();
    mappings.map(|m| IdRange { inside: m.container_id(), outside: m.host_id(), count: m.size() }).collect()
}
