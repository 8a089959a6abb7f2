//! The kinds of values a setting may have: durations, sizes and patterns of names, each checked where it is read.
//!
//! Law: pure. A value that was read is valid, so nobody checks it again.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Longest pattern accepted: a repository name has 255 characters at most.
const GLOB_BYTES_MAX: usize = 255;

/// A span of time as people write it: `500ms`, `30s`, `5m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(number: u64) -> Span {
        Span(Duration::from_secs(number))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Span, String> {
        let bad = || format!("{text:?} is not a duration: expected a number and ms, s, m, h or d, as in \"30s\"");
        let (number, unit) = number_and_unit(&text).ok_or_else(bad)?;
        let scale_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        number.checked_mul(scale_ms).map(|ms| Span(Duration::from_millis(ms))).ok_or_else(bad)
    }
}

/// A number of bytes as people write it: `512`, `64KiB`, `10 MB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ByteSize(pub u64);

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<ByteSize, String> {
        let bad =
            || format!("{text:?} is not a size: expected a number and B, KB, MB, GB, KiB, MiB or GiB, as in \"64MiB\"");
        let (number, unit) = number_and_unit(&text).ok_or_else(bad)?;
        let scale: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "t" | "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return Err(bad()),
        };
        number.checked_mul(scale).map(ByteSize).ok_or_else(bad)
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

/// A pattern of repository names, subjects or tags: `*` is any run of characters without a slash, `**` any run at all,
/// `?` one character that is no slash. The whole name must match.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    One,
    Run,
    AnyRun,
}

impl Glob {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Glob, String> {
        if text.is_empty() || text.len() > GLOB_BYTES_MAX {
            return Err(format!("a pattern has 1 to {GLOB_BYTES_MAX} characters, this one has {}", text.len()));
        }
        let mut parts = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            match (byte, parts.last()) {
                (b'*', Some(Part::Run)) => *parts.last_mut().expect("just seen") = Part::AnyRun,
                (b'*', Some(Part::AnyRun)) => {}
                (b'*', _) => parts.push(Part::Run),
                (b'?', _) => parts.push(Part::One),
                (byte, _) => parts.push(Part::Byte(byte)),
            }
        }
        Ok(Glob { text: text.to_owned(), parts })
    }

    /// Whether `name` is meant. Time is bounded by the product of the two lengths, whatever the pattern.
    pub fn matches(&self, name: &str) -> bool {
        match self.parts.as_slice() {
            [Part::AnyRun] => return true,
            parts if parts.iter().all(|part| matches!(part, Part::Byte(_))) => return self.text == name,
            _ => {}
        }
        let end = self.parts.len();
        let mut states = vec![false; end + 1];
        states[0] = true;
        self.skip_runs(&mut states);
        for byte in name.bytes() {
            let mut next = vec![false; end + 1];
            for (at, part) in self.parts.iter().enumerate().filter(|(at, _)| states[*at]) {
                match part {
                    Part::Byte(wanted) if *wanted == byte => next[at + 1] = true,
                    Part::One if byte != b'/' => next[at + 1] = true,
                    Part::Run if byte != b'/' => next[at] = true,
                    Part::AnyRun => next[at] = true,
                    _ => {}
                }
            }
            self.skip_runs(&mut next);
            states = next;
        }
        states[end]
    }

    /// A run may be empty: whoever stands before one stands behind it as well.
    fn skip_runs(&self, states: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if states[at] && matches!(part, Part::Run | Part::AnyRun) {
                states[at + 1] = true;
            }
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

impl TryFrom<String> for Glob {
    type Error = String;

    fn try_from(text: String) -> Result<Glob, String> {
        Glob::new(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expect: bool) {
        assert_eq!(Glob::new(pattern).unwrap().matches(name), expect, "{pattern} against {name}");
    }

    #[test]
    fn one_star_stays_within_a_component() {
        check("team/*", "team/app", true);
        check("team/*", "team/app/sub", false);
        check("team/*", "team/", true);
        check("*/app", "team/app", true);
        check("v?.*", "v1.2", true);
        check("v?", "v/", false);
    }

    #[test]
    fn two_stars_cross_slashes() {
        check("team/**", "team/app/sub", true);
        check("**", "anything/at/all", true);
        check("**/app", "a/b/app", true);
        check("**/app", "app", false);
        check("team/**", "teams/app", false);
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = format!("{}c", "a*".repeat(100));
        let begun = std::time::Instant::now();
        check(&pattern, &format!("{}b", "a".repeat(254)), false);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        for (text, expect) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(Span::try_from(text.to_owned()).unwrap().0, Duration::from_millis(expect));
        }
        for text in ["", "s", "30", "30x", "-1s", "99999999999999999999s", "1.5h"] {
            assert!(Span::try_from(text.to_owned()).is_err(), "{text}");
        }
        for (text, expect) in [("512", 512), ("64KiB", 65536), ("10 MB", 10_000_000), ("2GiB", 2 << 30)] {
            assert_eq!(ByteSize::try_from(text.to_owned()).unwrap().0, expect);
        }
        for text in ["", "MiB", "1x", "99999999999999999999", "18446744073709551615KB"] {
            assert!(ByteSize::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
