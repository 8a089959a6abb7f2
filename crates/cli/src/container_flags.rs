//! The options `run` and `create` share, and how they become a [`Wanted`].

use std::collections::BTreeMap;
use std::path::Path;

use knarr_engine::wanted::{
    Dns, LogWanted, MountWanted, Namespaces, Network, ParseError, PullPolicy, ResourcesWanted, Security, Wanted,
    check_container_name, check_hostname, env_file, parse_cpus, parse_signal, parse_size,
};

use crate::failure::Failure;
use crate::world::{current_dir, variable};

/// Docker's options of a container. Order and words follow `docker run --help`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Container options")]
pub(crate) struct ContainerFlags {
    /// Add a line to /etc/hosts (HOST:IP)
    #[arg(long, value_name = "HOST:IP")]
    add_host: Vec<String>,
    /// Add an annotation to the runtime document
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Block IO weight, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Add a Linux capability
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Drop a Linux capability
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// Parent control group
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// Cgroup namespace: host or private
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,
    /// Write the container's id to this new file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<String>,
    /// CPU period in microseconds
    #[arg(long, value_name = "US")]
    cpu_period: Option<u64>,
    /// CPU quota in microseconds
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(long, short = 'c', value_name = "SHARES")]
    cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// CPUs to run on (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Add a host device (HOST[:CONTAINER][:rwm])
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Name server in place of the host's
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Resolver option in place of the host's
    #[arg(long, value_name = "OPTION", visible_alias = "dns-opt")]
    dns_option: Vec<String>,
    /// Search domain in place of the host's
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// NIS domain name inside
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true)]
    entrypoint: Option<String>,
    /// Set an environment variable (NAME=value, or NAME to pass ours on)
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Add a supplementary group
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Host name inside
    #[arg(long, short = 'h', value_name = "NAME")]
    hostname: Option<String>,
    /// Run a reaper as process 1
    #[arg(long)]
    init: bool,
    /// Keep standard input open
    #[arg(long, short = 'i')]
    pub interactive: bool,
    /// IPC namespace: private or host
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// Set a label
    #[arg(long, short = 'l', value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    /// Where output is kept: json-file or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Log option (max-size=SIZE, max-file=NUMBER)
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
    /// Memory limit (512m, 2g)
    #[arg(long, short = 'm', value_name = "SIZE")]
    memory: Option<String>,
    /// Soft memory limit
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Memory and swap together; -1 is unlimited
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Swappiness, 0 to 100
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Mount something (type=bind|volume|tmpfs,source=…,target=…)
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Network: none or host [none, until there is a bridge]
    #[arg(long, visible_alias = "net", value_name = "MODE")]
    network: Option<String>,
    /// Disable the image's health check (there are none yet)
    #[arg(long)]
    no_healthcheck: bool,
    /// Do not kill when out of memory
    #[arg(long)]
    oom_kill_disable: bool,
    /// Preference of the out-of-memory killer, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,
    /// PID namespace: private or host
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// Limit of processes and threads; -1 is unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Platform of the image (os/arch[/variant])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// All capabilities, all devices, nothing masked
    #[arg(long)]
    privileged: bool,
    /// When to pull the image: always, missing or never
    #[arg(long, value_name = "POLICY")]
    pull: Option<String>,
    /// Print no progress
    #[arg(long, short = 'q')]
    pub quiet: bool,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// What happens when it ends: no
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long)]
    pub rm: bool,
    /// Another OCI runtime to run it with
    #[arg(long, value_name = "PATH")]
    runtime: Option<String>,
    /// Security option (seccomp=…, no-new-privileges, apparmor=…, label=…, systempaths=unconfined)
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Signal that asks it to end
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    stop_timeout: Option<i64>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Mount memory (PATH[:OPTIONS])
    #[arg(long, value_name = "TMPFS")]
    tmpfs: Vec<String>,
    /// Allocate a terminal
    #[arg(long, short = 't')]
    pub tty: bool,
    /// Limit of each process (TYPE=SOFT[:HARD])
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// User and group (NAME|UID[:GROUP|GID])
    #[arg(long, short = 'u', value_name = "USER")]
    user: Option<String>,
    /// UTS namespace: private or host
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// Mount a host path or a volume ([SOURCE:]TARGET[:OPTIONS])
    #[arg(long, short = 'v', value_name = "VOLUME")]
    volume: Vec<String>,
    /// Current directory of the process
    #[arg(long, short = 'w', value_name = "DIR")]
    workdir: Option<String>,
    /// Print what would happen and do nothing: options, spec or plan
    #[arg(long, value_name = "STAGE")]
    pub dry_run: Option<String>,
    /// Verify TLS certificates when pulling
    #[arg(long, value_name = "BOOL")]
    pub tls_verify: Option<bool>,
    /// Image, then command and arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    words: Vec<String>,
}

