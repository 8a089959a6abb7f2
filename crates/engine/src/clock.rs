//! The time of day.

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(knarr_monitor::time::now_ns()).unwrap_or(i64::MAX)
}

/// Now, as image documents have it: RFC 3339 in UTC.
pub(crate) fn now_text() -> String {
    knarr_monitor::time::rfc3339(knarr_monitor::time::now_ns())
}
