//! How much the store may take and how old unused images may grow; what goes when it is too much.
//!
//! Law: [`over`] is pure. An image that a container uses, or that was asked to stay, never goes; the least recently used go
//! first, no more of them than needed. Bytes are those of the records: blobs, and content of layers.

use std::collections::{BTreeMap, BTreeSet};

use knarr_spec::Digest;
use serde::{Deserialize, Serialize};

use crate::database::{Durability, Fault};
use crate::error::{Error, Result};
use crate::gc::{Facts, ImageFact, Policy};
use crate::gc_apply::Collected;
use crate::store::{Store, now_ns};

/// The name of the setting.
const SETTING: &str = "budget";

const SECOND_NS: i64 = 1_000_000_000;

/// Limits and what is kept twice; without any, nothing goes by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Bytes that images may take together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes_max: Option<u64>,
    /// Bytes that stay free on the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes_min: Option<u64>,
    /// Seconds after which an image that nobody used goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s_max: Option<u64>,
    /// Layers that came uncompressed are kept as trees alone: their blobs are made again when asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop_remakeable: bool,
}

impl Budget {
    /// Whether it limits anything.
    pub fn is_empty(&self) -> bool {
        *self == Budget::default()
    }
}

/// Images that must go for the budget: `used_ns` says when each was last used.
fn over(
    facts: &Facts,
    used_ns: &BTreeMap<Digest, i64>,
    budget: &Budget,
    keep: &BTreeSet<Digest>,
    free_bytes: u64,
    now_ns: i64,
) -> BTreeSet<Digest> {
    let used = |image: &ImageFact| used_ns.get(&image.id).copied().unwrap_or(now_ns);
    let mut old: Vec<&ImageFact> =
        facts.images.iter().filter(|image| !image.used && !keep.contains(&image.id)).collect();
    old.sort_by_key(|image| (used(image), image.id.clone()));
    let mut gone = BTreeSet::new();
    let (mut taken, mut free) = (bytes_without(facts, &gone), free_bytes);
    for image in old {
        let age_s = now_ns.saturating_sub(used(image)) / SECOND_NS;
        let is_old = budget.age_s_max.is_some_and(|max| u64::try_from(age_s).is_ok_and(|age_s| age_s > max));
        let too_much = budget.used_bytes_max.is_some_and(|max| taken > max);
        let too_full = budget.free_bytes_min.is_some_and(|min| free < min);
        if !(is_old || too_much || too_full) {
            continue;
        }
        gone.insert(image.id.clone());
        let left = bytes_without(facts, &gone);
        free = free.saturating_add(taken - left);
        taken = left;
    }
    gone
}

/// Bytes of blobs and layers that images, containers and leases still need without those in `gone`.
fn bytes_without(facts: &Facts, gone: &BTreeSet<Digest>) -> u64 {
    let staying = || facts.images.iter().filter(|image| !gone.contains(&image.id));
    let blobs: BTreeSet<&Digest> =
        staying().flat_map(|image| &image.blobs).chain(&facts.leased_blobs).chain(&facts.document_blobs).collect();
    let layers: BTreeSet<&i64> =
        staying().flat_map(|image| &image.layers).chain(&facts.snapshot_layers).chain(&facts.leased_layers).collect();
    let blobs = facts.blobs.iter().filter(|blob| blobs.contains(&blob.digest)).map(|blob| blob.bytes);
    let layers = facts.layers.iter().filter(|layer| layers.contains(&layer.number)).map(|layer| layer.bytes);
    blobs.chain(layers).sum()
}

impl Store {
    /// The limits that are set.
    pub fn budget(&self) -> Result<Budget> {
        let text: Option<String> = self.database().read("read budget", |c| {
            use rusqlite::OptionalExtension;
            let mut query = c.prepare_cached("SELECT value FROM settings WHERE name = ?1")?;
            Ok(query.query_row([SETTING], |row| row.get(0)).optional()?)
        })?;
        let bad = |_| Error::BadRecord { record: format!("settings {SETTING}"), field: "value" };
        text.map_or(Ok(Budget::default()), |text| serde_json::from_str(&text).map_err(bad))
    }

