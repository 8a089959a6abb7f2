//! The time of day.

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(knarr_monitor::time::now_ns()).unwrap_or(i64::MAX)
}
