//! `cargo xtask fuzz TARGET [SECONDS]`: builds a target of `fuzz/` with libFuzzer on the stable toolchain, and runs it on its corpus.
//!
//! cargo-fuzz wants the nightly compiler for flags that LLVM also takes by itself.

use std::process::Command;

use crate::{Outcome, shell, workspace};

/// Coverage of edges, and of what is compared with what.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// What one input may take: these are parsers, a second is for ever.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=128"];

/// Runs until it is stopped, something is found, or the time is over.
pub fn run(target: &str, seconds: Option<&str>) -> Outcome {
    let top = workspace::top().join("fuzz");
    if !top.join(format!("targets/{target}.rs")).exists() {
        return Err(format!("no such target: {target}; see fuzz/README.md").into());
    }
    let mut cargo = shell::cargo();
    cargo.args(["build", "--release", "--bin", target, "--manifest-path"]).arg(top.join("Cargo.toml"));
    shell::run(cargo.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", top.join("target")))?;
    let program =
        std::fs::read_dir(top.join("target"))?.flatten().map(|entry| entry.path().join("release").join(target));
    let program = program.filter(|path| path.is_file()).last().unwrap_or(top.join("target/release").join(target));
    let mut fuzzer = Command::new(program);
    fuzzer.args(LIMITS).args(seconds.map(|seconds| format!("-max_total_time={seconds}")));
    shell::run(fuzzer.arg(top.join("corpus").join(target)))
}
