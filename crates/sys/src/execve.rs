//! `execve(2)`.

use std::ffi::{CStr, CString, c_char};

use crate::error::{Errno, check};

/// Arguments or an environment in the form `execve` takes, made before a clone so that nothing is allocated after it.
#[derive(Debug)]
pub struct Strings {
    /// Each ends with its first NUL.
    texts: Vec<Vec<u8>>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// From C strings, in order.
    pub fn new(texts: Vec<CString>) -> Strings {
        let texts: Vec<Vec<u8>> = texts.into_iter().map(CString::into_bytes_with_nul).collect();
        let pointers = texts.iter().map(|text| text.as_ptr().cast()).chain([std::ptr::null()]).collect();
        Strings { texts, pointers }
    }

    /// Makes room for `bytes` in the place of one string, for [`Strings::overwrite`].
    pub fn reserve(&mut self, index: usize, bytes: usize) {
        if let Some(text) = self.texts.get_mut(index) {
            text.resize(text.len().max(bytes + 1), 0);
            self.pointers[index] = text.as_ptr().cast();
        }
    }

    /// Puts other bytes in the place of a string that has the room; nothing is allocated.
    pub fn overwrite(&mut self, index: usize, parts: [&[u8]; 2]) -> Result<(), Errno> {
        let text = self.texts.get_mut(index).ok_or(Errno::INVAL)?;
        let length = parts[0].len() + parts[1].len();
        if length >= text.len() {
            return Err(Errno::NAMETOOLONG);
        }
        text[..parts[0].len()].copy_from_slice(parts[0]);
        text[parts[0].len()..length].copy_from_slice(parts[1]);
        text[length] = 0;
        self.pointers[index] = text.as_ptr().cast();
        Ok(())
    }
}

/// Becomes another program; returns only to say why not.
pub fn execve(path: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    let (arguments, environment) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    // SAFETY: both arrays end with null and point into strings their `Strings` own, each of which holds a NUL.
    match check(unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), arguments, environment) }) {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}
