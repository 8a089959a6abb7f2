//! Docker's options that are not here yet, so that they are refused by name and not as typing errors.

/// Option, short form, and what to do meanwhile.
const RUN: &[(&str, &str, &str)] = &[
    ("--publish", "-p", "share the host's network with --network=host and reach its ports there"),
    ("--publish-all", "-P", "share the host's network with --network=host and reach its ports there"),
    ("--expose", "", "ports need no declaration to be reached"),
    ("--network-alias", "", "containers have no network in common yet"),
    ("--net-alias", "", "containers have no network in common yet"),
    ("--link", "", "containers have no network in common yet"),
    ("--link-local-ip", "", "containers have no network in common yet"),
    ("--ip", "", "containers have no network in common yet"),
    ("--ip6", "", "containers have no network in common yet"),
    ("--mac-address", "", "containers have no network in common yet"),
    ("--gpus", "", "pass device nodes with --device"),
    ("--blkio-weight-device", "", "--blkio-weight limits all devices together"),
    ("--device-cgroup-rule", "", "name the devices with --device"),
    ("--device-read-bps", "", "--blkio-weight sets a share"),
    ("--device-read-iops", "", "--blkio-weight sets a share"),
    ("--device-write-bps", "", "--blkio-weight sets a share"),
    ("--device-write-iops", "", "--blkio-weight sets a share"),
    ("--cpu-rt-period", "", "leave it out"),
    ("--cpu-rt-runtime", "", "leave it out"),
    ("--cpu-count", "", "it is for Windows"),
    ("--cpu-percent", "", "it is for Windows"),
    ("--io-maxbandwidth", "", "it is for Windows"),
    ("--io-maxiops", "", "it is for Windows"),
    ("--isolation", "", "it is for Windows"),
    ("--kernel-memory", "", "the kernel has dropped it"),
    ("--health-cmd", "", "leave it out"),
    ("--health-interval", "", "leave it out"),
    ("--health-retries", "", "leave it out"),
    ("--health-start-interval", "", "leave it out"),
    ("--health-start-period", "", "leave it out"),
    ("--health-timeout", "", "leave it out"),
    ("--storage-opt", "", "leave it out"),
    ("--use-api-socket", "", "there is no socket"),
    ("--userns", "", "as an ordinary user containers always have a user namespace"),
    ("--volume-driver", "", "volumes are local directories"),
    ("--volumes-from", "", "name the volumes with -v"),
    ("--disable-content-trust", "", "leave it out"),
];

/// The long name of an option of docker's `command` that is not here, and a hint.
pub(crate) fn flag(command: &str, flag: &str) -> Option<(&'static str, &'static str)> {
    let table = if matches!(command, "run" | "create") { RUN } else { &[] };
    let same = |(long, short, _): &&(&str, &str, &str)| *long == flag || (!short.is_empty() && flag.starts_with(short));
    table.iter().find(same).map(|(long, _, hint)| (*long, *hint))
}
