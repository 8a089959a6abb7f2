//! The end-to-end tests under a real cgroup v2 hierarchy: inside user-mode Linux, a kernel that runs as a process.
//!
//! It sees the host's tree read-only through hostfs; whatever is written goes to tmpfs. Law: the host's tree is never
//! written, not even through a device node: the kernel mounts devtmpfs on `/dev` before init runs, and init checks it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::end_to_end::{self, Kit, present};
use crate::tally::Tally;
use crate::{Outcome, shell};

/// Longest wall time for a boot and all tests, in seconds; the kernel is killed after it.
const BOOT_SECONDS_MAX: u32 = 2700;

/// Longest wall time for a boot that does nothing, in seconds: it takes about one.
const PROBE_SECONDS_MAX: u32 = 90;

/// What the kernel's process 1 says once it runs.
const BOOTED: &str = "uml: booted";

/// Memory of the virtual machine.
const MEMORY: &str = "2G";

/// Size of its disk, which is a sparse file: layers and upper directories of the tests. On tmpfs rootless overlays would
/// lack the extended attributes of users, which tmpfs has since Linux 6.6.
const DISK: &str = "8G";

/// Boots, runs the tests as root and as an ordinary user with a delegated cgroup, and counts; also what was said, because
/// this runs beside other tests.
pub fn run(kit: &Kit, filter: &[&str]) -> Outcome<(Tally, String)> {
    if !present("/usr/bin/linux.uml") || !present("/sbin/modprobe") {
        return Ok((Tally::missing("uml: all", "user-mode-linux or kmod is not installed"), String::new()));
    }
    if !shell::is_root() {
        let why = "not root, so the kernel inside would not be either";
        return Ok((Tally::missing("uml: all", why), String::new()));
    }
    compile_ptrace(kit)?;
    if let Some(why) = fails_to_boot(kit)? {
        return Ok((Tally::missing("uml: all", &why), String::new()));
    }
    let (uid, gid) = end_to_end::make_user()?;
    let init = kit.directory.join("uml-init");
    write_init(&init, &script(kit, uid, gid, filter))?;
    let disk = kit.directory.join("uml-disk");
    shell::run(Command::new("truncate").args(["--size", DISK]).arg(&disk))?;
    shell::run(Command::new("/sbin/mkfs.ext4").args(["-q", "-E", "lazy_itable_init=1"]).arg(&disk))?;
    let mut command = kernel(kit, &init, BOOT_SECONDS_MAX);
    command.arg(format!("mem={MEMORY}")).arg(format!("ubd0={}", disk.display()));
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn()?;
    let mut said = String::new();
    let listen = |line: &str| {
        if is_ours(line) {
            said += &format!("{line}\n");
        }
    };
    let tally = end_to_end::tally(child, 2, Duration::from_secs(BOOT_SECONDS_MAX.into()), listen)?;
    Ok((tally.under("uml"), said))
}

/// Compiles what lets the kernel run on processors whose registers are more than it knows (`uml/ptrace.c`).
fn compile_ptrace(kit: &Kit) -> Outcome {
    let source = kit.directory.join("ptrace.c");
    fs::write(&source, include_str!("uml/ptrace.c"))?;
    shell::run(Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(ptrace(kit)).arg(source))
}

/// Where [`compile_ptrace`] puts it.
fn ptrace(kit: &Kit) -> PathBuf {
    kit.directory.join("ptrace.so")
}

/// Why a kernel does not run as a process here: sandboxes may deny it ptrace, or memory to execute from. A boot that does
/// nothing tells, and what the kernel said last is the reason.
fn fails_to_boot(kit: &Kit) -> Outcome<Option<String>> {
    let init = kit.directory.join("uml-probe");
    write_init(&init, &PROBE.replace("@BOOTED@", BOOTED))?;
    let output = kernel(kit, &init, PROBE_SECONDS_MAX).arg("mem=64M").output()?;
    Ok(why_not_booted(&[output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned())))
}

/// The reason in what a kernel said on standard output and error, if its process 1 did not run.
fn why_not_booted(said: &[String; 2]) -> Option<String> {
    let lines = || said.iter().flat_map(|said| said.lines()).map(str::trim).filter(|line| !line.is_empty());
    match lines().any(|line| line.contains(BOOTED)) {
        true => None,
        false => {
            Some(format!("user-mode Linux does not boot here: {}", lines().next_back().unwrap_or("it said nothing")))
        }
    }
}

