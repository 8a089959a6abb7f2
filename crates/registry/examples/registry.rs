//! The registry alone, without the rest of knarr: `cargo run -p knarr-registry --example registry -- serve`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    knarr_registry::applet(std::env::args_os().skip(1).collect())
}
