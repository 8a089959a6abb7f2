//! Turns a runtime-spec seccomp document into the BPF program the kernel runs at every system call.
//!
//! Spec: runtime-spec 1.3, config-linux.md "Seccomp"; seccomp(2).
//! Law: pure. Reads no file, calls no kernel, knows every architecture's system call numbers as data.
//! Not here: installing the program and passing on the listener (the runtime, through `sys`).
//!
//! Where the document leaves room, the answer is the one runc and libseccomp give, because profiles are written against them:
//! names nobody knows are left out; rules that say what the default says are left out; the first rule without arguments wins;
//! a call newer than any the profile names gets ENOSYS. Where libseccomp's answer depends on its internal order (several rules with
//! arguments for one call), the first in the document wins.
#![forbid(unsafe_code)]

mod arch;
mod decide;
mod emit;
mod error;
pub mod limits;
mod mux;
mod profile;
mod program;
mod rules;
mod table;

use knarr_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompFilterFlag as Flag};

pub use error::Error;
pub use profile::default_profile;
pub use program::{Program, instruction};

use crate::{
    arch::{Abi, X32_BIT},
    decide::{Decision, Span},
    rules::{RET_KILL_THREAD, Rules},
};

/// `SECCOMP_FILTER_FLAG_*`.
const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
const FLAG_NEW_LISTENER: u32 = 1 << 3;
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;
/// The number a tracer sets to skip a call.
const SKIPPED: u32 = u32::MAX;

/// Compiles a profile for a process that starts in architecture `native`.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Program, Error> {
    let abis = architectures(profile, native)?;
    let rules = rules::read(profile)?;
    let mut emitter = emit::Emitter::default();
    // Emitted from the end: the native calls come last and so stand nearest to the entry.
    let mut calls = Vec::new();
    for group in abis.iter().filter(|abi| leads(abi, &abis)).rev() {
        calls.insert(0, (group.audit(), emitter.calls(&spans(group, &abis, &rules), rules.default)));
    }
    emitter.dispatch(&calls, RET_KILL_THREAD);
    let instructions = emitter.finish();
    if instructions.len() > limits::INSTRUCTIONS_MAX {
        return Err(Error::Size { instructions: instructions.len() });
    }
    Ok(Program {
        instructions,
        flags: flags(profile, rules.notifies),
        listener: rules.notifies,
        unknown: rules.unknown,
    })
}

/// The architecture this binary was compiled for, as the runtime-spec names it; `None` where seccomp has no name for it.
pub fn native() -> Option<Arch> {
    arch::NATIVE
}

/// The native convention, then the others the profile lists, each once.
fn architectures(profile: &LinuxSeccomp, native: Arch) -> Result<Vec<&'static Abi>, Error> {
    let first = arch::find(native).ok_or(Error::Architecture { arch: native })?;
    let mut abis = vec![first];
    for arch in profile.architectures().iter().flatten().filter(|arch| **arch != Arch::ScmpArchNative) {
        let abi = arch::find(*arch).ok_or(Error::Architecture { arch: *arch })?;
        if abi.big_endian != first.big_endian {
            return Err(Error::Architecture { arch: *arch });
        }
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    Ok(abis)
}

/// Whether `abi` stands for its audit number: x32 only does where x86_64 is not listed.
fn leads(abi: &Abi, abis: &[&Abi]) -> bool {
    abi.arch != Arch::ScmpArchX32 || !abis.iter().any(|other| other.arch == Arch::ScmpArchX86_64)
}

/// All numbers under the audit number of `abi`.
fn spans(abi: &'static Abi, abis: &[&'static Abi], rules: &Rules) -> Vec<(&'static Abi, Span)> {
    let own = |abi: &'static Abi, first| decide::spans(rules, abi, first).into_iter().map(move |span| (abi, span));
    let always = |start, ret| (abi, Span { start, decision: Decision::Always(ret) });
    match abi.arch {
        Arch::ScmpArchX86_64 => match abis.iter().find(|abi| abi.arch == Arch::ScmpArchX32) {
            Some(x32) => own(abi, 0).chain(own(x32, X32_BIT)).collect(),
            None => {
                let outside = [always(X32_BIT, RET_KILL_THREAD), always(SKIPPED, rules.default)];
                own(abi, 0).chain(outside).collect()
            }
        },
        Arch::ScmpArchX32 => [always(0, RET_KILL_THREAD)].into_iter().chain(own(abi, X32_BIT)).collect(),
        _ => own(abi, 0).collect(),
    }
}

/// The flags of seccomp(2). TSYNC is left out: the container's init has one thread. Without any flags in the document
/// SPEC_ALLOW is set, as runc does: the mitigation it turns off costs much and guards nothing a container could not reach anyway.
fn flags(profile: &LinuxSeccomp, listener: bool) -> u32 {
    let Some(flags) = profile.flags() else {
        return FLAG_SPEC_ALLOW | if listener { FLAG_NEW_LISTENER } else { 0 };
    };
    flags.iter().fold(if listener { FLAG_NEW_LISTENER } else { 0 }, |all, flag| {
        all | match flag {
            Flag::SeccompFilterFlagLog => FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            // The kernel refuses it without a listener.
            Flag::SeccompFilterFlagWaitKillableRecv if listener => FLAG_WAIT_KILLABLE_RECV,
            Flag::SeccompFilterFlagWaitKillableRecv | Flag::SeccompFilterFlagTsync => 0,
        }
    })
}

#[cfg(test)]
mod tests;
