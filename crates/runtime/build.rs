//! The driver of the tests begins where the product does (knarr-sys, entry.rs).
#![forbid(unsafe_code)]

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |name, value| env::var(name).is_ok_and(|is| is == value);
    if target("CARGO_CFG_TARGET_OS", "linux") && target("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo:rustc-link-arg-bin=runtime-driver=-Wl,-e,knarr_start");
    }
}
