//! A network namespace of the container's own, made while the plan is.
//!
//! It is the one namespace that costs: half a millisecond for its loopback, its hundreds of settings and their directories, more than all
//! others and the process together. On the way of a start stand reading the document, planning and the filter, which need another half
//! and no kernel; so it is made beside them, by a thread that has ended before the container's first process is cloned.
//!
//! Law: a shortcut and nothing more. What cannot be made here is asked of clone3, and its answer is the one that is told.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use knarr_spec::runtime::{LinuxNamespaceType, Spec};
use knarr_sys::clone3;
use knarr_sys::setns::{flag, unshare};

/// Enough for two system calls.
const STACK_BYTES: usize = 64 << 10;
/// How often to look whether the thread has left the kernel, which takes it microseconds after its last word.
const LOOKS_MAX: usize = 10_000;

/// A namespace that is being made.
#[derive(Debug)]
pub struct NewNetwork(JoinHandle<Option<OwnedFd>>);

impl NewNetwork {
    /// Begins, where the document wants a new one that belongs to our own user namespace.
    pub fn begin(spec: &Spec) -> Option<NewNetwork> {
        let linux = spec.linux().as_ref()?;
        let namespaces = linux.namespaces().as_deref().unwrap_or_default();
        let is_new = |kind| namespaces.iter().any(|one| one.typ() == kind && one.path().is_none());
        let has_users = namespaces.iter().any(|one| one.typ() == LinuxNamespaceType::User);
        if has_users || !is_new(LinuxNamespaceType::Network) {
            return None;
        }
        thread::Builder::new().stack_size(STACK_BYTES).spawn(make).ok().map(NewNetwork)
    }

    /// The namespace, when it is there and the thread gone: only then may a process be cloned.
    pub(crate) fn finish(self) -> Option<OwnedFd> {
        let made = self.0.join().ok().flatten();
        // Where other threads are it stays false, and clone3 says so.
        (0..LOOKS_MAX).take_while(|_| !clone3::single_threaded()).for_each(|_| thread::yield_now());
        made
    }
}

/// In a thread of its own: `unshare` moves the caller alone.
fn make() -> Option<OwnedFd> {
    unshare(flag::NETWORK).ok()?;
    Some(File::open("/proc/thread-self/ns/net").ok()?.into())
}
