//! The measuring itself, inside the peers' mount namespace: nothing of it outlives that namespace but the figures.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Figure, images, registry};
use crate::Outcome;

/// Rounds before the measured ones, so that caches are as warm for one as for the other.
pub const WARM_UP: usize = 2;

/// Rounds against the registries: each is half a minute of load.
const REGISTRY_ROUNDS: usize = 3;

/// How many containers `32 at once` starts.
const AT_ONCE: usize = 32;

/// Longest time a daemon may take to answer.
const DAEMON_START_MAX: Duration = Duration::from_secs(30);

/// Longest time to wait for what a tool does after its command has ended, such as podman's clean-up of a container.
const AFTERMATH_MAX: Duration = Duration::from_millis(500);

/// Names of the programs that the tools leave running; the kernel cuts names to fifteen bytes.
const PROGRAMS: [&str; 6] = ["knarr", "podman", "conmon", "docker", "containerd-shim", "runc"];

/// Where docker's daemon listens.
pub const DOCKER_HOST: &str = "unix:///run/docker.sock";

/// One container tool with a state of its own.
struct Tool {
    name: String,
    prefix: Vec<String>,
    /// Options of `run` that the machine forces on it.
    run_options: &'static [&'static str],
    daemon: Option<Child>,
}

/// Takes all figures of knarr and `peer`; prints each as a line of JSON.
pub fn run(peer: &str, kit: &str, rounds: &str) -> Outcome {
    if peer == registry::PEER {
        return registry::run(Path::new(kit), REGISTRY_ROUNDS);
    }
    let kit = Path::new(kit);
    if images::PARTS.contains(&peer) {
        return images::run(kit, peer);
    }
    shell(Command::new("mount").args(["-t", "tmpfs", "none", "/run"]))?;
    if peer == "runtime" {
        return super::runtime::run(kit, rounds.parse()?);
    }
    let mut tools = vec![knarr(kit)];
    match peer {
        "podman" => tools.push(podman(kit)),
        "docker" => tools.push(docker(kit)?),
        _ => {}
    }
    for tool in &tools {
        shell(tool.command(&["load", "-i"]).arg(kit.join("images/probe.tar")))?;
        shell(&mut tool.run(&["-d", "--name", "boat"], &["sleep"]))?;
    }
    let outcome = measure(&tools, peer, rounds.parse()?);
    for tool in &mut tools {
        let _ = shell(&mut tool.command(&["rm", "-f", "boat"]));
        if let Some(daemon) = &mut tool.daemon {
            stop(daemon);
        }
    }
    outcome
}

fn measure(tools: &[Tool], peer: &str, rounds: usize) -> Outcome {
    type Action<'a> = (&'a str, &'a dyn Fn(&Tool) -> Outcome);
    let actions: [Action; 5] = [
        ("version", &|tool| shell(&mut tool.command(&["--version"]))),
        ("ps", &|tool| shell(&mut tool.command(&["ps"]))),
        ("exec", &|tool| shell(&mut tool.command(&["exec", "boat", "probe", "true"]))),
        ("run", &|tool| shell(&mut tool.run(&["--rm"], &["true"]))),
        ("32 at once", &at_once),
    ];
    for (what, action) in actions {
        let rounds = if what == "32 at once" { rounds / 3 } else { rounds };
        let mut samples = vec![Vec::new(); tools.len()];
        let resting = at_work();
        for round in 0..WARM_UP + rounds {
            for (tool, samples) in tools.iter().zip(&mut samples) {
                settle(resting);
                let started = Instant::now();
                action(tool)?;
                samples.extend((round >= WARM_UP).then(|| started.elapsed().as_secs_f64() * 1000.0));
            }
        }
        tools.iter().zip(samples).for_each(|(tool, samples)| report(what, tool, peer, samples));
    }
    for tool in tools {
        report("supervisor", tool, peer, vec![supervisor_kib(tool)?]);
    }
    Ok(())
}

