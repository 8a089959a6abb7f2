//! `WWW-Authenticate`: what a server wants to see.
//!
//! Spec: RFC 9110 section 11.6.1; Docker's token.md for the parameters of `Bearer`.
//! Law: never fails. What cannot be understood is left out; the caller then finds no scheme it knows.

use std::collections::BTreeMap;

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case: `basic`, `bearer`.
    pub(crate) scheme: String,
    /// Names in lower case.
    pub(crate) params: BTreeMap<String, String>,
}

impl Challenge {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }
}

/// All challenges of one header value; several may stand in one, divided by the same comma as their parameters.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut rest = Cursor(header);
    let mut challenges: Vec<Challenge> = Vec::new();
    while let Some(word) = rest.word() {
        match (rest.value(), challenges.last_mut()) {
            (None, _) => challenges.push(Challenge { scheme: word, params: BTreeMap::new() }),
            (Some(value), Some(challenge)) => {
                challenge.params.entry(word).or_insert(value);
            }
            (Some(_), None) => {}
        }
    }
    challenges
}

struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    /// The next token in lower case; whatever stands before it is skipped.
    fn word(&mut self) -> Option<String> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
        self.0 = &self.0[self.0.find(token)?..];
        let end = self.0.find(|c| !token(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(word.to_ascii_lowercase())
    }

    /// `= value` or `= "value"`, where the word is followed by it.
    fn value(&mut self) -> Option<String> {
        let rest = self.0.trim_start_matches([' ', '\t']).strip_prefix('=')?.trim_start_matches([' ', '\t']);
        match rest.strip_prefix('"') {
            Some(quoted) => {
                let (value, rest) = unquote(quoted);
                self.0 = rest;
                Some(value)
            }
            None => {
                let end = rest.find([',', ' ', '\t']).unwrap_or(rest.len());
                let (value, rest) = rest.split_at(end);
                self.0 = rest;
                Some(value.to_owned())
            }
        }
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(header: &str, expect: &[(&str, &[(&str, &str)])]) {
        let found = parse(header);
        let found: Vec<(&str, Vec<(&str, &str)>)> = found
            .iter()
            .map(|c| (c.scheme.as_str(), c.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()))
            .collect();
        let expect: Vec<_> = expect.iter().map(|(scheme, params)| (*scheme, params.to_vec())).collect();
        assert_eq!(found, expect, "{header:?}");
    }

    #[test]
    fn docker_hub_asks_for_a_token() {
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            &[(
                "bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("scope", "repository:a/b:pull,push"),
                    ("service", "registry.docker.io"),
                ],
            )],
        );
    }

    #[test]
    fn two_challenges_may_share_a_header() {
        check(
            r#"Basic realm="a, b", Bearer realm=x"#,
            &[("basic", &[("realm", "a, b")]), ("bearer", &[("realm", "x")])],
        );
    }

    #[test]
    fn letter_case_spaces_and_escapes_do_not_matter() {
        check(r#"BASIC Realm = "a \"b\"""#, &[("basic", &[("realm", r#"a "b""#)])]);
        check("Basic", &[("basic", &[])]);
    }

    #[test]
    fn rubbish_is_no_challenge() {
        check("", &[]);
        check("=,\"", &[]);
        check("realm=\"x\"", &[]);
    }

    proptest! {
        #[test]
        fn any_header_parses_in_bounded_space(header in "\\PC{0,200}") {
            let size: usize = parse(&header).iter().map(|c| c.scheme.len() + c.params.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>()).sum();
            prop_assert!(size <= header.len() * 2);
        }

        #[test]
        fn a_written_challenge_reads_back(realm in "[ -~]{0,40}", service in "[a-z.]{1,20}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let found = parse(&format!("Bearer realm=\"{quoted}\",service={service}"));
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].param("realm"), Some(realm.as_str()));
            prop_assert_eq!(found[0].param("service"), Some(service.as_str()));
        }
    }
}
