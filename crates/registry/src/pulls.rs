//! When manifests were last pulled, noted without a write per pull.
//!
//! Each manifest in the cache carries a clock that a pull sets; now and then the clocks that moved are written to the
//! database. What a kill loses are the pulls since then, a few minutes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::now;
use crate::metadata::Pull;
use crate::route::ManifestReference;

/// Clocks kept before they have to be written: a few thousand are a few hundred kilobytes.
pub const CLOCKS_MAX: usize = 4096;

/// The time of the last pull of one manifest under one name; 0 where there was none.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    pub fn pulled(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }
}

struct Watched {
    repository: String,
    reference: ManifestReference,
    clock: Clock,
    written: i64,
}

/// All clocks.
#[derive(Default)]
pub struct Pulls(Mutex<Vec<Watched>>);

impl Pulls {
    /// A clock for a manifest that comes into the cache, and whether it is time to write.
    pub fn watch(&self, repository: &str, reference: &ManifestReference) -> (Clock, bool) {
        let clock = Clock::default();
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (repository, reference) = (repository.to_owned(), reference.clone());
        watched.push(Watched { repository, reference, clock: clock.clone(), written: 0 });
        (clock, watched.len() >= CLOCKS_MAX)
    }

    /// The pulls since the last time, to be written. Clocks nobody else holds are forgotten.
    pub fn take(&self) -> Vec<Pull> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pulls = Vec::new();
        watched.retain_mut(|watched| {
            // Asked first: a pull after this moment is one of somebody who still holds the clock.
            let held = Arc::strong_count(&watched.clock.0) > 1;
            let at = watched.clock.0.load(Ordering::Relaxed);
            if at > watched.written {
                watched.written = at;
                pulls.push(Pull { repository: watched.repository.clone(), reference: watched.reference.clone(), at });
            }
            held
        });
        pulls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pull_is_taken_once_and_dropped_clocks_are_forgotten() {
        let pulls = Pulls::default();
        let (held, _) = pulls.watch("a", &ManifestReference::Tag("v1".into()));
        let (dropped, _) = pulls.watch("a", &ManifestReference::Tag("v2".into()));
        held.pulled();
        dropped.pulled();
        drop(dropped);
        assert_eq!(pulls.take().len(), 2);
        assert_eq!((pulls.take().len(), pulls.0.lock().unwrap().len()), (0, 1));
    }
}