/// The kernel with the host's tree as its root, read-only, and its console on standard output, ended after `seconds`.
fn kernel(kit: &Kit, init: &Path, seconds: u32) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=10").arg(seconds.to_string()).arg("/usr/bin/linux.uml");
    command.args(["rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null", "con0=null,fd:1", "umid=uml"]);
    command.arg(format!("uml_dir={}", kit.directory.display())).arg(format!("init={}", init.display()));
    command.env("LD_PRELOAD", ptrace(kit)).stdin(Stdio::null());
    command
}

fn write_init(path: &Path, script: &str) -> Outcome {
    fs::write(path, script)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Lines of the test program, between those of the kernel.
fn is_ours(line: &str) -> bool {
    ["ok ", "FAILED ", "skipped (", "    ", "uml: "].iter().any(|start| line.starts_with(start))
}

/// What runs as process 1 inside.
fn script(kit: &Kit, uid: u32, gid: u32, filter: &[&str]) -> String {
    let quoted: String = filter.iter().map(|word| format!(" '{}'", word.replace('\'', ""))).collect();
    INIT.replace("@KIT@", &kit.directory.display().to_string())
        .replace("@UID@", &uid.to_string())
        .replace("@GID@", &gid.to_string())
        .replace("@FILTER@", &quoted)
}

const PROBE: &str = r"#!/bin/sh
# Process 1 of a boot that only tells whether there is one.
exec >/dev/console
echo @BOOTED@
mount -t proc proc /proc
echo o >/proc/sysrq-trigger
sleep 60
";

const INIT: &str = r#"#!/bin/sh
# Process 1 of the virtual machine of `cargo xtask test`. The root file system is the host's, read-only.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
grep -q ' /dev devtmpfs ' /proc/mounts || mount -t devtmpfs devtmpfs /dev || { echo o >/proc/sysrq-trigger; sleep 60; }
exec >/dev/console 2>&1 </dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts /dev/pts
for directory in /dev/shm /run /home /var/lib /var/tmp /root; do mount -t tmpfs -o mode=755 tmpfs $directory; done
# The kit stands below /tmp: keep a way to it while /tmp is covered.
mkdir /run/host && mount --bind / /run/host
mount -t ext4 /dev/ubda /tmp && chmod 1777 /tmp
mkdir -p @KIT@
for file in knarr probe e2e images; do cp -a /run/host@KIT@/$file @KIT@/; done
umount /run/host
chmod 1777 /dev/shm /var/tmp
mkdir -p /run/modules/lib/modules && mount --bind /usr/lib/uml/modules /run/modules/lib/modules
for module in overlay fuse veth bridge loop; do modprobe -d /run/modules $module || echo "uml: no module $module"; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+cpu +io +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
ip link set lo up 2>/dev/null
hostname uml
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root KNARR_E2E_PATIENCE=6 KNARR_E2E_JOBS=1

echo "uml: as root"
mkdir /sys/fs/cgroup/tests
sh -c 'echo $$ >/sys/fs/cgroup/tests/cgroup.procs; exec @KIT@/e2e run @KIT@@FILTER@'

echo "uml: as an ordinary user with a delegated cgroup"
mkdir -p /run/user/@UID@ /home/knarr-test
chown @UID@:@GID@ /run/user/@UID@ /home/knarr-test
chmod 700 /run/user/@UID@
user=/sys/fs/cgroup/user
mkdir $user && echo '+cpu +io +memory +pids' >$user/cgroup.subtree_control
mkdir $user/session $user/session/shell
for directory in $user/session $user/session/shell; do
  chown @UID@:@GID@ $directory $directory/cgroup.procs $directory/cgroup.subtree_control $directory/cgroup.threads
done
sh -c 'echo $$ >/sys/fs/cgroup/user/session/shell/cgroup.procs
  exec setpriv --reuid=@UID@ --regid=@GID@ --init-groups --inh-caps=-all \
    env HOME=/home/knarr-test XDG_RUNTIME_DIR=/run/user/@UID@ @KIT@/e2e run @KIT@@FILTER@' |
  sed -u 's/^\(ok\|FAILED\|skipped (.*)\) /\1 rootless: /'
sync
echo o >/proc/sysrq-trigger
sleep 60
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_did_not_boot_gives_its_last_words_as_the_reason() {
        let said = |out: &str, err: &str| why_not_booted(&[out.to_string(), err.to_string()]);
        assert_eq!(said("\numl: booted\r\nreboot: System halted\n", ""), None);
        let why = said("Checking that ptrace can change system call numbers...", "ptrace: Operation not permitted\n");
        assert_eq!(why.as_deref(), Some("user-mode Linux does not boot here: ptrace: Operation not permitted"));
        assert!(said("", "").is_some_and(|why| why.ends_with("it said nothing")));
    }
}
