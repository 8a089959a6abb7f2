//! `inspect`: containers and images as JSON in docker's shape.
//!
//! Every field that scripts are known to read is there; what has no meaning here has docker's empty value.

use std::collections::BTreeMap;

use knarr_engine::policy::ResolvedMount;
use knarr_engine::wanted::{MountKind, SeccompChoice, Wanted, signal_name};
use knarr_engine::{Container, Context, ImageRecord, Status, time};
use serde_json::{Value, json};

use crate::rows::state_word;

/// Go's time of nothing.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container.
pub(crate) fn container(context: &Context, container: &Container, bytes: Option<(u64, u64)>) -> Value {
    let (record, options) = (&container.record, &container.options);
    let (wanted, dir) = (&options.wanted, context.paths.container(&record.id));
    let (path, args) = options.effective.args.split_first().map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
    let file = |name: &str| dir.join(name).display().to_string();
    let mut value = json!({
        "Id": record.id,
        "Created": time::rfc3339(u64::try_from(record.created_ns).unwrap_or(0)),
        "Path": path,
        "Args": args,
        "State": state(container),
        "Image": record.image_id.as_ref().map_or("", |id| id.as_str()),
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": if wanted.log.none { String::new() } else { file("log.jsonl") },
        "Name": format!("/{}", record.name),
        "RestartCount": 0,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": wanted.security.apparmor.as_deref().unwrap_or(""),
        "ExecIDs": null,
        "HostConfig": host_config(wanted),
        "GraphDriver": {"Name": "overlay", "Data": null},
        "Mounts": options.mounts.iter().filter_map(mount).collect::<Vec<_>>(),
        "Config": config(container),
        "NetworkSettings": network(wanted),
    });
    if let Some((own, all)) = bytes {
        value["SizeRw"] = own.into();
        value["SizeRootFs"] = all.into();
    }
    value
}

fn state(container: &Container) -> Value {
    let state = &container.state;
    let moment = |time_ns: Option<u64>| time_ns.map_or_else(|| NEVER.to_owned(), time::rfc3339);
    json!({
        "Status": state_word(container),
        "Running": state.status == Status::Running,
        "Paused": false,
        "Restarting": false,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error.as_deref().unwrap_or(""),
        "StartedAt": moment(state.started_at),
        "FinishedAt": moment(state.finished_at),
    })
}

fn config(container: &Container) -> Value {
    let (record, options) = (&container.record, &container.options);
    let (wanted, effective) = (&options.wanted, &options.effective);
    let set = |names: &[String]| names.iter().map(|name| (name.clone(), json!({}))).collect::<serde_json::Map<_, _>>();
    let mut value = json!({
        "Hostname": effective.hostname,
        "Domainname": wanted.domainname.as_deref().unwrap_or(""),
        "User": effective.user,
        "AttachStdin": wanted.interactive && wanted.stdin_once,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": wanted.terminal,
        "OpenStdin": wanted.interactive,
        "StdinOnce": wanted.stdin_once,
        "Env": effective.env,
        "Cmd": effective.cmd,
        "Image": record.image_name,
        "Volumes": Some(set(&effective.volumes)).filter(|map| !map.is_empty()),
        "WorkingDir": effective.working_dir,
        "Entrypoint": effective.entrypoint,
        "Labels": record.labels,
        "StopSignal": signal_name(effective.stop_signal),
        "StopTimeout": effective.stop_timeout_s,
    });
    if !effective.exposed_ports.is_empty() {
        value["ExposedPorts"] = set(&effective.exposed_ports).into();
    }
    value
}

