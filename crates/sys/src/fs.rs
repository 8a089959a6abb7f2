//! The `*at(2)` family and `fstatfs(2)`, safe as rustix has them.

pub use rustix::fs::SeekFrom;
pub use rustix::fs::{
    AtFlags, CWD, Dev, Dir, FileType, Gid, MemfdFlags, Mode, OFlags, Stat, Uid, chmodat, chownat, fchmod, fchown,
    fstat, fstatfs, fstatvfs, linkat, major, makedev, memfd_create, minor, mkdirat, mknodat, openat, readlinkat,
    readlinkat_raw, seek, sendfile, statat, symlinkat, unlinkat,
};
pub use rustix::termios::isatty as is_terminal;

/// `PROC_SUPER_MAGIC`, as `fstatfs` answers on procfs.
pub const PROC_MAGIC: u64 = 0x9fa0;
/// `DEVPTS_SUPER_MAGIC`.
pub const DEVPTS_MAGIC: u64 = 0x1cd1;

/// `faccessat2(path, X_OK, AT_EACCESS)`: whether we, with the ids and capabilities in effect, may execute it. Kernels before 5.8
/// answer for the real ids, without capabilities.
pub fn may_execute(path: &std::ffi::CStr) -> Result<(), crate::Errno> {
    use crate::error::check;
    const AT_EACCESS: i32 = 0x200;
    // SAFETY: a C string and integers.
    match check(unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, AT_EACCESS) }) {
        Err(crate::Errno::NOSYS | crate::Errno::PERM) => rustix::fs::access(path, rustix::fs::Access::EXEC_OK),
        other => other.map(drop),
    }
}

/// A file without a name in directory `dir`, open for reading and writing (`O_TMPFILE`).
pub fn unnamed_file(dir: &std::path::Path) -> crate::Result<std::os::fd::OwnedFd> {
    use crate::error::Call;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::from_raw_mode(0o600)).call(|| format!("open({dir:?}, O_TMPFILE|O_RDWR)"))
}

/// Gives a file of [`unnamed_file`] the name `path`, which must be free.
pub fn name_file(file: impl std::os::fd::AsFd, path: &std::path::Path) -> crate::Result<()> {
    use crate::error::{Call, Fd};
    use std::os::fd::AsRawFd;
    let source = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    rustix::fs::linkat(CWD, source, CWD, path, AtFlags::SYMLINK_FOLLOW)
        .call(|| format!("linkat({}, {path:?}, AT_SYMLINK_FOLLOW)", Fd(file.as_fd())))
}

/// Gives an open file another name in `dir`, whatever its first one is by now.
pub fn link_open_file(
    file: impl std::os::fd::AsFd,
    dir: impl std::os::fd::AsFd,
    name: &std::ffi::CStr,
) -> crate::Result<()> {
    use crate::error::{Call, Fd};
    use std::os::fd::AsRawFd;
    let source = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    rustix::fs::linkat(CWD, source, &dir, name, AtFlags::SYMLINK_FOLLOW)
        .call(|| format!("linkat({}, {}, {name:?}, AT_SYMLINK_FOLLOW)", Fd(file.as_fd()), Fd(dir.as_fd())))
}
