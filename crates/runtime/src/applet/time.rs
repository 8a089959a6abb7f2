//! The clock in RFC 3339 with nanoseconds, UTC: `2026-03-01T07:08:09.000000123Z`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;

/// The time now.
pub(crate) fn now() -> String {
    text(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Of a time since 1970.
fn text(since: Duration) -> String {
    let (days, second) = (since.as_secs() / DAY_S, since.as_secs() % DAY_S);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

/// The Gregorian date of a day since 1970-01-01. Years are counted from March, so that the leap day is their last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, nanoseconds: u32, expect: &str) {
        assert_eq!(text(Duration::new(seconds, nanoseconds)), expect);
    }

    #[test]
    fn the_first_second() {
        check(0, 7, "1970-01-01T00:00:00.000000007Z");
    }

    #[test]
    fn leap_days() {
        check(951_782_400, 0, "2000-02-29T00:00:00.000000000Z");
        check(1_709_251_199, 0, "2024-02-29T23:59:59.000000000Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn the_last_second_of_a_year() {
        check(1_798_761_599, 999_999_999, "2026-12-31T23:59:59.999999999Z");
    }
}
