//! Text into HTML.
//!
//! Law: everything that came from outside passes [`Text`] or [`Path`] on its way into a page. Characters that change the
//! direction or the look of what stands around them are shown as U+FFFD.

use std::fmt::{self, Display, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Text as content or as an attribute in quotes.
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                '\n' | '\t' => f.write_char(c),
                c if c.is_control() || is_deceptive(c) => f.write_char('\u{fffd}'),
                c => f.write_char(c),
            }?;
        }
        Ok(())
    }
}

/// Overrides of direction, and characters without width.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{061c}')
}

/// A part of an address; slashes stay.
pub struct Path<'a>(pub &'a str);

const IN_PATHS: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b':').remove(b'@');

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        utf8_percent_encode(self.0, IN_PATHS).fmt(f)
    }
}

/// Bytes as people read them.
pub struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["kB", "MB", "GB", "TB"];
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1000.0;
        let mut unit = 0;
        while value >= 999.95 && unit + 1 < units.len() {
            value /= 1000.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", units[unit])
    }
}

/// A digest cut to what tells it from others at a glance.
pub fn short(digest: &str) -> &str {
    let end = digest.find(':').map_or(12, |colon| colon + 13).min(digest.len());
    if digest.is_char_boundary(end) { &digest[..end] } else { digest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_leaves_the_place_it_is_put_in() {
        let hostile = "</td><script>alert('x')</script>\" onload=\"&\u{202e}\0";
        let text = Text(hostile).to_string();
        assert_eq!(
            text,
            "&lt;/td&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;&amp;\u{fffd}\u{fffd}"
        );
        assert_eq!(Path("a/b:c@d\"><?#%").to_string(), "a/b:c@d%22%3E%3C%3F%23%25");
    }

    #[test]
    fn sizes_are_rounded_to_what_is_read() {
        for (bytes, expect) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_950, "1.0 MB"),
            (3_402_542, "3.4 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(Size(bytes).to_string(), expect);
        }
    }

    #[test]
    fn a_digest_is_cut_behind_its_algorithm() {
        assert_eq!(short("sha256:e3b0c44298fc1c149afb"), "sha256:e3b0c44298fc");
        assert_eq!(short("x"), "x");
    }

    proptest! {
        #[test]
        fn no_text_brings_a_tag_or_an_end_of_quotes(text in "\\PC*|.*") {
            let out = Text(&text).to_string();
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
            let _ = short(&text);
        }
    }
}