    /// Sets the limits.
    pub fn set_budget(&self, budget: &Budget) -> Result<()> {
        let text = serde_json::to_string(budget).expect("numbers");
        self.database().write("set budget", Durability::Full, |c| {
            c.prepare_cached("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)")?
                .execute((SETTING, text))?;
            Ok(())
        })
    }

    /// Removes what is over the budget; nothing where none is set. `keep` stays in any case.
    pub fn keep_budget(&self, keep: &BTreeSet<Digest>) -> Result<Option<Collected>> {
        let budget = self.budget()?;
        if budget.is_empty() {
            return Ok(None);
        }
        let facts = self.facts()?;
        let used_ns = self.database().read("read use of images", |c| {
            let mut query = c.prepare_cached("SELECT id, max(used_ns, stored_ns) FROM images")?;
            let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            let mut used = BTreeMap::new();
            for row in rows {
                let (id, ns) = row?;
                used.extend(id.parse::<Digest>().ok().map(|id| (id, ns)));
            }
            Ok::<_, Fault>(used)
        })?;
        let evict = over(&facts, &used_ns, &budget, keep, self.free_bytes(), now_ns());
        if evict.is_empty() && !budget.drop_remakeable {
            return Ok(None);
        }
        let drop_remakeable = budget.drop_remakeable;
        let policy = Policy { evict, keep_images: keep.clone(), drop_remakeable, ..Policy::default() };
        Ok(Some(self.collect_of(&facts, &policy)))
    }

    /// Bytes the file system still has for us.
    fn free_bytes(&self) -> u64 {
        let open = std::fs::File::open(self.state());
        let stat = open.ok().and_then(|dir| knarr_sys::fs::fstatfs(&dir).ok());
        stat.map_or(u64::MAX, |stat| stat.f_bavail * stat.f_bsize as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::{BlobFact, LayerFact};

    fn digest(n: u8) -> Digest {
        Digest::sha256_of(&[n])
    }

    /// Three images of 100 bytes each that share a layer of 1000; the higher the number, the later used.
    fn facts() -> (Facts, BTreeMap<Digest, i64>) {
        let image = |n: u8| ImageFact {
            id: digest(n),
            tagged: true,
            used: false,
            blobs: [digest(n)].into(),
            layers: [7].into(),
        };
        let facts = Facts {
            images: vec![image(2), image(1), image(3)],
            blobs: (1..4).map(|n| BlobFact { digest: digest(n), bytes: 100, tar_of: None, dropped: false }).collect(),
            layers: vec![LayerFact { number: 7, bytes: 1000 }],
            ..Facts::default()
        };
        (facts, (1..4).map(|n| (digest(n), i64::from(n) * SECOND_NS)).collect())
    }

    fn check(budget: Budget, free: u64, expect: &[u8]) {
        let (facts, used) = facts();
        let gone = over(&facts, &used, &budget, &BTreeSet::new(), free, 10 * SECOND_NS);
        assert_eq!(gone, expect.iter().map(|n| digest(*n)).collect(), "{budget:?}, {free} free");
    }

    #[test]
    fn the_least_recently_used_go_and_no_more_than_needed() {
        check(Budget { used_bytes_max: Some(1300), ..Budget::default() }, 0, &[]);
        check(Budget { used_bytes_max: Some(1299), ..Budget::default() }, 0, &[1]);
        check(Budget { used_bytes_max: Some(1100), ..Budget::default() }, 0, &[1, 2]);
        check(Budget { used_bytes_max: Some(0), ..Budget::default() }, 0, &[1, 2, 3]);
    }

    #[test]
    fn free_room_and_age_count_too() {
        check(Budget { free_bytes_min: Some(150), ..Budget::default() }, 100, &[1]);
        check(Budget { free_bytes_min: Some(150), ..Budget::default() }, 200, &[]);
        check(Budget { age_s_max: Some(7), ..Budget::default() }, 0, &[1, 2]);
        check(Budget::default(), 0, &[]);
    }

    #[test]
    fn what_is_used_or_asked_for_stays() {
        let (mut facts, used) = facts();
        facts.images[1].used = true;
        let budget = Budget { used_bytes_max: Some(0), ..Budget::default() };
        let gone = over(&facts, &used, &budget, &[digest(3)].into(), 0, 10 * SECOND_NS);
        assert_eq!(gone, [digest(2)].into());
    }
}