impl ContainerFlags {
    /// The wish these options make.
    pub(crate) fn wanted(&self) -> Result<Wanted, Failure> {
        if !matches!(self.restart.as_deref(), None | Some("no" | "")) {
            return Err(Failure::usage("--restart is not supported yet").hint("only --restart=no"));
        }
        let (image, command) = self.words.split_first().expect("the parser requires an image");
        if let Some(name) = &self.name {
            check_container_name(name)?;
        }
        if let Some(name) = &self.hostname {
            check_hostname(name)?;
        }
        if let Some(signal) = &self.stop_signal {
            parse_signal("stop-signal", signal)?;
        }
        Ok(Wanted {
            image: image.clone(),
            command: command.to_vec(),
            entrypoint: self.entrypoint.clone().map(|word| if word.is_empty() { Vec::new() } else { vec![word] }),
            name: self.name.clone(),
            env: self.environment()?,
            workdir: self.workdir.clone().map(absolute_inside).transpose()?,
            user: self.user.clone(),
            group_add: self.group_add.clone(),
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            labels: self.labels()?,
            annotations: pairs("annotation", &self.annotation)?,
            terminal: self.tty,
            interactive: self.interactive,
            stdin_once: false,
            auto_remove: self.rm,
            read_only: self.read_only,
            init: self.init,
            privileged: self.privileged,
            mounts: self.mounts()?,
            devices: self.device.iter().map(|text| text.parse()).collect::<Result<_, ParseError>>()?,
            namespaces: self.namespaces()?,
            resources: self.resources()?,
            cap_add: split_commas(&self.cap_add),
            cap_drop: split_commas(&self.cap_drop),
            security: self.security()?,
            sysctls: pairs("sysctl", &self.sysctl)?,
            dns: self.dns()?,
            extra_hosts: self.add_host.iter().map(|text| extra_host(text)).collect::<Result<_, ParseError>>()?,
            stop_signal: self.stop_signal.clone(),
            stop_timeout_s: self.stop_timeout.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            log: LogWanted::parse(self.log_driver.as_deref(), &self.log_opt)?,
            runtime: self.runtime.as_deref().map(runtime_path).transpose()?,
            pull: self.pull.as_deref().map(str::parse).transpose()?.unwrap_or(PullPolicy::Missing),
            platform: self.platform.clone().or_else(|| variable("DOCKER_DEFAULT_PLATFORM")),
            cidfile: self.cidfile.as_ref().map(|path| current_dir().join(path)),
        })
    }

    fn environment(&self) -> Result<Vec<String>, Failure> {
        let mut list = Vec::new();
        for path in &self.env_file {
            list.extend(env_file(&read("env-file", path)?)?);
        }
        list.extend(self.env.clone());
        for entry in &list {
            if entry.is_empty() || entry.starts_with('=') {
                return Err(ParseError::new("env", entry, "expected NAME=value").into());
            }
        }
        // A name alone passes our value on; where we have none it removes the image's.
        let passed = |entry: String| match std::env::var(&entry) {
            Ok(value) if !entry.contains('=') => format!("{entry}={value}"),
            _ => entry,
        };
        Ok(list.into_iter().map(passed).collect())
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut lines = Vec::new();
        for path in &self.label_file {
            lines.extend(env_file(&read("label-file", path)?)?);
        }
        lines.extend(self.label.clone());
        let split = |line: &String| {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            (key.to_owned(), value.to_owned())
        };
        Ok(lines.iter().map(split).collect())
    }

    fn mounts(&self) -> Result<Vec<MountWanted>, Failure> {
        let cwd = current_dir();
        let mut list = Vec::new();
        for text in &self.volume {
            list.push(MountWanted::parse_volume(text, &cwd)?);
        }
        for text in &self.mount {
            list.push(MountWanted::parse_mount(text, &cwd)?);
        }
        for text in &self.tmpfs {
            list.push(MountWanted::parse_tmpfs(text)?);
        }
        let clean = |mount: &MountWanted| Path::new(&mount.target).components().collect::<std::path::PathBuf>();
        for (index, mount) in list.iter().enumerate() {
            if list[..index].iter().any(|earlier| clean(earlier) == clean(mount)) {
                return Err(Failure::usage(format!("Duplicate mount point: {}", mount.target)));
            }
        }
        Ok(list)
    }

