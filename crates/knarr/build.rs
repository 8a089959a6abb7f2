//! How the program is linked.
//!
//! * It begins at `knarr_start` (knarr-sys, entry.rs), which protects a runtime's binary before libc's own start.
//! * The release binary has no unwinding tables: with `panic = "abort"` nothing unwinds, but the target's default is to carry them,
//!   a tenth of the binary. Tests need them, so this is no flag for all profiles; `z` is the optimisation of `release` alone.
//! * The release binary has the functions that a container's start runs in one piece (`order.ld`, written by `cargo xtask order`).
#![forbid(unsafe_code)]

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=unwind.ld");
    println!("cargo::rerun-if-changed=order.ld");
    let is = |name, value| env::var(name).is_ok_and(|is| is == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,-e,knarr_start");
    }
    if is("OPT_LEVEL", "z") {
        let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/unwind.ld,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/order.ld");
    }
}
