//! `--ulimit TYPE=SOFT[:HARD]`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// One resource limit of the processes inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As docker names it: `nofile`, `nproc`, …
    pub name: String,
    /// What applies; `u64::MAX` is unlimited.
    pub soft: u64,
    /// How far a process may raise it.
    pub hard: u64,
}

/// The names docker knows.
pub(crate) const NAMES: [&str; 16] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
    "as",
];

impl FromStr for Ulimit {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Ulimit, ParseError> {
        let wrong = |why: &str| ParseError::new("ulimit", text, why);
        let (name, values) = text.split_once('=').ok_or_else(|| wrong("expected TYPE=SOFT[:HARD]"))?;
        if !NAMES.contains(&name) {
            return Err(wrong(&format!("unknown type {name:?}: expected one of {}", NAMES.join(", "))));
        }
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let number = |value: &str| match value {
            "-1" => Ok(u64::MAX),
            value => value.parse::<u64>().map_err(|_| wrong("expected numbers, or -1 for unlimited")),
        };
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(wrong("the soft limit is above the hard limit"));
        }
        Ok(Ulimit { name: name.to_owned(), soft, hard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(&str, u64, u64)>) {
        let got = text.parse::<Ulimit>().ok();
        assert_eq!(got.as_ref().map(|u| (u.name.as_str(), u.soft, u.hard)), expect, "{text:?}");
    }

    #[test]
    fn a_single_value_is_both_limits() {
        check("nofile=1024", Some(("nofile", 1024, 1024)));
        check("nofile=1024:4096", Some(("nofile", 1024, 4096)));
        check("core=-1", Some(("core", u64::MAX, u64::MAX)));
    }

    #[test]
    fn unknown_types_and_inverted_limits_are_refused() {
        for text in ["", "nofile", "files=1", "nofile=x", "nofile=2:1", "nofile=-1:5", "nofile=1:2:3"] {
            check(text, None);
        }
    }
}
