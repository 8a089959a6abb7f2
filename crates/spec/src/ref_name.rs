//! Names of images inside a layout: `org.opencontainers.image.ref.name`.
//!
//! Spec: image-spec annotations.md: `component ("/" component)*`, a component being letters and digits with single separators
//! of `-._:@+`, or `--`, between them.

/// Whether `text` is such a name.
pub fn is_ref_name(text: &str) -> bool {
    text.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let mut rest = component.as_bytes();
    loop {
        let letters = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        rest = match (&rest[..letters], &rest[letters..]) {
            ([], _) => return false,
            (_, []) => return true,
            (_, [b'-', b'-', more @ ..]) => more,
            (_, [b'-' | b'.' | b'_' | b':' | b'@' | b'+', more @ ..]) => more,
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expect: bool) {
        names.iter().for_each(|name| assert_eq!(is_ref_name(name), expect, "{name:?}"));
    }

    #[test]
    fn letters_digits_and_single_separators_are_names() {
        check(&["a", "latest", "42.03.19", "v1.3.1+dev", "A--2.C+9@e_3", "A/1--2.C+9@e_4/3", "etc/passwd/123"], true);
        check(&["Aa0-Bb1/Cc2-Dd3.Ee4Ff5/Gg6Hh7Ii8:Jj/9KkLl@Mm/NnOo+QqRrS/s--TtUu/Vv.WwXxYy_Z/z"], true);
    }

    #[test]
    fn everything_else_is_none() {
        check(
            &["", "/", "a/", "/a", "a//b", "a b", "dead+", "anot++her", "dead-.meme/cafe", "--2", ".A", "a---b", "ä"],
            false,
        );
    }
}
