//! Points of time as nanoseconds since 1970 and as RFC 3339 text, the form of docker's log files.
//!
//! Law: UTC only; nanoseconds are written without trailing zeros, as Go's `RFC3339Nano` does.
//! Not here: time zones and durations; a general library costs the supervisor pages it never uses again.

use std::time::{SystemTime, UNIX_EPOCH};

const SECOND_NS: u64 = 1_000_000_000;
const DAY_SECONDS: u64 = 86_400;

/// Now, in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Appends `2026-11-23T01:45:20.5Z`.
pub fn write_rfc3339(out: &mut Vec<u8>, time_ns: u64) {
    let (seconds, nanos) = (time_ns / SECOND_NS, time_ns % SECOND_NS);
    let (year, month, day) = civil_from_days(seconds / DAY_SECONDS);
    let second = seconds % DAY_SECONDS;
    for (number, digits, then) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (nanos, 9, b'Z'),
    ] {
        write_digits(out, number, digits);
        out.push(then);
    }
    trim_fraction(out);
}

/// The same as text.
pub fn rfc3339(time_ns: u64) -> String {
    let mut out = Vec::with_capacity(30);
    write_rfc3339(&mut out, time_ns);
    String::from_utf8(out).unwrap_or_default()
}

/// Nanoseconds since 1970 of a text with any offset; `None` when it is no RFC 3339 time or outside 1970 to 2554.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |at: std::ops::Range<usize>| -> Option<u64> {
        bytes
            .get(at)?
            .iter()
            .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !separators.iter().all(|(at, byte)| bytes.get(*at).map(u8::to_ascii_uppercase) == Some(*byte)) {
        return None;
    }
    let days = days_from_civil(number(0..4)?, number(5..7)?, number(8..10)?)?;
    let seconds = days * DAY_SECONDS + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let (nanos, zone) = parse_fraction(&bytes[19..]);
    seconds.checked_add_signed(-parse_zone(zone)?)?.checked_mul(SECOND_NS)?.checked_add(nanos)
}

fn write_digits(out: &mut Vec<u8>, number: u64, digits: u32) {
    out.extend((0..digits).rev().map(|place| b'0' + (number / 10u64.pow(place) % 10) as u8));
}

/// Drops the zeros between the last significant digit of the fraction and the `Z`, and the point if none is left.
fn trim_fraction(out: &mut Vec<u8>) {
    out.pop();
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
    out.push(b'Z');
}

fn parse_fraction(bytes: &[u8]) -> (u64, &[u8]) {
    let Some(fraction) = bytes.strip_prefix(b".") else { return (0, bytes) };
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let padded = fraction[..length].iter().chain(std::iter::repeat(&b'0')).take(9);
    (padded.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')), &fraction[length..])
}

/// The offset in seconds.
fn parse_zone(zone: &[u8]) -> Option<i64> {
    let (sign, [h1, h2, b':', m1, m2]) = (match zone {
        [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, <&[u8; 5]>::try_from(rest).ok()?),
        [b'-', rest @ ..] => (-1, <&[u8; 5]>::try_from(rest).ok()?),
        _ => return None,
    }) else {
        return None;
    };
    let [h1, h2, m1, m2] = [h1, h2, m1, m2].map(|digit| i64::from(digit.wrapping_sub(b'0')));
    Some(sign * ((h1 * 10 + h2) * 3600 + (m1 * 10 + m2) * 60))
}

/// Year, month and day of a day count since 1970-01-01. The year is taken to begin in March, so that the leap day is its last;
/// 146097 days are 400 years.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_year - (153 * month_from_march + 2) / 5 + 1)
}

fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((year / 400) * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(time_ns: u64, text: &str) {
        assert_eq!(rfc3339(time_ns), text);
        assert_eq!(parse_rfc3339(text), Some(time_ns), "{text}");
    }

    #[test]
    fn the_epoch_has_no_fraction() {
        check(0, "1970-01-01T00:00:00Z");
    }

    #[test]
    fn trailing_zeros_are_left_out_as_go_does() {
        check(1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z");
    }

    #[test]
    fn all_nine_digits_are_kept() {
        check(1_709_210_096_000_000_001, "2024-02-29T12:34:56.000000001Z");
    }

    #[test]
    fn a_century_that_is_no_leap_year_has_no_29th_of_february() {
        check(4_107_542_400 * SECOND_NS, "2100-03-01T00:00:00Z");
        check(4_107_542_399 * SECOND_NS, "2100-02-28T23:59:59Z");
    }

    #[test]
    fn an_offset_is_taken_into_account() {
        assert_eq!(parse_rfc3339("1970-01-01T01:30:00.5+01:30"), Some(SECOND_NS / 2));
        assert_eq!(parse_rfc3339("1969-12-31T23:00:00-02:00"), None);
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00-02:00"), Some(7200 * SECOND_NS));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "now", "2024-13-01T00:00:00Z", "2024-01-01 00:00:00", "2024-01-01T00:00:00", "2024-01-01T00:0a:00Z"]
        {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in 0..146_097 {
            let (year, month, date) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, date), Some(day));
        }
    }
}
