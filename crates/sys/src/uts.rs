//! `sethostname(2)`, `setdomainname(2)`, `uname(2)`.

pub use rustix::system::{setdomainname as set_domain_name, sethostname as set_host_name};

/// Major and minor of the kernel's version.
pub fn kernel_version() -> (u32, u32) {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
