//! Environment lists: `NAME=value` sets, `NAME` alone removes.

use super::ParseError;

/// `base` with `changes` applied in order; a changed name keeps its place, new names go to the end.
pub fn apply_env(base: &[String], changes: &[String]) -> Vec<String> {
    let mut list: Vec<String> = base.to_vec();
    for change in changes {
        let name = change.split('=').next().unwrap_or_default();
        let same = |entry: &String| entry.split('=').next() == Some(name);
        match (change.contains('='), list.iter().position(same)) {
            (true, Some(place)) => list[place].clone_from(change),
            (true, None) => list.push(change.clone()),
            (false, _) => list.retain(|entry| !same(entry)),
        }
    }
    list
}

/// The lines of an `--env-file`: comments and blank lines skipped, no quoting, `NAME` alone as it stands.
pub fn env_file(text: &str) -> Result<Vec<String>, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(check_line).collect()
}

fn check_line(line: &str) -> Result<String, ParseError> {
    let name = line.split('=').next().unwrap_or_default();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(ParseError::new("env-file", line, "expected NAME=value; a name has no spaces"));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &[&str], changes: &[&str], expect: &[&str]) {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(apply_env(&own(base), &own(changes)), own(expect));
    }

    #[test]
    fn a_new_value_keeps_the_place_of_the_old_one() {
        check(&["A=1", "B=2"], &["A=3", "C=4"], &["A=3", "B=2", "C=4"]);
    }

    #[test]
    fn a_bare_name_removes() {
        check(&["A=1", "B=2"], &["A", "Z"], &["B=2"]);
    }

    #[test]
    fn values_may_hold_equals_signs_and_nothing() {
        check(&[], &["A==x", "B="], &["A==x", "B="]);
    }

    #[test]
    fn a_file_has_comments_and_no_quoting() {
        let text = "# c\n\nA=1\n  B=\"x y\" \nC\n";
        assert_eq!(env_file(text).unwrap(), ["A=1", "B=\"x y\" ", "C"]);
        assert!(env_file("A B=1").is_err() && env_file("=1").is_err());
    }
}
