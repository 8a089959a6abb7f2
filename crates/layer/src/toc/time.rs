//! Times as tables of contents write them: RFC 3339.

/// RFC 3339 in UTC, with as much of a second as there is; `None` for years that have more or less than four digits.
pub(super) fn written(seconds: i64, ns: i64) -> Option<String> {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = (SECONDS_MIN..=SECONDS_MAX).contains(&seconds).then(|| civil(days))?;
    let fraction = if ns == 0 { String::new() } else { format!(".{ns:09}").trim_end_matches('0').to_owned() };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"))
}

/// The first second of the year 1 and the last of 9999.
const SECONDS_MIN: i64 = -62_135_596_800;
const SECONDS_MAX: i64 = 253_402_300_799;

/// Whole seconds since 1970 of an RFC 3339 time; parts of a second are cut off.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let shaped = marks.iter().all(|(at, mark)| text.as_bytes().get(*at) == Some(mark));
    if !shaped || !matches!(text.as_bytes().get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let zone = text.get(19..)?;
    let zone = match zone.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => zone,
    };
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h @ b'0'..=b'9', hh @ b'0'..=b'9', b':', m @ b'0'..=b'9', mm @ b'0'..=b'9'] => {
            let two = |high: u8, low: u8| i64::from(high - b'0') * 10 + i64::from(low - b'0');
            let seconds = two(*h, *hh) * 3600 + two(*m, *mm) * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    valid.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// Year, month and day of a day counted from 1970, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day counted from 1970 of a date: [`civil`] backwards.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_their_fraction() {
        let check = |seconds, ns, expect| assert_eq!(written(seconds, ns).as_deref(), expect);
        check(1_700_000_000, 250_000_000, Some("2023-11-14T22:13:20.25Z"));
        check(-1, 750_000_000, Some("1969-12-31T23:59:59.75Z"));
        check(0, 0, Some("1970-01-01T00:00:00Z"));
        check(1 << 60, 0, None);
        check(-99_999_999_999_999, 0, None);
    }

    fn check(text: &str, expect: Option<i64>) {
        assert_eq!(seconds(text), expect, "{text:?}");
    }

    #[test]
    fn times_are_read_in_any_zone() {
        check("2023-11-14T22:13:20.25Z", Some(1_700_000_000));
        check("2023-11-14T23:13:20+01:00", Some(1_700_000_000));
        check("2023-11-14T14:43:20.5-07:30", Some(1_700_000_000));
        check("1969-12-31T23:59:59Z", Some(-1));
        check("0001-01-01T00:00:00Z", Some(-62_135_596_800));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-13-14T22:13:20Z",
            "2023-11-14T22:13:20.Zx",
            "é023-11-14T22:13:20Z",
        ] {
            check(text, None);
        }
        check("2023-11-14T22:13:20+0é:0", None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(seconds_since in -62_135_596_800_i64..253_402_300_799) {
            let text = written(seconds_since, 0).unwrap();
            proptest::prop_assert_eq!(seconds(&text), Some(seconds_since));
        }

        #[test]
        fn any_text_is_a_time_or_none(text in "\\PC{0,40}") {
            let _ = seconds(&text);
        }
    }
}
