//! `info`.

use knarr_engine::{Status, container, image};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{inspected, print};
use crate::verb::Verb;
use crate::world::World;

/// Show how this machine is used.
#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    /// A Go template or `json`
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Info {
    const NAMES: &'static [&'static str] = &["info", "system info"];
    const ABOUT: &'static str = "Show how this machine is used";
    const EXAMPLE: &'static str = "knarr info --format '{{.CgroupVersion}}'";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.reading()?;
        let containers = container::list(&context)?;
        let running = containers.iter().filter(|c| c.state.status == Status::Running).count();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let host = knarr_engine::host::describe();
        let mut security = vec!["name=seccomp,profile=builtin", "name=cgroupns"];
        security.extend(context.rootless().then_some("name=rootless"));
        let info = json!({
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "Containers": containers.len(),
            "ContainersRunning": running,
            "ContainersPaused": 0,
            "ContainersStopped": containers.len() - running,
            "Images": image::list::list(&context)?.len(),
            "Driver": "overlay",
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": host.cgroup_version,
            "DefaultRuntime": "knarr",
            "KnarrRoot": context.paths.state,
            "DockerRootDir": context.paths.state,
            "RunRoot": context.paths.run,
            "SecurityOptions": security,
            "KernelVersion": read("/proc/sys/kernel/osrelease"),
            "OSType": "linux",
            "Architecture": std::env::consts::ARCH,
            "NCPU": host.cpus,
            "MemTotal": host.memory_bytes,
            "Name": read("/proc/sys/kernel/hostname"),
        });
        match self.format.as_deref() {
            None | Some("") => print(&text(&info))?,
            format => print(&inspected(&[info], format)?)?,
        }
        Ok(0)
    }
}

fn text(info: &serde_json::Value) -> String {
    let lines = info.as_object().into_iter().flatten().map(|(key, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{key}: {value}\n")
    });
    lines.collect()
}
