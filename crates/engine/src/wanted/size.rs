//! Sizes and processor counts as docker writes them.

use super::ParseError;

/// A size in bytes: a number, a fraction allowed, and one of `b k m g t p`, with `b` or `ib` behind it; 1k is 1024.
/// `-1` is passed through, where "unlimited" has a meaning.
pub fn parse_size(option: &'static str, text: &str) -> Result<i64, ParseError> {
    let wrong = || ParseError::new(option, text, "expected a size such as 512m, 1.5g or 65536");
    if text == "-1" {
        return Ok(-1);
    }
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let fraction: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = fraction * (1u64 << shift) as f64;
    if bytes >= 0.0 && bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(wrong()) }
}

/// Processors in billionths, from a decimal number such as `1.5`.
pub fn parse_cpus(text: &str) -> Result<i64, ParseError> {
    let wrong = || ParseError::new("cpus", text, "expected a number of processors such as 2 or 0.5");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
        return Err(wrong());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    let total = whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(nanos)).ok_or_else(wrong)?;
    if total == 0 { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<i64>) {
        assert_eq!(parse_size("memory", text).ok(), expect, "{text:?}");
    }

    #[test]
    fn units_are_binary_and_their_case_does_not_matter() {
        check("512", Some(512));
        check("512b", Some(512));
        check("64k", Some(65536));
        check("64KB", Some(65536));
        check("64KiB", Some(65536));
        check("512m", Some(512 << 20));
        check("2G", Some(2 << 30));
    }

    #[test]
    fn fractions_are_allowed() {
        check("1.5g", Some(3 << 29));
        check(".5m", Some(1 << 19));
    }

    #[test]
    fn nonsense_and_overflow_are_refused() {
        for text in ["", "m", "1x", "1mm", "-5", "1 1", "9999999999g", "1.2.3k", "ib", "1e3"] {
            check(text, None);
        }
    }

    #[test]
    fn processors_are_counted_in_billionths() {
        for (text, expect) in [("1", 1_000_000_000), ("1.5", 1_500_000_000), (".25", 250_000_000), ("0.000000001", 1)] {
            assert_eq!(parse_cpus(text), Ok(expect));
        }
        for text in ["", ".", "0", "-1", "1e3", "x", "0.0000000001"] {
            assert!(parse_cpus(text).is_err(), "{text:?}");
        }
    }
}
