//! What the probe can do, by the word on its command line.
//!
//! Law: each action is one system-visible effect and says in one line what happened, so that a test can tell "denied"
//! from "did something else".

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use knarr_probe::{collect, hello};

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Exit code of an attempt that the system refused; the line on standard output says how.
const REFUSED: u8 = 13;

/// Runs the action named by the first word; without one, the page for people.
pub fn run(args: &[String]) -> Outcome {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => print(&hello(&collect(), false, 80)),
        ["--json"] => print(&(serde_json::to_string(&collect())? + "\n")),
        ["true"] => Ok(ExitCode::SUCCESS),
        ["exit", code] => Ok(ExitCode::from(code.parse::<u8>()?)),
        ["echo", words @ ..] => print(&(words.join(" ") + "\n")),
        ["echo-error", words @ ..] => {
            Ok(io::stderr().write_all((words.join(" ") + "\n").as_bytes()).map(|()| ExitCode::SUCCESS)?)
        }
        ["lines", count, bytes] => lines(count.parse()?, bytes.parse()?),
        ["env"] => env(),
        ["cat"] => Ok(io::copy(&mut io::stdin().lock(), &mut io::stdout().lock()).map(|_| ExitCode::SUCCESS)?),
        ["cat", path] => Ok(io::copy(&mut fs::File::open(path)?, &mut io::stdout().lock()).map(|_| ExitCode::SUCCESS)?),
        ["write", path, text] => Ok(fs::write(path, text).map(|()| ExitCode::SUCCESS)?),
        ["try-write", path] => attempt(fs::OpenOptions::new().append(true).create(true).open(path).map(drop)),
        ["try-read", path] => attempt(fs::File::open(path).and_then(|mut file| file.read(&mut [0; 1])).map(drop)),
        ["try-exec", program, args @ ..] => {
            attempt(Command::new(program).args(args).stdout(Stdio::null()).status().map(drop))
        }
        ["stat", path] => stat(path),
        ["list", path] => list(path),
        ["sleep"] => forever(),
        ["sleep", seconds] => Ok(doze(seconds.parse()?)),
        ["spin", seconds] => Ok(spin(Duration::from_secs_f64(seconds.parse()?))),
        ["mem", bytes] => memory(bytes.parse()?),
        ["fork-orphans", count, seconds] => orphans(count.parse()?, seconds),
        ["orphan", seconds] => {
            Ok(Command::new("/proc/self/exe").args(["sleep", seconds]).spawn().map(|_| ExitCode::SUCCESS)?)
        }
        ["processes", count] => processes(count.parse()?),
        _ => Err("no such action".into()),
    }
}

fn print(text: &str) -> Outcome {
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `count` numbered lines of `bytes` bytes each, newline included.
fn lines(count: usize, bytes: usize) -> Outcome {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for number in 0..count {
        let head = format!("{number} ");
        writeln!(out, "{head}{}", "x".repeat(bytes.saturating_sub(head.len() + 1)))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn env() -> Outcome {
    let variables = collect().env;
    print(&variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>())
}

fn attempt(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => print("allowed\n"),
        Err(error) => {
            print(&format!("refused: {error}\n"))?;
            Ok(ExitCode::from(REFUSED))
        }
    }
}

fn stat(path: &str) -> Outcome {
    let metadata = fs::symlink_metadata(path)?;
    let (kind, mode) = (metadata.file_type(), metadata.mode());
    let kind = match () {
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symlink",
        () if kind.is_char_device() => "character-device",
        () if kind.is_block_device() => "block-device",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "file",
    };
    let (uid, gid, size) = (metadata.uid(), metadata.gid(), metadata.size());
    print(&format!("{kind} {:04o} {uid}:{gid} {size}\n", mode & 0o7777))
}

fn list(path: &str) -> Outcome {
    let mut names: Vec<String> = fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
}

fn forever() -> Outcome {
    loop {
        std::thread::park();
    }
}

fn doze(seconds: f64) -> ExitCode {
    std::thread::sleep(Duration::from_secs_f64(seconds));
    ExitCode::SUCCESS
}

/// Burns processor time for `length` of wall time and prints how much it got, in milliseconds.
fn spin(length: Duration) -> ExitCode {
    let start = std::time::Instant::now();
    let mut value = 1u64;
    while start.elapsed() < length {
        for _ in 0..10_000 {
            value = std::hint::black_box(value.wrapping_mul(6364136223846793005).wrapping_add(1));
        }
    }
    println!("{}", processor_ms());
    ExitCode::SUCCESS
}

/// Fields 14 and 15 of proc_pid_stat(5) count ticks of 10 ms.
fn processor_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>() * 10
}

/// Touches every page of `bytes`, so that the memory is really there.
fn memory(bytes: usize) -> Outcome {
    let mut held = vec![0u8; bytes];
    held.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    print(&format!("held {} bytes\n", std::hint::black_box(&held).len()))
}

/// Leaves `count` processes whose parent is gone, and exits at once.
fn orphans(count: usize, seconds: &str) -> Outcome {
    for _ in 0..count {
        Command::new("/proc/self/exe").args(["orphan", seconds]).status()?;
    }
    print(&format!("left {count}\n"))
}

/// Starts up to `count` children and prints how many could be started; they end with it.
fn processes(count: usize) -> Outcome {
    let child = || Command::new("/proc/self/exe").args(["cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let children: Vec<_> = (0..count).map_while(|_| child().ok()).collect();
    print(&format!("{}\n", children.len()))?;
    for mut child in children {
        drop(child.stdin.take());
        child.wait()?;
    }
    Ok(ExitCode::SUCCESS)
}
