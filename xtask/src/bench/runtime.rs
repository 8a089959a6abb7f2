//! The runtime beside crun and runc, and beside what the kernel alone takes: `unshare` and `execve` of the same program.
//!
//! One bundle for all: what `runc spec` writes, with the engine's default system call filter, and a static `true`. In the peers' tree with
//! cgroup v2 on `/sys/fs/cgroup`, because crun refuses anything else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::Figure;
use super::inside::{WARM_UP, shell};
use crate::Outcome;

/// How many containers are made at once: four times as many must take four times as long.
const AT_ONCE: [usize; 2] = [50, 200];

/// A runtime's command line.
struct Runtime {
    name: &'static str,
    prefix: Vec<String>,
}

impl Runtime {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.prefix[0]);
        command.args(&self.prefix[1..]).args(words).stdin(Stdio::null());
        command
    }
}

/// Takes all figures; prints each as a line of JSON.
pub fn run(kit: &Path, rounds: usize) -> Outcome {
    let bundle = bundle(kit)?;
    let path = bundle.display().to_string();
    let ours = vec![kit.join("knarr").display().to_string(), "runtime".into()];
    let runtimes = [
        Runtime { name: "knarr", prefix: ours },
        Runtime { name: "crun", prefix: vec!["crun".into()] },
        Runtime { name: "runc", prefix: vec!["runc".into()] },
    ];
    let (boat, sleeper) = (unique("boat"), unique("sleeper"));
    let run = |runtime: &Runtime| shell(&mut runtime.command(&["run", "--bundle", &path, &boat]));
    let floor = || {
        let mut command = Command::new("unshare");
        command.args(["-muipn", "-C", "--fork", "--propagation", "unchanged"]).arg(bundle.join("rootfs/bin/true"));
        shell(&mut command)
    };
    let mut all: Vec<(&str, &dyn Fn() -> Outcome)> = Vec::new();
    let runs: Vec<_> = runtimes.iter().map(|runtime| move || run(runtime)).collect();
    all.extend(runtimes.iter().zip(&runs).map(|(runtime, run)| (runtime.name, run as &dyn Fn() -> Outcome)));
    all.push(("floor", &floor));
    report("runtime run", measure(&all, rounds)?);

    let other = sleeping(&bundle)?;
    let exec =
        |runtime: &Runtime| shell(&mut runtime.command(&["exec", &format!("{sleeper}-{}", runtime.name), "/bin/true"]));
    let execs: Vec<_> = runtimes.iter().map(|runtime| move || exec(runtime)).collect();
    let all: Vec<(&str, &dyn Fn() -> Outcome)> =
        runtimes.iter().zip(&execs).map(|(runtime, exec)| (runtime.name, exec as &dyn Fn() -> Outcome)).collect();
    let sleep = |runtime: &Runtime| {
        let mut command =
            runtime.command(&["run", "--detach", "--bundle", &other, &format!("{sleeper}-{}", runtime.name)]);
        // The sleeper keeps what it inherits: nobody may wait for the end of a pipe.
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
    };
    let measured = runtimes.iter().try_for_each(sleep).and_then(|()| measure(&all, rounds));
    for runtime in &runtimes {
        let _ = shell(&mut runtime.command(&["delete", "--force", &format!("{sleeper}-{}", runtime.name)]));
    }
    report("runtime exec", measured?);

    let memory = runtimes.iter().map(|runtime| Ok((runtime.name, vec![peak_kib(runtime, &path, &boat)?])));
    report("runtime memory", memory.collect::<Outcome<Vec<_>>>()?);
    for count in AT_ONCE {
        let each = runtimes.iter().map(|runtime| Ok((runtime.name, vec![at_once(runtime, &path, count)?])));
        let what = if count == AT_ONCE[0] { "runtime 50" } else { "runtime 200" };
        report(what, each.collect::<Outcome<Vec<_>>>()?);
    }
    Ok(())
}

