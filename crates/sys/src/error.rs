//! A failed system call, told the way strace tells it.
//!
//! `openat2(3</srv/root>, "etc/passwd", RESOLVE_IN_ROOT) = ENOENT (No such file or directory)`
//!
//! Law: the call is put into words only after it failed; a success costs nothing.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

pub use rustix::io::Errno;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

/// A system call that failed: the call with its arguments, and the kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The call as strace would print it, up to the closing parenthesis.
    pub call: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl Error {
    /// An error of `call`, the text up to the closing parenthesis.
    pub fn new(call: impl Into<String>, errno: Errno) -> Error {
        Error { call: call.into(), errno }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.call, Reason(self.errno))
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        let kind = std::io::Error::from_raw_os_error(error.errno.raw_os_error()).kind();
        std::io::Error::new(kind, error)
    }
}

/// Puts a failed call into words: `rustix::fs::fchmod(fd, mode).call(|| format!("fchmod({}, {mode:?})", Fd(&fd)))`.
pub trait Call<T> {
    /// The same result, with the call beside the error number.
    fn call<S: Into<String>>(self, words: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Call<T> for std::result::Result<T, Errno> {
    fn call<S: Into<String>>(self, words: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|errno| Error::new(words(), errno))
    }
}

/// The answer of a raw `syscall(2)`, whose failure stands in `errno`.
pub(crate) fn check(answer: libc::c_long) -> std::result::Result<libc::c_long, Errno> {
    if answer == -1 {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(answer)
    }
}

/// Prints a descriptor as strace -y does: `3</srv/root>`.
pub struct Fd<F>(pub F);

impl<F: AsFd> fmt::Display for Fd<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = self.0.as_fd().as_raw_fd();
        match std::fs::read_link(format!("/proc/self/fd/{raw}")) {
            Ok(path) => write!(f, "{raw}<{}>", path.display()),
            Err(_) => write!(f, "{raw}"),
        }
    }
}

/// Prints an error number as `ENOENT (No such file or directory)`.
pub struct Reason(pub Errno);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.raw_os_error();
        let text = std::io::Error::from_raw_os_error(number).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        match errno_name(number) {
            Some(name) => write!(f, "{name} ({text})"),
            None => write!(f, "errno {number} ({text})"),
        }
    }
}

macro_rules! errno_names {
    ($($name:ident)*) => {
        /// The name of an error number in `errno(3)`.
        pub fn errno_name(number: i32) -> Option<&'static str> {
            Some(match number {
                $(libc::$name => stringify!($name),)*
                _ => return None,
            })
        }
    };
}

errno_names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV
    ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK
    ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA ETIME EOVERFLOW EILSEQ EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE
    EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL
    ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETIMEDOUT ECONNREFUSED
    EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED
    EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON EPROTO EBADMSG ENOTUNIQ EREMCHG ENOLINK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_prints_like_strace() {
        let error = Error::new("openat2(3</x>, \"etc/passwd\", RESOLVE_IN_ROOT)", Errno::NOENT);
        assert_eq!(
            error.to_string(),
            "openat2(3</x>, \"etc/passwd\", RESOLVE_IN_ROOT) = ENOENT (No such file or directory)"
        );
    }

    #[test]
    fn a_descriptor_prints_with_its_path() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let text = Fd(&null).to_string();
        assert!(text.ends_with("</dev/null>"), "{text}");
    }

    #[test]
    fn a_number_without_a_name_still_prints() {
        assert!(Reason(Errno::from_raw_os_error(4000)).to_string().starts_with("errno 4000 ("));
    }
}
