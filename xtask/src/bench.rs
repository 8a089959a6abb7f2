//! `cargo xtask bench`: our numbers beside podman's and docker's, and the runtime's beside crun's and runc's, taken in one run, command
//! by command in turn. `--only=podman`, `docker`, `runtime`, `docker-registry`, `images` or a part of it (`images/pull`): only that.
//!
//! The peers stand in a tree of their own (`$KNARR_PEERS_TOOL`, else `../shared/tools/peers` if there is one); without it
//! only our own figures are taken. Both tools of a pair run in the same namespaces on the same file system, in rounds
//! that alternate them; medians and their ratio count. Each run adds a line to `bench/history.jsonl`.

mod disk;
mod images;
pub mod inside;
mod registry;
mod runtime;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::end_to_end::Kit;
use crate::{Outcome, cargo, peers, shell, workspace};

/// What is promised of each figure: the share of the peer's that ours may be. SPECIFICATION.md has the reasons.
const PROMISES: [(&str, &str, f64); 7] = [
    ("run", "podman", 0.1),
    ("32 at once", "podman", 0.2),
    ("exec", "docker", 0.06),
    ("ps", "docker", 0.08),
    ("runtime run", "crun", 0.5),
    ("runtime exec", "crun", 0.5),
    ("runtime memory", "crun", 1.0),
];

/// Longest time of `knarr --version`, in milliseconds.
const VERSION_MS_MAX: f64 = 1.5;

/// Most resident memory of a supervisor, in KiB.
const SUPERVISOR_KIB_MAX: f64 = 1536.0;

/// Rounds that are measured.
const ROUNDS: usize = 15;

/// One figure of one tool, in the unit its name says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// `run`, `exec`, `ps`, ….
    pub what: String,
    /// `knarr`, `podman`, `docker`.
    pub tool: String,
    /// Which tool it was paired with.
    pub beside: String,
    /// Every measurement: milliseconds, or KiB where `what` is `supervisor`, `runtime memory` or `pull memory`.
    pub samples: Vec<f64>,
}

/// One line of `bench/history.jsonl`.
#[derive(Serialize)]
struct Entry {
    unix_seconds: u64,
    commit: String,
    profile: String,
    binary_bytes: u64,
    medians: BTreeMap<String, f64>,
}

/// Measures, prints, records; with `--fast` the binary of the tests instead of the release build.
pub fn run(words: &[&str]) -> Outcome {
    let profile = if words.contains(&"--fast") { cargo::FAST } else { "release" };
    let kit = Kit::stage_with(profile)?;
    let peers = peers::tool();
    let all = ["podman", "docker", "runtime", registry::PEER].into_iter().chain(images::PARTS);
    let pairs: Vec<&str> = if peers.is_some() { all.collect() } else { vec!["nobody"] };
    let wanted = words.iter().copied().find_map(|word| word.strip_prefix("--only="));
    let is_wanted = |peer: &str| {
        wanted
            .is_none_or(|wanted| peer.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    let (mut figures, mut failures) = (Vec::new(), Vec::new());
    for peer in pairs.iter().filter(|peer| is_wanted(peer)) {
        match measure(&kit, peers.as_deref(), peer) {
            Ok(measured) => figures.extend(measured),
            Err(why) => failures.push(format!("{peer}: {why}")),
        }
    }
    print(&figures);
    record(&kit, profile, &figures)?;
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

/// Runs ourselves again inside the peers' tree, with the kit as `/here`.
fn measure(kit: &Kit, peers: Option<&Path>, peer: &str) -> Outcome<Vec<Figure>> {
    let own = kit.directory.join("xtask");
    fs::copy(std::env::current_exe()?, &own)?;
    let writes = peer.starts_with("images/") || peer == registry::PEER;
    let _disk = writes.then(|| disk::prepare(&kit.directory)).transpose()?;
    let mut command = Command::new("bash");
    match peers {
        Some(tool) => {
            command.arg(tool).arg("enter");
            // podman and crun know pure cgroup v2 only; docker wants its controllers where they are.
            command.args((peer != "docker" && !peer.starts_with("images/")).then_some("--cgroup2")).args([
                "/here/xtask",
                "bench-inside",
                peer,
                "/here",
            ]);
        }
        None => {
            command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private"]).arg(&own);
            command.args(["bench-inside", peer]).arg(&kit.directory);
        }
    }
    let text = shell::output(command.arg(ROUNDS.to_string()).current_dir(&kit.directory))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The middle one of sorted samples.
fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(figures: &[Figure]) {
    println!("{:<14}{:>10}{:>12}{:>12}{:>9}{:>10}", "", "knarr", "peer", "", "ratio", "promise");
    for ours in figures.iter().filter(|figure| figure.tool == "knarr") {
        let own = median(&ours.samples);
        let theirs = figures.iter().find(|other| other.what == ours.what && other.tool == ours.beside);
        let peer = theirs.map_or(f64::NAN, |theirs| median(&theirs.samples));
        let promise = PROMISES.iter().find(|(what, peer, _)| *what == ours.what && *peer == ours.beside);
        let of_registry = registry::PROMISES.iter().find(|(what, _)| *what == ours.what);
        let of_images = images::PROMISES.iter().find(|(what, peer, _)| *what == ours.what && *peer == ours.beside);
        let promise = promise.or(of_images).map(|(.., share)| share).or(of_registry.map(|(_, share)| share));
        let kept = match (promise, ours.what.as_str()) {
            (Some(share), _) => verdict(own / peer, *share),
            (None, "version") => verdict(own, VERSION_MS_MAX),
            (None, "supervisor") => verdict(own, SUPERVISOR_KIB_MAX),
            (None, "registry idle") => verdict(own, registry::IDLE_KIB_MAX),
            (None, "pull memory") => verdict(own, images::PULL_KIB_MAX),
            (None, "no-op pull") => verdict(own - peer, images::NO_OP_MS_MAX),
            _ => String::new(),
        };
        println!("{:<14}{own:>10.2}{peer:>12.2}{:>12}{:>9.3}{kept:>16}", ours.what, ours.beside, own / peer);
    }
}

fn verdict(value: f64, max: f64) -> String {
    format!("{} {max}", if value <= max { "kept" } else { "MISSED" })
}

fn record(kit: &Kit, profile: &str, figures: &[Figure]) -> Outcome {
    let key = |figure: &Figure| format!("{} {} beside {}", figure.tool, figure.what, figure.beside);
    let commit =
        shell::output(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(workspace::top()))?;
    let entry = Entry {
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        commit: commit.trim().to_string(),
        profile: profile.to_string(),
        binary_bytes: fs::metadata(kit.directory.join("knarr"))?.len(),
        medians: figures.iter().map(|figure| (key(figure), median(&figure.samples))).collect(),
    };
    fs::create_dir_all(workspace::top().join("bench"))?;
    let path = workspace::top().join("bench/history.jsonl");
    let mut history = fs::OpenOptions::new().create(true).append(true).open(path)?;
    Ok(writeln!(history, "{}", serde_json::to_string(&entry)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_round_does_not_move_the_median() {
        assert_eq!(median(&[3.0, 1.0, 2.0, 900.0, 2.5]), 2.5);
    }

    #[test]
    fn a_promise_is_kept_up_to_its_limit() {
        assert_eq!(verdict(0.1, 0.1), "kept 0.1");
        assert_eq!(verdict(0.11, 0.1), "MISSED 0.1");
    }
}
