//! `malloc_trim(3)`: giving freed memory back.

/// Returns the pages of freed memory to the kernel. For a process that begins busily and then waits for days.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes an integer; glibc locks its arenas itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