    fn namespaces(&self) -> Result<Namespaces, Failure> {
        Ok(Namespaces {
            network: self.network.as_deref().map(str::parse).transpose()?.unwrap_or(Network::Default),
            pid_host: host("pid", self.pid.as_deref())?,
            ipc_host: host("ipc", self.ipc.as_deref())?,
            uts_host: host("uts", self.uts.as_deref())?,
            cgroup_host: host("cgroupns", self.cgroupns.as_deref())?,
        })
    }

    fn resources(&self) -> Result<ResourcesWanted, Failure> {
        let size = |option: &'static str, text: &Option<String>| -> Result<Option<i64>, ParseError> {
            text.as_deref().map(|text| parse_size(option, text)).transpose()
        };
        Ok(ResourcesWanted {
            memory_bytes: size("memory", &self.memory)?,
            memory_reservation_bytes: size("memory-reservation", &self.memory_reservation)?,
            memory_swap_bytes: size("memory-swap", &self.memory_swap)?,
            memory_swappiness: self.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
            oom_kill_disable: self.oom_kill_disable,
            oom_score_adj: self.oom_score_adj,
            nano_cpus: self.cpus.as_deref().map(parse_cpus).transpose()?,
            cpu_shares: self.cpu_shares,
            cpu_quota_us: self.cpu_quota,
            cpu_period_us: self.cpu_period,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids_limit: self.pids_limit,
            blkio_weight: self.blkio_weight,
            shm_size_bytes: size("shm-size", &self.shm_size)?,
            ulimits: self.ulimit.iter().map(|text| text.parse()).collect::<Result<_, ParseError>>()?,
            cgroup_parent: self.cgroup_parent.clone(),
        })
    }

    fn security(&self) -> Result<Security, Failure> {
        let mut security = Security::default();
        for option in &self.security_opt {
            security.apply(option, |path| {
                let text = std::fs::read_to_string(current_dir().join(path));
                text.map_err(|error| ParseError::new("security-opt", option, format!("read {path}: {error}")))
            })?;
        }
        Ok(security)
    }

    fn dns(&self) -> Result<Dns, Failure> {
        for server in &self.dns {
            if server.parse::<std::net::IpAddr>().is_err() {
                return Err(ParseError::new("dns", server, "expected an IP address").into());
            }
        }
        Ok(Dns { servers: self.dns.clone(), search: self.dns_search.clone(), options: self.dns_option.clone() })
    }
}

fn read(option: &'static str, path: &str) -> Result<String, ParseError> {
    let text = std::fs::read_to_string(current_dir().join(path));
    text.map_err(|error| ParseError::new(option, path, error.to_string().to_lowercase()))
}

fn absolute_inside(dir: String) -> Result<String, ParseError> {
    match dir.starts_with('/') {
        true => Ok(dir),
        false => Err(ParseError::new("workdir", &dir, "the directory must be an absolute path")),
    }
}

fn pairs(option: &'static str, list: &[String]) -> Result<BTreeMap<String, String>, ParseError> {
    let split = |text: &String| {
        let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.ok_or_else(|| ParseError::new(option, text, "expected KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    list.iter().map(split).collect()
}

fn split_commas(list: &[String]) -> Vec<String> {
    list.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

fn host(option: &'static str, mode: Option<&str>) -> Result<bool, ParseError> {
    match mode {
        None | Some("" | "private") => Ok(false),
        Some("host") => Ok(true),
        Some(other) => Err(ParseError::new(option, other, "not supported yet: expected private or host")),
    }
}

/// `host:address`, or `host=address`, which IPv6 addresses need.
fn extra_host(text: &str) -> Result<(String, String), ParseError> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let wrong = |why: &str| ParseError::new("add-host", text, why);
    let (name, address) = split.ok_or_else(|| wrong("expected HOST:IP"))?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || bare.parse::<std::net::IpAddr>().is_err() {
        return Err(wrong("expected HOST:IP with an IP address"));
    }
    Ok((name.to_owned(), bare.to_owned()))
}

/// A runtime by its path, or by its name in `PATH`.
fn runtime_path(text: &str) -> Result<std::path::PathBuf, ParseError> {
    let found = if text.contains('/') {
        Some(current_dir().join(text))
    } else {
        let path = variable("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(text)).find(|path| path.is_file())
    };
    found.filter(|path| path.is_file()).ok_or_else(|| ParseError::new("runtime", text, "no such program"))
}

#[cfg(test)]
mod tests;
