//! Signal names and numbers.

use super::ParseError;

/// Linux's signals by number, on every architecture but MIPS, SPARC, Alpha and PA-RISC, which we do not build for.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The first and last real-time signal as glibc shows them to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The names of the signals that have one, without `SIG`.
pub fn signal_names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter()
}

/// A number, a name with or without `SIG`, or `RTMIN+n`, `RTMAX-n`.
pub fn parse_signal(option: &'static str, text: &str) -> Result<i32, ParseError> {
    let wrong = || ParseError::new(option, text, "no such signal");
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) { Ok(number) } else { Err(wrong()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = by_name(name) {
        return Ok(number);
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest, '+').map(|n| RTMIN + n),
        (_, Some(rest)) => offset(rest, '-').map(|n| RTMAX - n),
        _ => None,
    };
    number.filter(|number| (RTMIN..=RTMAX).contains(number)).ok_or_else(wrong)
}

fn by_name(name: &str) -> Option<i32> {
    let known = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    NAMES.iter().position(|candidate| *candidate == known).map(|index| index as i32 + 1)
}

/// `SIGTERM` for 15; real-time signals count from `SIGRTMIN`.
pub fn signal_name(number: i32) -> String {
    match usize::try_from(number - 1).ok().and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None if number == RTMIN => "SIGRTMIN".to_owned(),
        None => format!("SIGRTMIN+{}", number - RTMIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<i32>) {
        assert_eq!(parse_signal("signal", text).ok(), expect, "{text:?}");
    }

    #[test]
    fn names_with_and_without_prefix_and_numbers() {
        check("SIGTERM", Some(15));
        check("term", Some(15));
        check("9", Some(9));
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-14", Some(50));
        check("rtmin", Some(34));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "0", "65", "-1", "SIG", "TERMINATE", "RTMIN+40", "RTMAX+1"] {
            check(text, None);
        }
    }

    #[test]
    fn a_name_reads_back_to_its_number() {
        for number in (1..=31).chain(34..=64) {
            check(&signal_name(number), Some(number));
        }
    }
}
