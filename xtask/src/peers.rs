//! Engines that are not ours run containers with our runtime: docker, containerd, buildah and podman, of the peers' tree.
//!
//! The peers stand in a tree of their own (`$KNARR_PEERS_TOOL`, else `../shared/tools/peers` if there is one); without it the chore
//! says so and counts them as skipped. Each engine keeps its data in a directory that is removed; nothing of the machine is touched.
//! Law: what an engine is asked is in `peers/engines.sh`, beside what it must answer.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::end_to_end;
use crate::tally::Tally;
use crate::watch::SILENCE_MAX;
use crate::{Outcome, cargo, shell, workspace};

/// podman knows pure cgroup v2 only; the others take what the machine has.
const VIEWS: [(&[&str], &[&str]); 2] = [(&[], &["docker", "containerd", "buildah"]), (&["--cgroup2"], &["podman"])];

const ENGINES: &str = include_str!("peers/engines.sh");

/// The program that runs a command inside the peers' tree.
pub fn tool() -> Option<PathBuf> {
    let asked = std::env::var_os("KNARR_PEERS_TOOL").map(PathBuf::from);
    let tool = asked.unwrap_or_else(|| workspace::top().join("../shared/tools/peers"));
    tool.exists().then_some(tool)
}

/// Every engine, and one closing line.
pub fn run(words: &[&str]) -> Outcome {
    let total = match tool().filter(|_| shell::is_root()) {
        Some(tool) => drive(&tool, words)?,
        None => Tally::missing("peers: all", "no tree of peers, or not root"),
    };
    println!("\n{total}");
    if total.failed.is_empty() { Ok(()) } else { std::process::exit(1) }
}

/// `words`: only these engines.
fn drive(tool: &std::path::Path, words: &[&str]) -> Outcome<Tally> {
    let directory = std::env::temp_dir().join(format!("knarr-peers-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let mut total = Tally::default();
    for program in cargo::programs(&[("knarr", "knarr")], cargo::FAST)? {
        // Called by this name it is the runtime.
        fs::copy(program, directory.join("runc"))?;
    }
    fs::write(directory.join("engines.sh"), ENGINES)?;
    for (view, engines) in VIEWS {
        let wanted: Vec<&str> =
            engines.iter().copied().filter(|engine| words.is_empty() || words.contains(engine)).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut command = Command::new("bash");
        command.arg(tool).arg("enter").args(view).args(["bash", "/here/engines.sh", "/here"]).args(wanted);
        let child = command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        total.add(end_to_end::tally(child, 1, SILENCE_MAX, |line| println!("{line}"))?);
    }
    fs::remove_dir_all(&directory)?;
    Ok(total)
}
