//! How often somebody may ask: a bucket of requests for each, refilled at a steady rate.
//!
//! Law: memory is bounded whatever number of addresses asks; whoever is forgotten begins with a full bucket.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Askers remembered at once, in about 100 bytes each.
const ASKERS_MAX: usize = 32 * 1024;

/// A rate: so many at once, and so many a second after that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Refilled each second.
    pub per_second: f64,
    /// The bucket.
    pub burst: f64,
}

struct Bucket {
    left: f64,
    at: Instant,
}

/// Buckets by asker.
pub struct Buckets<K>(Mutex<HashMap<K, Bucket>>);

impl<K> Default for Buckets<K> {
    fn default() -> Buckets<K> {
        Buckets(Mutex::default())
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Takes one out of the bucket of `who`; or says how long to wait until there is one.
    pub fn take(&self, who: K, rate: Rate) -> Result<(), Duration> {
        self.take_at(who, rate, Instant::now())
    }

    /// Says what [`take`](Buckets::take) would, and takes nothing.
    pub fn peek(&self, who: &K, rate: Rate) -> Result<(), Duration> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get(who).map_or(Ok(()), |bucket| wait(bucket.refilled(rate, Instant::now()), rate))
    }

    fn take_at(&self, who: K, rate: Rate, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ASKERS_MAX && !buckets.contains_key(&who) {
            buckets.retain(|_, bucket| bucket.refilled(rate, now) < rate.burst);
            if buckets.len() >= ASKERS_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(who).or_insert(Bucket { left: rate.burst, at: now });
        (bucket.left, bucket.at) = (bucket.refilled(rate, now), now);
        wait(bucket.left, rate)?;
        bucket.left -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn refilled(&self, rate: Rate, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second).min(rate.burst)
    }
}

fn wait(left: f64, rate: Rate) -> Result<(), Duration> {
    if left >= 1.0 {
        return Ok(());
    }
    Err(Duration::try_from_secs_f64((1.0 - left) / rate.per_second).unwrap_or(Duration::from_secs(3600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (buckets, begun) = (Buckets::default(), Instant::now());
        for _ in 0..3 {
            buckets.take_at("a", RATE, begun).unwrap();
        }
        assert_eq!(buckets.take_at("a", RATE, begun), Err(Duration::from_millis(500)));
        buckets.take_at("b", RATE, begun).unwrap();
        buckets.take_at("a", RATE, begun + Duration::from_millis(500)).unwrap();
        assert!(buckets.take_at("a", RATE, begun + Duration::from_millis(500)).is_err());
    }

    #[test]
    fn memory_is_bounded_by_forgetting() {
        let (buckets, now) = (Buckets::default(), Instant::now());
        for asker in 0..3 * ASKERS_MAX {
            let _ = buckets.take_at(asker, RATE, now);
        }
        assert!(buckets.0.lock().unwrap().len() <= ASKERS_MAX);
    }
}
