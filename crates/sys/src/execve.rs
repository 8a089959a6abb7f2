//! `execve(2)`.

use std::ffi::{CStr, CString, c_char};

use crate::error::{Errno, check};

/// Arguments or an environment in the form `execve` takes, made before a clone so that nothing is allocated after it.
#[derive(Debug)]
pub struct Strings {
    texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// From C strings, in order.
    pub fn new(texts: Vec<CString>) -> Strings {
        let pointers = texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Strings { texts, pointers }
    }

    /// The strings.
    pub fn texts(&self) -> &[CString] {
        &self.texts
    }
}

/// Becomes another program; returns only to say why not.
pub fn execve(path: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    let (arguments, environment) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    // SAFETY: both arrays end with null and point into strings their `Strings` own.
    match check(unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), arguments, environment) }) {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}