fn host_config(wanted: &Wanted) -> Value {
    let (limits, shared) = (&wanted.resources, &wanted.namespaces);
    let mode = |host: bool, private: &str| if host { "host".to_owned() } else { private.to_owned() };
    let list = |names: &[String]| Some(names.to_vec()).filter(|names| !names.is_empty());
    let log: BTreeMap<&str, String> = [
        ("max-size", wanted.log.max_size_bytes.map(|bytes| bytes.to_string())),
        ("max-file", wanted.log.max_file.map(|count| count.to_string())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect();
    let ulimits: Vec<Value> =
        limits.ulimits.iter().map(|u| json!({"Name": u.name, "Hard": u.hard as i64, "Soft": u.soft as i64})).collect();
    let devices: Vec<Value> = wanted
        .devices
        .iter()
        .map(|d| json!({"PathOnHost": d.host, "PathInContainer": d.container, "CgroupPermissions": d.access}))
        .collect();
    let hosts: Vec<String> = wanted.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    let tmpfs: BTreeMap<&str, String> = wanted
        .mounts
        .iter()
        .filter_map(|mount| match &mount.kind {
            MountKind::Tmpfs { options } => Some((mount.target.as_str(), options.join(","))),
            _ => None,
        })
        .collect();
    json!({
        "Binds": list(&binds(wanted)),
        "ContainerIDFile": wanted.cidfile.as_ref().map_or(String::new(), |path| path.display().to_string()),
        "LogConfig": {"Type": if wanted.log.none { "none" } else { "json-file" }, "Config": log},
        "NetworkMode": shared.network.as_str(),
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": wanted.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": list(&wanted.cap_add),
        "CapDrop": list(&wanted.cap_drop),
        "CgroupnsMode": mode(shared.cgroup_host, "private"),
        "Dns": wanted.dns.servers,
        "DnsOptions": wanted.dns.options,
        "DnsSearch": wanted.dns.search,
        "ExtraHosts": list(&hosts),
        "GroupAdd": list(&wanted.group_add),
        "IpcMode": mode(shared.ipc_host, "private"),
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": limits.oom_score_adj.unwrap_or(0),
        "PidMode": mode(shared.pid_host, ""),
        "Privileged": wanted.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": wanted.read_only,
        "SecurityOpt": list(&security(wanted)),
        "Tmpfs": tmpfs,
        "UTSMode": mode(shared.uts_host, ""),
        "UsernsMode": "",
        "ShmSize": limits.shm_size_bytes.unwrap_or(64 << 20),
        "Sysctls": wanted.sysctls,
        "Runtime": wanted.runtime.as_ref().map_or("knarr".to_owned(), |path| path.display().to_string()),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory_bytes.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CgroupParent": limits.cgroup_parent.as_deref().unwrap_or(""),
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "CpuPeriod": limits.cpu_period_us.unwrap_or(0),
        "CpuQuota": limits.cpu_quota_us.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or(""),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or(""),
        "Devices": devices,
        "MemoryReservation": limits.memory_reservation_bytes.unwrap_or(0),
        "MemorySwap": limits.memory_swap_bytes.unwrap_or(0),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids_limit,
        "Ulimits": ulimits,
        "Init": wanted.init,
    })
}

fn security(wanted: &Wanted) -> Vec<String> {
    let security = &wanted.security;
    let mut list = Vec::new();
    match &security.seccomp {
        SeccompChoice::Default => {}
        SeccompChoice::Unconfined => list.push("seccomp=unconfined".to_owned()),
        SeccompChoice::Profile(text) => list.push(format!("seccomp={text}")),
    }
    if security.no_new_privileges {
        list.push("no-new-privileges".to_owned());
    }
    list.extend(security.apparmor.iter().map(|profile| format!("apparmor={profile}")));
    list.extend(security.label.iter().map(|label| format!("label={label}")));
    if security.systempaths_unconfined {
        list.push("systempaths=unconfined".to_owned());
    }
    list
}

fn binds(wanted: &Wanted) -> Vec<String> {
    let suffix = |read_only: bool| if read_only { ":ro" } else { "" };
    let text = |mount: &knarr_engine::wanted::MountWanted| match &mount.kind {
        MountKind::Bind(bind) => Some(format!("{}:{}{}", bind.source.display(), mount.target, suffix(mount.read_only))),
        MountKind::Volume { name: Some(name), .. } => {
            Some(format!("{name}:{}{}", mount.target, suffix(mount.read_only)))
        }
        _ => None,
    };
    wanted.mounts.iter().filter_map(text).collect()
}

fn mount(mount: &ResolvedMount) -> Option<Value> {
    let source = mount.source.display().to_string();
    match &mount.kind {
        MountKind::Bind(bind) => Some(json!({
            "Type": "bind", "Source": source, "Destination": mount.target, "Mode": "", "RW": !mount.read_only,
            "Propagation": bind.propagation.as_str(),
        })),
        MountKind::Volume { .. } => Some(json!({
            "Type": "volume", "Name": mount.volume, "Source": source, "Destination": mount.target, "Driver": "local",
            "Mode": "", "RW": !mount.read_only, "Propagation": "",
        })),
        MountKind::Tmpfs { .. } => None,
    }
}

fn network(wanted: &Wanted) -> Value {
    let name = wanted.namespaces.network.as_str();
    let mut networks = serde_json::Map::new();
    networks.insert(
        name.to_owned(),
        json!({"IPAMConfig": null, "Aliases": null, "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "",
               "IPPrefixLen": 0, "MacAddress": ""}),
    );
    json!({
        "Bridge": "", "SandboxID": "", "Ports": {}, "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "MacAddress": "",
        "Networks": networks,
    })
}

/// An image.
pub(crate) fn image(image: &ImageRecord) -> Value {
    let document = image.config.document();
    let mut config = serde_json::to_value(&document.config).unwrap_or(Value::Null);
    // What docker always shows.
    for (key, empty) in [
        ("Env", json!(null)),
        ("Cmd", json!(null)),
        ("Entrypoint", json!(null)),
        ("Labels", json!(null)),
        ("WorkingDir", json!("")),
        ("User", json!("")),
    ] {
        if config.get(key).is_none() {
            config[key] = empty;
        }
    }
    let names = |list: &[knarr_spec::Reference]| list.iter().map(|name| name.familiar()).collect::<Vec<_>>();
    json!({
        "Id": image.id,
        "RepoTags": names(&image.names),
        "RepoDigests": names(&image.repo_digests),
        "Parent": "",
        "Comment": "",
        "Created": image.created.as_deref().unwrap_or(NEVER),
        "DockerVersion": "",
        "Author": document.author.as_deref().unwrap_or(""),
        "Config": config,
        "Architecture": document.platform.architecture,
        "Variant": document.platform.variant.as_deref().unwrap_or(""),
        "Os": document.platform.os,
        "Size": image.bytes,
        "VirtualSize": image.bytes,
        "GraphDriver": {"Name": "overlay", "Data": null},
        "RootFS": {"Type": "layers", "Layers": document.rootfs.diff_ids},
        "Metadata": {"LastTagTime": NEVER},
        "Descriptor": {"digest": image.manifest_digest},
    })
}
