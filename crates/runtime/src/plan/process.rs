//! The process: limits, scheduling, identity, capabilities.
//!
//! Spec: config.md "Process", "User", "Linux Process"; config-linux.md "Seccomp", "Memory Policy", "Personality".

use std::borrow::Cow;

use knarr_spec::runtime::{
    Arch, Capabilities, IOPriorityClass, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, LinuxSeccomp, LinuxSeccompAction, MemoryPolicyFlagType,
    MemoryPolicyModeType, Process, Scheduler,
};
use knarr_sys::capabilities::Sets;
use knarr_sys::sched::SchedAttr;

use super::Build;
use super::step::{ParentStep, ProcWrite, Step};
use crate::Problem;

/// `RLIMIT_*` by number.
const LIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// `CAP_*` by number, without the prefix.
#[rustfmt::skip]
const CAPABILITIES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
];

/// The number of a capability, `CAP_CHOWN` or `CHOWN`.
pub fn capability_number(name: &str) -> Option<u32> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    CAPABILITIES.iter().position(|known| *known == name).map(|number| number as u32)
}

/// Every name, with the prefix, for the features document.
pub fn capability_names() -> impl Iterator<Item = String> {
    CAPABILITIES.iter().map(|name| format!("CAP_{name}"))
}

fn set(capabilities: Option<&Capabilities>) -> u64 {
    let numbers = capabilities.into_iter().flatten().filter_map(|c| capability_number(&c.to_string()));
    numbers.fold(0, |set, number| set | 1 << number)
}

const OOM_SCORES: std::ops::RangeInclusive<i32> = -1000..=1000;

pub(super) fn oom_score(build: &mut Build<'_>, process: &Process) {
    let Some(score) = process.oom_score_adj() else { return };
    if !OOM_SCORES.contains(&score) {
        build.invalid("process.oomScoreAdj", score.to_string(), "must lie between -1000 and 1000");
    }
    build.after_clone.push(ParentStep::OomScore(score));
}

/// What does not depend on who the process becomes.
pub(super) fn attributes(build: &mut Build<'_>, process: &Process) {
    limits(build, process);
    if let Some(scheduler) = process.scheduler() {
        scheduling(build, scheduler);
    }
    if let Some(io) = process.io_priority() {
        let class = match io.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        match u32::try_from(io.priority()) {
            Ok(priority @ 0..=7) => build.child.push(Step::IoPriority { class, priority }),
            _ => build.invalid("process.ioPriority.priority", io.priority().to_string(), "must lie between 0 and 7"),
        }
    }
}

fn limits(build: &mut Build<'_>, process: &Process) {
    let mut seen = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let name = limit.typ().to_string();
        let at = format!("process.rlimits[{index}]");
        if seen.contains(&name) {
            build.problems.push(Problem::Duplicate { at: at.clone(), value: name.clone() });
        }
        if limit.soft() > limit.hard() {
            build.invalid(&at, limit.soft().to_string(), "soft limit must not be above the hard one");
        }
        let Some(resource) = LIMITS.iter().position(|known| *known == name) else { continue };
        seen.push(name.clone());
        let (soft, hard) = (limit.soft(), limit.hard());
        build.child.push(Step::Limit { name, resource: resource as u32, soft, hard });
    }
}

fn scheduling(build: &mut Build<'_>, scheduler: &Scheduler) {
    use LinuxSchedulerPolicy as Policy;
    let policy = match scheduler.policy() {
        Policy::SchedOther => 0,
        Policy::SchedFifo => 1,
        Policy::SchedRr => 2,
        Policy::SchedBatch => 3,
        Policy::SchedIso => 4,
        Policy::SchedIdle => 5,
        Policy::SchedDeadline => 6,
    };
    let flags = scheduler.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
    });
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        build.invalid("process.scheduler.nice", nice.to_string(), "must lie between -20 and 19");
    }
    let priority = scheduler.priority().unwrap_or(0);
    if priority != 0 && !matches!(scheduler.policy(), Policy::SchedFifo | Policy::SchedRr) {
        let rule = "goes with SCHED_FIFO and SCHED_RR only";
        build.invalid("process.scheduler.priority", priority.to_string(), rule);
    }
    let deadline = scheduler.runtime().or(*scheduler.deadline()).or(*scheduler.period());
    if deadline.is_some() && *scheduler.policy() != Policy::SchedDeadline {
        let rule = "goes with SCHED_DEADLINE only";
        build.invalid("process.scheduler.runtime, deadline, period", scheduler.policy().to_string(), rule);
    }
    build.child.push(Step::Scheduler(SchedAttr {
        policy,
        flags,
        nice,
        priority: priority.unsigned_abs(),
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        ..SchedAttr::default()
    }));
}

/// The largest number in a list of processors or memory nodes: beyond what any kernel is configured for, and small enough for a mask.
const LIST_MAX: usize = 1 << 16;

