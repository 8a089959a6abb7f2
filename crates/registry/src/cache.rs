//! Manifests and small blobs in memory, so that the most asked-for ones are served without a look at the disk.
//!
//! Two generations of a map: when the young one is full it becomes the old one, and what is asked for moves back. A
//! writer calls [`Cache::invalidate`] after its commit; a reader that looked at the database before that moment cannot
//! put its stale answer in, because the epoch it noted no longer holds.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;

use crate::pulls::Clock;

/// A manifest as it is sent.
#[derive(Debug, Clone)]
pub struct Entry {
    pub digest: String,
    pub media_type: String,
    pub bytes: Bytes,
    /// Set by each pull.
    pub pulled: Clock,
}

/// What is cached, and what it weighs.
pub trait Weight: Clone {
    fn bytes(&self) -> usize;
}

impl Weight for Entry {
    fn bytes(&self) -> usize {
        self.bytes.len() + self.media_type.len() + self.digest.len()
    }
}

impl Weight for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// A repository and what stands in it.
type Key<N> = (String, N);

/// What an entry weighs beside its content: key, map slot, allocation headers.
const OVERHEAD_BYTES: usize = 256;

struct Generations<N, V> {
    young: HashMap<Key<N>, V>,
    old: HashMap<Key<N>, V>,
    young_bytes: usize,
}

/// The cache; shared by all requests.
pub struct Cache<N, V> {
    generations: RwLock<Generations<N, V>>,
    epoch: AtomicU64,
    bytes_max: usize,
}

/// The moment a reader began; see [`Cache::insert`].
#[derive(Clone, Copy)]
pub struct Epoch(u64);

impl<N: Eq + Hash, V: Weight> Cache<N, V> {
    pub fn new(bytes_max: usize) -> Cache<N, V> {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 };
        Cache { generations: RwLock::new(generations), epoch: AtomicU64::new(0), bytes_max }
    }

    pub fn get(&self, key: &Key<N>) -> Option<V> {
        let generations = self.generations.read().expect("no panic while locked");
        generations.young.get(key).or_else(|| generations.old.get(key)).cloned()
    }

    /// To be taken before the database is read.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Remembers what was read since `epoch`, unless something was written meanwhile.
    pub fn insert(&self, key: Key<N>, entry: V, epoch: Epoch) {
        let cost = entry.bytes() + key.0.len() + OVERHEAD_BYTES;
        let mut generations = self.generations.write().expect("no panic while locked");
        if self.epoch.load(Ordering::Acquire) != epoch.0 || cost > self.bytes_max / 4 {
            return;
        }
        if generations.young_bytes + cost > self.bytes_max / 2 {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        generations.young_bytes += cost;
        generations.young.insert(key, entry);
    }

    /// Forgets everything of a repository: something in it changed.
    pub fn invalidate(&self, repository: &str) {
        let mut generations = self.generations.write().expect("no panic while locked");
        self.epoch.fetch_add(1, Ordering::AcqRel);
        generations.young.retain(|(name, _), _| name != repository);
        generations.old.retain(|(name, _), _| name != repository);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tag: &str) -> Key<String> {
        ("a".into(), tag.into())
    }

    fn entry(bytes: usize) -> Bytes {
        Bytes::from(vec![0; bytes])
    }

    #[test]
    fn a_reader_from_before_a_write_cannot_insert_what_it_read() {
        let cache = Cache::new(1 << 20);
        let epoch = cache.epoch();
        cache.invalidate("a");
        cache.insert(key("x"), entry(10), epoch);
        assert!(cache.get(&key("x")).is_none());
    }

    #[test]
    fn the_cache_stays_within_its_bytes() {
        let cache = Cache::new(64 * 1024);
        for i in 0..1000 {
            cache.insert(key(&i.to_string()), entry(4096), cache.epoch());
        }
        let generations = cache.generations.read().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 16);
        assert!(generations.young.contains_key(&key("999")));
    }
}
