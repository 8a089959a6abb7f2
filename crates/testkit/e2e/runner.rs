//! Runs the tests, each in a child process, a few at a time, and looks after each for what it left behind.

use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use knarr_testkit::lab::Skip;
use knarr_testkit::process::Guarded;
use knarr_testkit::{Lab, leftovers, wait};

use crate::cases::{self, Case};

/// Exit code of a test that could not run here; its last line of output says why.
const SKIPPED: u8 = 77;

/// A test may take several waits of a test's patience.
const TEST_PATIENCE_FACTOR: u32 = 6;

/// How one test went.
enum Verdict {
    Ok,
    Skipped(String),
    Failed(String),
}

/// Runs every test whose name contains one of `filter`'s words, or all.
pub fn run(kit: &Path, filter: &[&str]) -> ExitCode {
    let wanted = |case: &&Case| filter.is_empty() || filter.iter().any(|word| case.name.contains(word));
    let chosen: Vec<Case> = cases::all().iter().filter(wanted).copied().collect();
    let base = tempfile::Builder::new().prefix("knarr-lab-").tempdir().expect("a temporary directory");
    let (next, failed, out) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(std::io::stdout()));
    std::thread::scope(|scope| {
        for _ in 0..jobs() {
            scope.spawn(|| {
                while let Some(case) = chosen.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let verdict = supervise(kit, &base.path().join(short(case.name)), case.name);
                    failed.fetch_add(usize::from(matches!(verdict, Verdict::Failed(_))), Ordering::SeqCst);
                    let mut out = out.lock().expect("no thread panics while printing");
                    let _ = out.write_all(line(case.name, &verdict).as_bytes()).and_then(|()| out.flush());
                }
            });
        }
    });
    println!("done");
    if failed.into_inner() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The child's side: runs one test and tells by exit code how it went.
pub fn one(kit: &Path, directory: &Path, name: &str) -> ExitCode {
    let case = cases::all().iter().find(|case| case.name == name).copied().expect("a name from the list");
    let lab = Lab::new(kit, directory).expect("a laboratory");
    match catch_unwind(AssertUnwindSafe(|| (case.run)(&lab))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(payload) => match payload.downcast::<Skip>() {
            Ok(skip) => {
                println!("{}", skip.0);
                ExitCode::from(SKIPPED)
            }
            Err(_) => ExitCode::FAILURE,
        },
    }
}

fn supervise(kit: &Path, directory: &Path, name: &str) -> Verdict {
    let started = Instant::now();
    fs::create_dir_all(directory).expect("a directory in our own");
    let log = directory.join("output");
    let verdict = child(kit, directory, name, &log);
    let left = leftovers::after_grace(directory);
    leftovers::sweep(directory);
    match verdict {
        Verdict::Failed(why) => Verdict::Failed(format!("{why}(after {:.1} s)\n", started.elapsed().as_secs_f32())),
        _ if !left.is_empty() => Verdict::Failed(format!("left behind: {}\n", left.join("; "))),
        verdict => verdict,
    }
}

fn child(kit: &Path, directory: &Path, name: &str, log: &PathBuf) -> Verdict {
    let output = File::create(log).expect("a file in our own directory");
    let mut command = Command::new(std::env::current_exe().expect("we run"));
    command.args(["one".as_ref(), kit.as_os_str(), directory.as_os_str(), name.as_ref()]);
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command.stdout(output.try_clone().expect("a descriptor")).stderr(output);
    let mut child = Guarded::spawn(&mut command).expect("ourselves");
    let end = Instant::now() + wait::patience() * TEST_PATIENCE_FACTOR;
    let status = loop {
        match child.try_wait().expect("our own child") {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    match status.map(|status| status.code()) {
        Some(Some(0)) => Verdict::Ok,
        Some(Some(code)) if code == i32::from(SKIPPED) => {
            Verdict::Skipped(text.lines().last().unwrap_or("no reason given").to_string())
        }
        Some(_) => Verdict::Failed(text),
        None => Verdict::Failed(format!("{text}it did not end\n")),
    }
}

fn line(name: &str, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ok => format!("ok {name}\n"),
        Verdict::Skipped(reason) => format!("skipped ({reason}) {name}\n"),
        Verdict::Failed(why) => {
            let details: String = why.lines().map(|line| format!("    {line}\n")).collect();
            format!("FAILED {name}\n{details}")
        }
    }
}

/// Socket paths end at 108 bytes: the directory of a test has a short name.
fn short(name: &str) -> String {
    let sum = name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("{sum:08x}")
}

fn jobs() -> usize {
    let asked = std::env::var("KNARR_E2E_JOBS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from))
}
