//! The time as it is stored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

/// The moment `span` ago, in seconds since 1970.
pub fn ago(span: Duration) -> i64 {
    now().saturating_sub(i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
}
