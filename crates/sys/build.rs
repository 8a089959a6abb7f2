//! Whether the program may begin past libc's questions about the processor (entry.rs): where the libc it is linked with is the
//! one that was written for.
#![forbid(unsafe_code)]

use std::env;
use std::process::Command;

/// The version of glibc whose start entry.rs knows.
const KNOWN: &str = "glibc 2.36";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=/usr/lib/x86_64-linux-gnu/libc.a");
    println!("cargo::rustc-check-cfg=cfg(glibc_start)");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|is| is == value);
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let links_the_hosts = env::var("HOST").is_ok_and(|host| is("TARGET", &host))
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && features.split(',').any(|feature| feature == "crt-static");
    if links_the_hosts && version().is_some_and(|version| version == KNOWN) {
        println!("cargo::rustc-cfg=glibc_start");
    }
}

/// Of the machine's libc, as getconf(1) has it.
fn version() -> Option<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
