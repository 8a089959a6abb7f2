//! Names of containers and hosts.

use super::ParseError;

/// Linux: `__NEW_UTS_LEN`.
const HOSTNAME_BYTES_MAX: usize = 64;
/// Long enough for every generator, short enough for a socket path and a cgroup name.
const NAME_BYTES_MAX: usize = 128;

/// Docker's grammar: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub fn check_container_name(text: &str) -> Result<(), ParseError> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let fits = (2..=NAME_BYTES_MAX).contains(&text.len());
    if fits && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(rest) {
        return Ok(());
    }
    let why = format!("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to {NAME_BYTES_MAX} of them");
    Err(ParseError::new("name", text, why))
}

/// A host name of RFC 1123, underscores allowed as docker does.
pub fn check_hostname(text: &str) -> Result<(), ParseError> {
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() <= HOSTNAME_BYTES_MAX && text.split('.').all(label) {
        return Ok(());
    }
    let why = format!("expected labels of letters, digits and dashes, at most {HOSTNAME_BYTES_MAX} bytes together");
    Err(ParseError::new("hostname", text, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_grammar() {
        for good in ["web", "a1", "A_b.c-d"] {
            assert_eq!(check_container_name(good), Ok(()));
        }
        for bad in ["", "a", "-a", "_ab", "a/b", "a b", "ä1", "../x", "a\nb"] {
            assert!(check_container_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn host_names_have_labels() {
        for good in ["web", "a", "web.example", "a_b"] {
            assert_eq!(check_hostname(good), Ok(()));
        }
        for bad in ["", "-a", "a..b", "a/b", "a b"] {
            assert!(check_hostname(bad).is_err(), "{bad:?}");
        }
    }
}