/// Waits until no more programs of the tools run than when all rested: what one does late is not the other's time.
fn settle(resting: usize) {
    let started = Instant::now();
    while at_work() > resting && started.elapsed() < AFTERMATH_MAX {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many programs of the tools run on this machine.
fn at_work() -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    names.filter(|name| PROGRAMS.contains(&name.trim_end())).count()
}

fn report(what: &str, tool: &Tool, peer: &str, samples: Vec<f64>) {
    let figure = Figure { what: what.to_string(), tool: tool.name.clone(), beside: peer.to_string(), samples };
    println!("{}", serde_json::to_string(&figure).unwrap_or_default());
}

fn at_once(tool: &Tool) -> Outcome {
    let start = |_| Ok(tool.run(&["--rm"], &["true"]).stdout(Stdio::null()).spawn()?);
    let children = (0..AT_ONCE).map(start).collect::<Outcome<Vec<Child>>>()?;
    let ends: Vec<bool> =
        children.into_iter().map(|mut child| child.wait().is_ok_and(|status| status.success())).collect();
    if ends.iter().all(|ok| *ok) { Ok(()) } else { Err(format!("{}: one of {AT_ONCE} failed", tool.name).into()) }
}

/// Resident memory of the process that stands above the container's first one.
fn supervisor_kib(tool: &Tool) -> Outcome<f64> {
    let output = tool.command(&["inspect", "-f", "{{.State.Pid}}", "boat"]).output()?;
    let pid = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let parent = status_line(&pid, "PPid:")?;
    let resident = status_line(&parent, "VmRSS:")?;
    Ok(resident.trim_end_matches(" kB").parse()?)
}

fn status_line(pid: &str, key: &str) -> Outcome<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("no such line")?;
    Ok(value.trim().to_string())
}

impl Tool {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.prefix[0]);
        command.args(&self.prefix[1..]).args(args);
        command
    }

    fn run(&self, options: &[&str], program: &[&str]) -> Command {
        let mut command = self.command(&["run", "--network=none"]);
        command.args(self.run_options).args(options).args(["probe", "probe"]).args(program);
        command
    }
}

fn tool(name: &str, prefix: &[&str], run_options: &'static [&'static str]) -> Tool {
    let prefix = prefix.iter().map(|word| word.to_string()).collect();
    Tool { name: name.to_string(), prefix, run_options, daemon: None }
}

fn knarr(kit: &Path) -> Tool {
    let (program, state) = (kit.join("knarr").display().to_string(), kit.join("bench-knarr").display().to_string());
    tool("knarr", &[&program, "--root", &state, "--runroot", "/run/knarr"], &[])
}

fn podman(kit: &Path) -> Tool {
    let state = kit.join("bench-podman").display().to_string();
    let prefix = ["podman", "--root", &state, "--runroot", "/run/podman", "--cgroup-manager=cgroupfs"];
    // No pids controller in this cgroup v2 view.
    tool("podman", &prefix, &["--pids-limit=0"])
}

fn docker(kit: &Path) -> Outcome<Tool> {
    let daemon = dockerd(&kit.join("bench-docker"))?;
    Ok(Tool { daemon: Some(daemon), ..tool("docker", &["docker", "-H", DOCKER_HOST], &[]) })
}

/// A daemon of docker's with its data in `state`, that answers.
pub fn dockerd(state: &Path) -> Outcome<Child> {
    let mut daemon = Command::new("dockerd");
    daemon.arg("--data-root").arg(state).args(["--exec-root", "/run/docker", "-H", DOCKER_HOST]);
    daemon.args(["--bridge=none", "--iptables=false", "--pidfile", "/run/docker.pid"]);
    let daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let end = Instant::now() + DAEMON_START_MAX;
    let mut version = Command::new("docker");
    version.args(["-H", DOCKER_HOST, "version"]).stdout(Stdio::null()).stderr(Stdio::null());
    while version.status()?.code() != Some(0) {
        if Instant::now() > end {
            return Err("dockerd does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(daemon)
}

/// Ends a daemon as it wants to be ended.
pub fn stop(daemon: &mut Child) {
    let _ = Command::new("kill").arg(daemon.id().to_string()).status();
    let _ = daemon.wait();
}

/// Runs silently; what it said is shown only if it failed.
pub fn shell(command: &mut Command) -> Outcome {
    let output = command.output().map_err(|why| format!("{command:?}: {why}"))?;
    let why = || format!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(why().into()) }
}
