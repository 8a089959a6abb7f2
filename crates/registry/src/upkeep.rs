//! What a registry does by itself while it serves: garbage collection, retention, the bookkeeping of records and pulls.
//!
//! Law: step by step, each a short transaction, so that nobody waits; never takes what a request has been told is there.

use std::time::Duration;

use crate::clock::ago;
use crate::error::StorageError;
use crate::metadata::{Garbage, Removal, Sweep};
use crate::retention::{self, Planned};
use crate::server::Registry;

/// Links or blobs looked at in one step.
const SWEEP_STEP: usize = 500;

/// Repositories read in one go.
const REPOSITORIES_AT_ONCE: usize = 1000;

/// Is shown a repository and what would go from it.
pub type Visit<'a> = dyn FnMut(&str, &[Planned]) -> Result<(), StorageError> + 'a;

/// Removals made in one transaction.
const REMOVALS_AT_ONCE: usize = 200;

impl Registry {
    /// One round of everything.
    pub(crate) fn keep_clean(&self) -> Result<(), StorageError> {
        self.note_pulls()?;
        self.meta().alone(&mut || {
            self.write_records()?;
            self.meta().tidy()?;
            self.apply_retention()?;
            self.collect_garbage().map(|_| ())
        })
    }

    /// One round of garbage collection: uploads nobody continues, blobs no manifest uses. Returns the blobs removed.
    pub fn collect_garbage(&self) -> Result<usize, StorageError> {
        let gc = self.settings().gc.clone();
        self.uploads().expire(gc.uploads_idle.0)?;
        let busy = self.uploads().busy()?;
        let garbage = Garbage { before: ago(gc.grace.0), busy: &|repository| busy.contains(repository) };
        // Bytes that a round before this one did not come to.
        let (mut sweep, mut removed) = (Sweep::default(), self.remove_leaving()?);
        while sweep != Sweep::Done {
            for repository in self.meta().sweep(&mut sweep, &garbage, SWEEP_STEP)? {
                self.small_blobs().invalidate(&repository);
            }
            removed += self.remove_leaving()?;
        }
        Ok(removed)
    }

    /// Removes the bytes of blobs that nobody knows. Returns how many blobs that were.
    fn remove_leaving(&self) -> Result<usize, StorageError> {
        let mut removed = 0;
        loop {
            let leaving = self.meta().leaving(SWEEP_STEP)?;
            if leaving.is_empty() {
                return Ok(removed);
            }
            for digest in &leaving {
                self.remove_unknown(digest)?;
            }
            self.meta().left(&leaving)?;
            removed += leaving.len();
        }
    }

    /// Removes what the rules do not keep.
    pub fn apply_retention(&self) -> Result<(), StorageError> {
        self.each_planned(&mut |repository, planned| {
            for some in planned.chunks(REMOVALS_AT_ONCE) {
                let removals: Vec<Removal> = some.iter().map(|planned| planned.removal.clone()).collect();
                let removed = self.meta().retire(repository, &removals)?.len();
                self.manifests().invalidate(repository);
                self.log().info("retention", &[("repository", &repository), ("removed", &removed)]);
            }
            self.write_records()
        })
    }

    /// Shows what the rules would remove, repository by repository.
    pub fn each_planned(&self, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let settings = self.settings();
        if settings.retention.is_empty() {
            return Ok(());
        }
        let mut last = String::new();
        loop {
            let page = self.meta().repositories(&last, REPOSITORIES_AT_ONCE)?;
            for repository in page.entries.iter().filter(|name| retention::concerns(&settings, name)) {
                let (tags, manifests) = self.meta().facts(repository)?;
                let planned = retention::plan(&settings, repository, &tags, &manifests);
                if !planned.is_empty() {
                    visit(repository, &planned)?;
                }
            }
            match page.entries.into_iter().last().filter(|_| page.more) {
                Some(name) => last = name,
                None => return Ok(()),
            }
        }
    }
}

/// Keeps a registry clean until the task is ended.
pub async fn keep_clean(registry: Registry) {
    loop {
        let janitor = registry.clone();
        // A failed round is tried again at the next tick.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || janitor.keep_clean()).await {
            registry.log().error("upkeep failed", &[("error", &error)]);
        }
        let interval = registry.settings().gc.interval.0;
        tokio::time::sleep(interval.max(Duration::from_millis(1))).await;
    }
}
