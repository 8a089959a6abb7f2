//! Leaves the unwinding tables out of the release binary.
//!
//! With `panic = "abort"` nothing unwinds, but the target's default is to carry the tables: a tenth of the binary. Tests
//! need them, so this is no flag for all profiles; `z` is the optimisation of `release` alone.
#![forbid(unsafe_code)]

fn main() {
    println!("cargo::rerun-if-changed=unwind.ld");
    if std::env::var("OPT_LEVEL").as_deref() == Ok("z") {
        let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/unwind.ld,--no-eh-frame-hdr");
    }
}