/// Control groups are the machine's: another bench may run beside this one.
fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// What `runc spec` writes, with the filter our engine gives its containers.
fn bundle(kit: &Path) -> Outcome<PathBuf> {
    let bundle = kit.join("runtime-bundle");
    fs::create_dir_all(bundle.join("rootfs/bin"))?;
    for name in ["true", "sleep"] {
        fs::copy("/usr/bin/busybox", bundle.join("rootfs/bin").join(name))?;
    }
    shell(Command::new("runc").arg("spec").current_dir(&bundle))?;
    let state = kit.join("bench-runtime").display().to_string();
    let knarr = |words: &[&str]| {
        let mut command = Command::new(kit.join("knarr"));
        command.args(["--root", &state, "--runroot", "/run/knarr-bench"]).args(words);
        command
    };
    shell(knarr(&["load", "-i"]).arg(kit.join("images/probe.tar")))?;
    let wished = knarr(&["run", "--dry-run=spec", "probe", "probe", "true"]).output()?;
    let wished: Value = serde_json::from_slice(&wished.stdout)?;
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
    config["linux"]["seccomp"] = wished["linux"]["seccomp"].clone();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    fs::write(bundle.join("config.json"), config.to_string())?;
    Ok(bundle)
}

/// The same with a program that stays.
fn sleeping(bundle: &Path) -> Outcome<String> {
    let other = bundle.with_extension("sleeping");
    fs::create_dir_all(&other)?;
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
    config["process"]["args"] = json!(["/bin/sleep", "600"]);
    config["root"]["path"] = json!(bundle.join("rootfs"));
    fs::write(other.join("config.json"), config.to_string())?;
    Ok(other.display().to_string())
}

/// Milliseconds of each, in rounds that alternate them.
fn measure<'n>(all: &[(&'n str, &dyn Fn() -> Outcome)], rounds: usize) -> Outcome<Vec<(&'n str, Vec<f64>)>> {
    let mut samples: Vec<(&str, Vec<f64>)> = all.iter().map(|(name, _)| (*name, Vec::new())).collect();
    for round in 0..WARM_UP + rounds {
        for ((_, action), (_, samples)) in all.iter().zip(&mut samples) {
            let started = Instant::now();
            action()?;
            samples.extend((round >= WARM_UP).then(|| started.elapsed().as_secs_f64() * 1000.0));
        }
    }
    Ok(samples)
}

/// The largest resident set of the runtime and all it starts, in KiB.
fn peak_kib(runtime: &Runtime, bundle: &str, id: &str) -> Outcome<f64> {
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%M"]).args(&runtime.prefix).args(["run", "--bundle", bundle, id]).stdin(Stdio::null());
    let output = command.output()?;
    Ok(String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or_default().parse()?)
}

/// Milliseconds for each of `count` containers that are created, started and deleted at once.
fn at_once(runtime: &Runtime, bundle: &str, count: usize) -> Outcome<f64> {
    let (runtime, crowd) = (runtime.prefix.join(" "), unique("crowd"));
    let started = Instant::now();
    let start = |number| {
        let script = format!(
            "{runtime} create --bundle {bundle} {crowd}-{number} && {runtime} start {crowd}-{number} && {runtime} delete --force {crowd}-{number}"
        );
        Ok(Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?)
    };
    let children = (0..count).map(start).collect::<Outcome<Vec<Child>>>()?;
    let ends: Vec<bool> =
        children.into_iter().map(|mut child| child.wait().is_ok_and(|status| status.success())).collect();
    match ends.iter().filter(|ok| !**ok).count() {
        0 => Ok(started.elapsed().as_secs_f64() * 1000.0 / count as f64),
        failed => Err(format!("{runtime}: {failed} of {count} failed").into()),
    }
}

/// Ours once beside each of the others.
fn report(what: &str, measured: Vec<(&str, Vec<f64>)>) {
    let line = |tool: &str, beside: &str, samples: &[f64]| {
        let figure = Figure { what: what.into(), tool: tool.into(), beside: beside.into(), samples: samples.to_vec() };
        println!("{}", serde_json::to_string(&figure).unwrap_or_default());
    };
    let Some(((ours, own), others)) = measured.split_first() else { return };
    for (name, samples) in others {
        line(ours, name, own);
        line(name, name, samples);
    }
}
