//! The program's `HOME` where the document has none: what the container's own `/etc/passwd` says of its user.
//!
//! Law: a convenience. A list of users that is missing, no file or not to be understood leaves `HOME` at `/`.
//! Not here: names; the document has numbers.

use knarr_sys::execve::Strings;
use knarr_sys::fs::{self, FileType, Mode, OFlags};
use knarr_sys::io;

use super::prepare::Prepared;
use crate::Plan;

/// The longest line that is understood; longer ones are of nobody. glibc's own functions begin with a buffer of 1 KiB.
const LINE_BYTES_MAX: usize = 4096;
/// The variable.
const NAME: &[u8] = b"HOME=";

/// The environment, with room for what may be found.
pub(crate) fn room(plan: &Plan) -> Strings {
    let mut strings = Strings::new(plan.program.environment.clone());
    if let Some(variable) = plan.program.home {
        strings.reserve(variable, NAME.len() + LINE_BYTES_MAX);
    }
    strings
}

/// Sets it in place.
pub(crate) fn set(prepared: &mut Prepared, uid: u32, variable: usize) {
    // A pipe of that name must not stop us.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = fs::openat(fs::CWD, c"/etc/passwd", flags, Mode::empty()) else { return };
    if !fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
        return;
    }
    let mut buffer = [0; LINE_BYTES_MAX];
    let mut filled = 0;
    loop {
        let count = io::read(&file, &mut buffer[filled..]).unwrap_or(0);
        let (text, last) = (&buffer[..filled + count], count == 0);
        let (found, rest) = look(text, uid, last);
        if let Some(home) = found {
            // What does not fit was not read.
            let _ = prepared.environment.overwrite(variable, [NAME, home]);
            return;
        }
        if last {
            return;
        }
        let from = text.len() - rest;
        filled = if rest == buffer.len() { 0 } else { rest };
        buffer.copy_within(from..from + filled, 0);
    }
}

/// The home in the first line about this user, and the length of the line that is not yet complete.
fn look(text: &[u8], uid: u32, complete: bool) -> (Option<&[u8]>, usize) {
    let end = if complete { text.len() } else { text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
    (text[..end].split(|byte| *byte == b'\n').find_map(|line| home(line, uid)), text.len() - end)
}

/// `name:password:uid:gid:comment:home:shell`.
fn home(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|byte| *byte == b':');
    let number = std::str::from_utf8(fields.nth(2)?).ok()?;
    let home = fields.nth(2)?;
    (number.parse() == Ok(uid) && !home.is_empty()).then_some(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, uid: u32, expect: Option<&str>) {
        assert_eq!(home(line.as_bytes(), uid), expect.map(str::as_bytes), "{line:?}");
    }

    #[test]
    fn the_home_is_the_sixth_field_of_the_users_line() {
        check("root:x:0:0:root:/root:/bin/sh", 0, Some("/root"));
        check("root:x:0:0:root:/root:/bin/sh", 1, None);
        check("u:x:7:7::/home/u", 7, Some("/home/u"));
    }

    #[test]
    fn what_is_no_line_of_a_user_is_passed_over() {
        check("", 0, None);
        check("# a note", 0, None);
        check("root:x:0", 0, None);
        check("root:x:zero:0::/root:", 0, None);
        check("root:x:0:0:::/bin/sh", 0, None);
    }

    #[test]
    fn a_line_is_read_when_it_is_complete() {
        let text = b"a:x:1:1::/a:\nb:x:2:2::/b";
        assert_eq!(look(text, 1, false).0, Some(&b"/a"[..]));
        assert_eq!(look(text, 2, false), (None, b"b:x:2:2::/b".len()));
        assert_eq!(look(text, 2, true).0, Some(&b"/b"[..]));
    }
}
