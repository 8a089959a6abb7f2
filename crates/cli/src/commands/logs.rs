//! `logs`.

use std::io::Write;

use knarr_engine::container::logs::open;
use knarr_engine::{LogOptions, Stream, time};

use crate::failure::Failure;
use crate::verb::Verb;
use crate::world::World;

/// Show what a container wrote.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Go on until the container ends
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only from this time on (2026-01-02T15:04:05Z, or 10m for the last ten minutes)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only so many of the last lines, or all
    #[arg(long, short = 'n', value_name = "NUMBER", default_value = "all", allow_hyphen_values = true)]
    tail: String,
    /// Show when each line was written
    #[arg(long, short = 't')]
    timestamps: bool,
    /// Only up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Name or id
    container: String,
}

impl Verb for Logs {
    const NAMES: &'static [&'static str] = &["logs", "container logs"];
    const ABOUT: &'static str = "Show what a container wrote";
    const EXAMPLE: &'static str = "knarr logs -f --tail 100 web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let now = time::now_ns();
        let moment = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now)).transpose();
        let options = LogOptions {
            follow: self.follow,
            // Docker: what is no number, or below zero, is all.
            tail: self.tail.parse().ok(),
            since_ns: moment(&self.since)?,
            until_ns: moment(&self.until)?,
            ..LogOptions::default()
        };
        let context = world.reading()?;
        let mut reader = open(&context, &self.container, options)?;
        let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
        while let Some(entry) = reader.next_entry().map_err(knarr_engine::Error::from)? {
            let time = if self.timestamps { time::rfc3339(entry.time_ns) + " " } else { String::new() };
            let line = time + &entry.text;
            let written = match entry.stream {
                Stream::Stdout => out.write_all(line.as_bytes()),
                Stream::Stderr => err.write_all(line.as_bytes()),
            };
            // A reader that has gone has seen enough.
            if written.and_then(|()| if self.follow { out.flush() } else { Ok(()) }).is_err() {
                return Ok(0);
            }
        }
        let _ = out.flush();
        Ok(0)
    }
}

/// RFC 3339, a Unix time in seconds, or a duration back from now, in nanoseconds since 1970.
fn parse_time(text: &str, now_ns: u64) -> Result<u64, Failure> {
    let padded = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    if let Some(time) = time::parse_rfc3339(text).or_else(|| time::parse_rfc3339(&padded)) {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1e9) as u64);
    }
    let back = go_duration_ns(text).ok_or_else(|| {
        Failure::usage(format!("invalid time {text:?}"))
            .hint("expected 2026-01-02T15:04:05Z, a Unix time, or a duration such as 10m")
    })?;
    Ok(now_ns.saturating_sub(back))
}

/// Go's durations: `1h30m`, `500ms`.
fn go_duration_ns(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "h" => 3.6e12,
                "m" => 6e10,
                "s" => 1e9,
                "ms" => 1e6,
                "us" | "µs" => 1e3,
                "ns" => 1.0,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    (total > 0.0).then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000_000_000;

    fn check(text: &str, expect: Option<u64>) {
        assert_eq!(parse_time(text, NOW).ok(), expect, "{text:?}");
    }

    #[test]
    fn durations_count_back_from_now() {
        check("10m", Some(NOW - 600_000_000_000));
        check("1h30m", Some(NOW - 5_400_000_000_000));
        check("1.5s", Some(NOW - 1_500_000_000));
    }

    #[test]
    fn moments_may_be_short() {
        check("1970-01-02", Some(86_400_000_000_000));
        check("1970-01-01T00:00:01", Some(1_000_000_000));
        check("1970-01-01T00:00:01Z", Some(1_000_000_000));
        check("1.5", Some(1_500_000_000));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "10x", "m", "1970-13-99"] {
            check(text, None);
        }
    }
}
