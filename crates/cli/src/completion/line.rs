//! A line of bash up to the cursor as words.
//!
//! Law: bash splits what it hands to a completion at COMP_WORDBREAKS as well (`alpine:3` is three words), and replaces only the last of
//! those pieces; so the words are read from the line itself, and what stands before that piece is reckoned.

/// The words behind the program's name, without quotes, the last one being typed; and how many bytes of that one bash keeps.
pub(super) fn words(line: &str, breaks: &str) -> (Vec<String>, usize) {
    let (mut words, mut quote, mut quoted) = (vec![String::new()], None, false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let word = words.last_mut().expect("there is always one");
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some('"'), '\\') if letters.peek().is_some_and(|next| "\"\\$`".contains(*next)) => {
                word.extend(letters.next())
            }
            (Some(_), _) => word.push(letter),
            (None, '\'' | '"') => (quote, quoted) = (Some(letter), true),
            (None, '\\') => word.extend(letters.next()),
            (None, ' ' | '\t') => {
                if !word.is_empty() || quoted {
                    words.push(String::new());
                }
                quoted = false;
            }
            (None, _) => word.push(letter),
        }
    }
    let assignments = words.iter().take_while(|word| is_assignment(word)).count();
    words.drain(..(assignments + 1).min(words.len()));
    let typed = words.last().map_or("", String::as_str);
    let kept = match quote {
        Some(_) => 0,
        None => typed.rfind(|letter: char| ":=@".contains(letter) && breaks.contains(letter)).map_or(0, |at| at + 1),
    };
    (words, kept)
}

/// `NAME=value` before a command.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: &[&str], kept: usize) {
        assert_eq!(
            words(line, " \t\n\"'@><=;|&(:"),
            (expect.iter().map(ToString::to_string).collect(), kept),
            "{line}"
        );
    }

    #[test]
    fn words_are_those_behind_the_program() {
        check("knarr rm we", &["rm", "we"], 0);
        check("knarr  rm   ", &["rm", ""], 0);
        check("A=1 knarr rm", &["rm"], 0);
        check("knarr", &[], 0);
    }

    #[test]
    fn quotes_and_backslashes_are_taken_off() {
        check(r#"knarr rm "we"#, &["rm", "we"], 0);
        check(r"knarr rm 'a b' c\ d", &["rm", "a b", "c d"], 0);
        check(r#"knarr ps --format "{{.ID}}\"x" "" "#, &["ps", "--format", "{{.ID}}\"x", "", ""], 0);
    }

    #[test]
    fn bash_keeps_what_stands_before_its_last_break() {
        check("knarr run alpine:3", &["run", "alpine:3"], 7);
        check("knarr run --pull=al", &["run", "--pull=al"], 7);
        check("knarr rmi \"alpine:3", &["rmi", "alpine:3"], 0);
    }
}
