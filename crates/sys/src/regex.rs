//! `regcomp(3)` and `regexec(3)`: POSIX extended regular expressions.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use crate::error::{Errno, Error, Result};

/// A compiled expression.
pub struct Regex(Box<libc::regex_t>);

impl Regex {
    /// Compiles an extended expression; EINVAL for one that is none, with the library's words.
    pub fn extended(pattern: &CStr) -> Result<Regex> {
        let mut compiled = Box::new(MaybeUninit::<libc::regex_t>::uninit());
        // SAFETY: the pattern is a C string, and the library fills what the pointer leads to.
        let code =
            unsafe { libc::regcomp(compiled.as_mut_ptr(), pattern.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB) };
        if code == 0 {
            // SAFETY: after 0 it is filled.
            return Ok(Regex(unsafe { compiled.assume_init() }));
        }
        let mut words = [0u8; WORDS_BYTES];
        // SAFETY: regerror looks at `compiled` for nothing but its address, and writes a C string of at most the length.
        unsafe { libc::regerror(code, compiled.as_ptr(), words.as_mut_ptr().cast(), words.len()) };
        let words = CStr::from_bytes_until_nul(&words).map(CStr::to_string_lossy).unwrap_or_default();
        Err(Error::new(format!("regcomp({pattern:?}: {words})"), Errno::INVAL))
    }

    /// Whether it is found anywhere in `text`.
    pub fn is_in(&self, text: &CStr) -> bool {
        // SAFETY: the expression is compiled, the text a C string, and no places of matches are asked for.
        unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

/// The library's sentences are short.
const WORDS_BYTES: usize = 128;

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: it was compiled and is freed once.
        unsafe { libc::regfree(&raw mut *self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_expressions_are_found_anywhere() {
        let regex = Regex::extended(c"^web-[0-9]+$|^db").unwrap();
        assert!(regex.is_in(c"web-17") && regex.is_in(c"db1"));
        assert!(!regex.is_in(c"web-x") && !regex.is_in(c"xdb"));
    }

    #[test]
    fn what_is_no_expression_is_told() {
        assert!(Regex::extended(c"(").err().unwrap().to_string().contains("Unmatched"));
    }
}
