//! `--flag=true` and `--flag=false`, which Go's flags accept and scripts write.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// `words` with `--flag=true` as `--flag` and without `--flag=false`, up to the first word that is no option. Where that one begins a
/// program's words, `--` is put before it, for what follows is not ours to read.
pub(crate) fn rewrite(parser: &Command, words: &[OsString]) -> Vec<OsString> {
    let mut out = Vec::with_capacity(words.len());
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let Some(text) = word.to_str().filter(|text| text.len() > 1 && text.starts_with('-') && *text != "--") else {
            let programs = parser.get_positionals().any(Arg::is_trailing_var_arg_set);
            if programs && word != "--" {
                out.push("--".into());
            }
            out.push(word.clone());
            break;
        };
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let arg = find(parser, name);
        match (arg.map(takes_value), value.and_then(boolean)) {
            (Some(false), Some(true)) => out.push(name.into()),
            (Some(false), Some(false)) => {}
            (takes, _) => {
                out.push(word.clone());
                let value_follows = takes == Some(true) && value.is_none();
                if value_follows {
                    out.extend(rest.next().cloned());
                }
            }
        }
    }
    out.extend(rest.cloned());
    out
}

/// The option a word names; of a cluster of short ones the last, which alone may take a value from the next word.
fn find<'c>(parser: &'c Command, name: &str) -> Option<&'c Arg> {
    if let Some(long) = name.strip_prefix("--") {
        return parser.get_arguments().find(|arg| arg.get_long() == Some(long));
    }
    let short = |c: char| parser.get_arguments().find(|arg| arg.get_short() == Some(c));
    let mut letters = name.chars().skip(1).peekable();
    while let Some(letter) = letters.next() {
        match short(letter) {
            // `-e=x`, `-eX`: the value is in this word already.
            Some(arg) if takes_value(arg) && letters.peek().is_some() => return None,
            Some(arg) if letters.peek().is_none() => return Some(arg),
            Some(_) => {}
            None => return None,
        }
    }
    None
}

fn takes_value(arg: &Arg) -> bool {
    !matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count | ArgAction::Help)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expect: &[&str]) {
        let parser = Command::new("x")
            .arg(Arg::new("rm").long("rm").action(ArgAction::SetTrue))
            .arg(Arg::new("it").short('i').action(ArgAction::SetTrue))
            .arg(Arg::new("env").short('e').long("env").action(ArgAction::Append))
            .arg(Arg::new("words").num_args(1..).trailing_var_arg(true));
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(rewrite(&parser, &words), expect.iter().map(OsString::from).collect::<Vec<_>>());
    }

    #[test]
    fn true_is_the_flag_and_false_is_nothing() {
        check(&["--rm=true", "--rm=false", "x"], &["--rm", "--", "x"]);
    }

    #[test]
    fn words_behind_the_first_operand_are_the_programs() {
        check(&["img", "--rm=false"], &["--", "img", "--rm=false"]);
        check(&["--", "img", "--rm=false"], &["--", "img", "--rm=false"]);
    }

    #[test]
    fn values_of_options_are_no_operands() {
        check(&["-e", "A=1", "--rm=false", "img"], &["-e", "A=1", "--", "img"]);
        check(&["-ie", "A=1", "--rm=false", "img"], &["-ie", "A=1", "--", "img"]);
        check(&["-eA=1", "--env=x", "--rm=0", "img"], &["-eA=1", "--env=x", "--", "img"]);
    }
}