/// `0-3,7` as a mask.
pub(super) fn mask(list: &str) -> Option<Vec<u64>> {
    let mut mask = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > LIST_MAX {
            return None;
        }
        mask.resize(mask.len().max(last / 64 + 1), 0);
        (first..=last).for_each(|bit| mask[bit / 64] |= 1 << (bit % 64));
    }
    Some(mask)
}

/// What set_mempolicy(2) would refuse without a word is told by name, in the words runc's users look for.
pub(super) fn memory_policy(build: &mut Build<'_>, policy: Option<&LinuxMemoryPolicy>) {
    use MemoryPolicyModeType as Mode;
    let Some(policy) = policy else { return };
    let mode = match policy.mode() {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    let flags = policy.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
                MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            }
    });
    let list = policy.nodes().clone().unwrap_or_default();
    let Some(nodes) = mask(&list) else {
        let why = format!("invalid memory policy nodes {list:?}: no list of numbers as 0-3,7 up to {LIST_MAX}");
        return build.problems.push(Problem::MemoryPolicy(why));
    };
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    match policy.mode() {
        Mode::MpolDefault | Mode::MpolLocal if count > 0 => {
            let why = format!("memory policy mode requires 0 nodes but got {count}");
            build.problems.push(Problem::MemoryPolicy(why));
        }
        Mode::MpolBind | Mode::MpolInterleave | Mode::MpolPreferredMany | Mode::MpolWeightedInterleave
            if count == 0 =>
        {
            let why = "memory policy mode requires at least one node but got 0".to_owned();
            build.problems.push(Problem::MemoryPolicy(why));
        }
        _ => build.child.push(Step::MemoryPolicy { mode: mode | flags, nodes }),
    }
}

pub(super) fn personality(build: &mut Build<'_>, personality: Option<&LinuxPersonality>) {
    let Some(personality) = personality else { return };
    if let Some(flag) = personality.flags().iter().flatten().next() {
        build.invalid("linux.personality.flags", flag, "must be empty: no flag is defined");
    }
    build.child.push(Step::Personality(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }));
}

/// runc's mask for those who say none.
const UMASK_DEFAULT: u32 = 0o022;

/// Everything up to the point where only the program is missing.
pub(super) fn become_user(build: &mut Build<'_>, process: &Process) {
    build.child.push(Step::Stdio);
    let keep = build.options.preserve_fds + build.options.listen_fds;
    build.child.push(Step::CloseDescriptors { keep });
    if !process.cwd().is_absolute() {
        build.invalid("process.cwd", process.cwd().to_string_lossy(), "must be absolute");
    }
    if let Some(cwd) = build.c_string("process.cwd", process.cwd().as_os_str()) {
        build.child.push(Step::WorkingDirectory(cwd));
    }
    let user = process.user();
    if let Some(variable) = build.plan.program.home {
        build.child.push(Step::Home { uid: user.uid(), variable });
    }
    let groups = user.additional_gids().clone().unwrap_or_default();
    if build.groups_denied && !groups.is_empty() {
        let (at, value) = ("process.user.additionalGids".into(), format!("{groups:?}"));
        build.problems.push(Problem::Needs { at, value, needs: "a gid mapping written by newgidmap" });
    }
    let groups = (!build.groups_denied && !build.annotations.keep_groups).then_some(groups);
    let umask = Some(user.umask().unwrap_or(UMASK_DEFAULT));
    build.child.push(Step::User { uid: user.uid(), gid: user.gid(), groups, umask });
    if build.options.pdeathsig {
        // After the change of user, which forgets it.
        build.child.push(Step::DieWithParent);
    }
    if process.args().is_some() {
        build.child.push(Step::FindProgram);
    }
}

/// The last steps before the program: label, system call filter, capabilities. Without no_new_privs the filter needs CAP_SYS_ADMIN and
/// comes before the capabilities go; with it, it comes as late as can be.
pub(super) fn confine(build: &mut Build<'_>, process: &Process, seccomp: Option<&LinuxSeccomp>) {
    labels(build, process);
    let filter = match build.annotations.seccomp_filter.take() {
        Some(instructions) => Some(given_filter(instructions)),
        None => seccomp.and_then(|profile| filter(build, profile)),
    };
    let capabilities = process.capabilities().as_ref();
    let sets = Sets {
        effective: set(capabilities.and_then(|c| c.effective().as_ref())),
        permitted: set(capabilities.and_then(|c| c.permitted().as_ref())),
        inheritable: set(capabilities.and_then(|c| c.inheritable().as_ref())),
    };
    let bounding = set(capabilities.and_then(|c| c.bounding().as_ref()));
    let ambient = set(capabilities.and_then(|c| c.ambient().as_ref()));
    not_to_be_had(build, bounding | sets.effective | sets.permitted);
    let denied = ambient & !(sets.permitted & sets.inheritable);
    let names = CAPABILITIES.iter().enumerate().filter(|(number, _)| denied >> number & 1 == 1);
    build.plan.notes.extend(names.map(|(_, name)| {
        format!("can't raise ambient capability CAP_{name}: it is not both permitted and inheritable")
    }));
    let capabilities = Step::Capabilities { bounding, sets, ambient };
    if process.no_new_privileges().unwrap_or(false) {
        build.child.extend([capabilities, Step::NoNewPrivileges]);
        build.child.extend(filter);
    } else {
        build.child.extend(filter);
        build.child.push(capabilities);
    }
}

