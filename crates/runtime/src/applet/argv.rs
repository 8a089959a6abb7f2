//! Flags as Go's and GNU's programs take them: `--name value`, `--name=value`, `-name value`, `-n value`, `-nvalue`, `-abc`.
//!
//! Law: pure. Flags are a table; what a command means is not known here.

use super::failure::Failure;

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// The one-letter form.
    pub short: Option<char>,
    /// What its value is called, where one follows.
    pub value: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

/// A flag that is there or not.
pub(crate) const fn switch(name: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag { name, short, value: None, help }
}

/// A flag with a value.
pub(crate) const fn value(name: &'static str, short: Option<char>, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short, value: Some(value), help }
}

/// What was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    flags: Vec<(&'static str, String)>,
    /// What is no flag.
    pub words: Vec<String>,
}

impl Given {
    /// Whether a switch is on.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.flags.iter().rev().find(|(given, _)| *given == name).is_some_and(|(_, value)| value != "false")
    }

    /// The last value.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// All values, in order.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// A value that is a number.
    pub(crate) fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<Option<N>, Failure> {
        let parse =
            |text: &str| text.parse().map_err(|_| Failure::Value { flag: name, value: text.into(), wants: "a number" });
        self.value(name).map(parse).transpose()
    }
}

/// Reads flags and words; after `words_max` words all is words, as for the command of `exec`.
pub(crate) fn parse(flags: &[Flag], args: &[String], words_max: usize) -> Result<Given, Failure> {
    let mut given = Given::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if given.words.len() >= words_max || arg == "-" || !arg.starts_with('-') {
            given.words.push(arg.clone());
        } else if arg == "--" {
            given.words.extend(args.cloned());
            break;
        } else if let Some((flag, value)) = long(flags, arg) {
            let mut next = || args.next().cloned();
            let value = match (flag.value.is_some(), value) {
                (_, Some(value)) => value.to_owned(),
                (true, None) => next().ok_or_else(|| Failure::NoValue(arg.clone()))?,
                (false, None) => "true".into(),
            };
            given.flags.push((flag.name, value));
        } else {
            letters(flags, arg, &mut given, || args.next().cloned())?;
        }
    }
    Ok(given)
}

/// `--name`, `-name` and both with `=value`; a single letter is not a long name.
fn long<'f, 'a>(flags: &'f [Flag], arg: &'a str) -> Option<(&'f Flag, Option<&'a str>)> {
    let body = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    flags.iter().find(|flag| flag.name == name).map(|flag| (flag, value))
}

/// `-d`, `-dt`, `-u 0`, `-u0`, `-u=0`.
fn letters(flags: &[Flag], arg: &str, given: &mut Given, next: impl FnOnce() -> Option<String>) -> Result<(), Failure> {
    let unknown = || Failure::Flag(arg.to_owned());
    let mut rest = arg.strip_prefix('-').filter(|rest| !rest.starts_with('-')).ok_or_else(unknown)?;
    while let Some(letter) = rest.chars().next() {
        let flag = flags.iter().find(|flag| flag.short == Some(letter)).ok_or_else(unknown)?;
        rest = &rest[letter.len_utf8()..];
        if flag.value.is_some() {
            let inside = rest.strip_prefix('=').unwrap_or(rest);
            let value =
                if inside.is_empty() { next().ok_or_else(|| Failure::NoValue(arg.to_owned()))? } else { inside.into() };
            given.flags.push((flag.name, value));
            return Ok(());
        }
        given.flags.push((flag.name, "true".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        switch("detach", Some('d'), ""),
        switch("tty", Some('t'), ""),
        value("bundle", Some('b'), "DIR", ""),
        value("env", Some('e'), "WORD", ""),
    ];

    fn told(args: &str, words_max: usize) -> String {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        match parse(FLAGS, &args, words_max) {
            Ok(given) => {
                let flags: Vec<String> = given.flags.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} | {}", flags.join(" "), given.words.join(" "))
            }
            Err(failure) => failure.text(),
        }
    }

    fn check(args: &str, expect: &str) {
        assert_eq!(told(args, usize::MAX), expect, "{args}");
    }

    #[test]
    fn every_form_of_a_value() {
        for args in ["--bundle x id", "--bundle=x id", "-bundle x id", "-bundle=x id", "-b x id", "-bx id", "-b=x id"] {
            check(args, "bundle=x | id");
        }
    }

    #[test]
    fn flags_and_words_mix() {
        check("id --detach -b x", "detach=true bundle=x | id");
    }

    #[test]
    fn letters_can_be_joined() {
        check("-dt id", "detach=true tty=true | id");
        check("-dte A=1 id", "detach=true tty=true env=A=1 | id");
    }

    #[test]
    fn a_switch_can_be_turned_off() {
        check("--detach=false", "detach=false | ");
        assert!(!parse(FLAGS, &["--detach=false".into()], 9).unwrap().has("detach"));
    }

    #[test]
    fn two_dashes_end_the_flags() {
        check("-d -- --tty", "detach=true | --tty");
    }

    #[test]
    fn the_command_of_exec_keeps_its_own_flags() {
        assert_eq!(told("-d id ls -l --tty", 1), "detach=true | id ls -l --tty");
    }

    #[test]
    fn what_is_unknown_is_named() {
        check("--frob id", "flag provided but not defined: --frob");
        check("-dx", "flag provided but not defined: -dx");
        check("--bundle", "flag needs an argument: --bundle");
    }
}
