//! The monitor applet as a program of its own, for this crate's tests: `monitor monitor DIRECTORY`.

use std::process::ExitCode;

fn main() -> ExitCode {
    knarr_monitor::applet(std::env::args_os().skip(2).collect())
}
