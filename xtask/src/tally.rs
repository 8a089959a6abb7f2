//! Counting what the tests said.
//!
//! One closing line, `N passed, N failed, N skipped`; above it each failure and each reason for skipping with the number
//! of tests it concerns, so that a skip cannot hide.

use std::collections::BTreeMap;
use std::fmt;

/// Results of any number of tests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Tests that held.
    pub passed: usize,
    /// Names of those that did not.
    pub failed: Vec<String>,
    /// Name and reason of those that could not run here.
    pub skipped: Vec<(String, String)>,
}

impl Tally {
    /// One failure that is not a test's: a phase that could not be run at all.
    pub fn broken(phase: &str, why: impl fmt::Display) -> Tally {
        Tally { failed: vec![format!("{phase}: {why}")], ..Tally::default() }
    }

    /// A whole phase that cannot run here.
    pub fn missing(phase: &str, why: &str) -> Tally {
        Tally { skipped: vec![(phase.to_string(), why.to_string())], ..Tally::default() }
    }

    /// Adds another tally's results.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// The same results, each name preceded by the phase it ran in.
    pub fn under(mut self, phase: &str) -> Tally {
        self.failed.iter_mut().for_each(|name| *name = format!("{phase}: {name}"));
        self.skipped.iter_mut().for_each(|(name, _)| *name = format!("{phase}: {name}"));
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut reasons = BTreeMap::<&str, Vec<&str>>::new();
        for (name, reason) in &self.skipped {
            reasons.entry(reason).or_default().push(name);
        }
        for (reason, names) in reasons {
            let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
            writeln!(f, "skipped: {reason}: {}{more}", names[0])?;
        }
        for name in &self.failed {
            writeln!(f, "FAILED: {name}")?;
        }
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_counts() {
        let mut tally = Tally { passed: 3, ..Tally::default() };
        tally.add(Tally::missing("uml: all", "no linux.uml"));
        tally.add(Tally::broken("unit", "does not compile").under("x"));
        let text = tally.to_string();
        assert_eq!(text.lines().last(), Some("3 passed, 1 failed, 1 skipped"));
        assert!(text.contains("FAILED: x: unit: does not compile\n"));
    }

    #[test]
    fn one_reason_for_many_tests_is_one_line() {
        let skip = |name: &str| (name.to_string(), "not root".to_string());
        let tally = Tally { skipped: vec![skip("a"), skip("b"), skip("c")], ..Tally::default() };
        assert_eq!(tally.to_string(), "skipped: not root: a and 2 more\n0 passed, 0 failed, 3 skipped");
    }
}