/// Spec: config.md "capabilities": what cannot be granted is no error, but worth a warning.
fn not_to_be_had(build: &mut Build<'_>, wanted: u64) {
    let Some(ours) = build.host.capabilities.filter(|_| !build.own(super::Namespace::User)) else { return };
    let missing: Vec<String> =
        capability_names().enumerate().filter(|(n, _)| wanted & !ours & 1 << n != 0).map(|(_, name)| name).collect();
    if !missing.is_empty() {
        build.plan.notes.push(format!("process.capabilities: cannot be granted here: {}", missing.join(", ")));
    }
}

/// Whether some call is to be answered by an agent.
pub(super) fn asks_agent(profile: &LinuxSeccomp) -> bool {
    profile.syscalls().iter().flatten().any(|syscall| syscall.action() == LinuxSeccompAction::ScmpActNotify)
}

/// `run.oci.seccomp_bpf_data`.
fn given_filter(instructions: Vec<u64>) -> Step {
    Step::Seccomp(Box::new(knarr_seccomp::Program { instructions, ..knarr_seccomp::Program::default() }))
}

fn filter(build: &mut Build<'_>, profile: &LinuxSeccomp) -> Option<Step> {
    let mut profile = Cow::Borrowed(profile);
    if let Some(agent) = build.annotations.seccomp_agent.take() {
        profile.to_mut().set_listener_path(Some(agent));
    }
    let native = knarr_seccomp::native().unwrap_or(Arch::ScmpArchNative);
    match knarr_seccomp::compile(&profile, native) {
        Ok(program) if build.annotations.seccomp_strict && !program.unknown.is_empty() => {
            let value = program.unknown.join(", ");
            build.invalid(
                "linux.seccomp.syscalls",
                value,
                "is not known, and run.oci.seccomp_fail_unknown_syscall is set",
            );
            None
        }
        Ok(program) => {
            let unknown = program.unknown.iter();
            build.plan.details.extend(unknown.map(|name| format!("linux.seccomp: no system call is named {name:?}")));
            if program.listener {
                let path = profile.listener_path().clone().unwrap_or_default();
                build.before_clone.push(ParentStep::ConnectSeccompAgent { path });
            }
            Some(Step::Seccomp(Box::new(program)))
        }
        Err(error) => {
            build.problems.push(Problem::Seccomp(error.to_string()));
            None
        }
    }
}

fn labels(build: &mut Build<'_>, process: &Process) {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    if let Some(label) = given(process.selinux_label()) {
        let (at, value) = ("process.selinuxLabel".to_owned(), label.clone());
        match build.host.selinux {
            true => label_step(build, &at, c"self/attr/exec", &label),
            false => build.problems.push(Problem::Host { at, value, needs: "SELinux" }),
        }
    }
    if build.label.is_some() && !build.host.selinux {
        let (at, value) = ("linux.mountLabel".to_owned(), build.label.clone().unwrap_or_default());
        build.problems.push(Problem::Host { at, value, needs: "SELinux" });
    }
    if let Some(profile) = given(process.apparmor_profile()).filter(|profile| profile != "unconfined") {
        let (at, value) = ("process.apparmorProfile".to_owned(), profile.clone());
        match build.host.apparmor {
            true => label_step(build, &at, c"self/attr/apparmor/exec", &format!("exec {profile}")),
            false => build.problems.push(Problem::Host { at, value, needs: "AppArmor" }),
        }
    }
}

fn label_step(build: &mut Build<'_>, at: &str, file: &std::ffi::CStr, value: &str) {
    if let Some(value) = build.c_string(at, value.as_ref()) {
        build.child.push(Step::ExecLabel(ProcWrite { file: file.to_owned(), value }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expect: Option<&[u64]>) {
        assert_eq!(mask(list).as_deref(), expect, "{list:?}");
    }

    #[test]
    fn a_list_of_processors_is_a_mask() {
        check("0-2,5", Some(&[0b10_0111]));
        check("64", Some(&[0, 1]));
        check("", Some(&[]));
    }

    #[test]
    fn processors_above_1024_are_counted() {
        assert_eq!(mask("1500").unwrap().len(), 1500 / 64 + 1);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        check("3-1", None);
        check("a", None);
        check("99999999", None);
    }

    #[test]
    fn capabilities_are_known_with_and_without_prefix() {
        assert_eq!(capability_number("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(capability_number("KILL"), Some(5));
        assert_eq!(capability_number("CAP_FLY"), None);
    }
}
