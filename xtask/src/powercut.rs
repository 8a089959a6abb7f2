//! Power cuts: a kernel that runs as a process (user-mode Linux) works on a disk image and is killed at a random moment; after
//! the next boot nothing that was done is lost and the store is whole.
//!
//! Law: what the guest says is done was said after the command had ended, so it must be there after the cut. Whatever the
//! guest's memory held and had not given to its disk is gone, as with a real cut.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::end_to_end::{Kit, present};
use crate::{Outcome, shell};

/// Cuts where no number is given.
const CUTS: u32 = 10;

/// The disk: room for some images, small enough to be made anew in a moment.
const DISK: &str = "700M";

/// Longest time from boot to the end of the checks; the kernel is killed after it, and the run fails.
const CHECK_SECONDS_MAX: u64 = 120;

/// Longest time the guest works before its power is cut.
const WORK_MS_MAX: u64 = 4000;

/// Runs so many cuts.
pub fn run(words: &[&str]) -> Outcome {
    let cuts = words.first().map(|text| text.parse()).transpose()?.unwrap_or(CUTS);
    if !present("/usr/bin/linux.uml") || !present("/sbin/mkfs.ext4") || !shell::is_root() {
        println!("skipped: power cuts need root, user-mode-linux and e2fsprogs");
        return Ok(());
    }
    let kit = Kit::stage()?;
    let dir = &kit.directory;
    let disk = dir.join("power-disk");
    shell::run(Command::new("truncate").args(["--size", DISK]).arg(&disk))?;
    shell::run(Command::new("/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&disk))?;
    let init = dir.join("power-init");
    let mut seed = u64::from(std::process::id()) | 1;
    let mut expected: BTreeMap<String, bool> = BTreeMap::new();
    for cut in 0..cuts {
        fs::write(&init, script(dir, cut, &expected))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let (child, lines) = boot(dir, &disk, &init)?;
        let heard = Guest { child, lines }.live(&mut seed, &mut expected)?;
        println!("cut {cut}: {heard}");
    }
    println!("{cuts} power cuts, {} names kept or gone as said", expected.len());
    Ok(())
}

fn boot(dir: &Path, disk: &Path, init: &Path) -> Outcome<(Child, Receiver<String>)> {
    let mut command = Command::new("setsid");
    command.arg("/usr/bin/linux.uml").args(["mem=512M", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null"]);
    command.arg("con0=null,fd:1").arg(format!("uml_dir={}", dir.display())).arg("umid=power");
    command.arg(format!("ubd0={}", disk.display())).arg(format!("init={}", init.display()));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let out = child.stdout.take().ok_or("no console")?;
    let (say, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            if say.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    Ok((child, lines))
}

/// A booted kernel.
struct Guest {
    child: Child,
    lines: Receiver<String>,
}

impl Guest {
    /// Listens to the checks, lets it work for a moment, and cuts the power. What it said in a word.
    fn live(mut self, seed: &mut u64, expected: &mut BTreeMap<String, bool>) -> Outcome<String> {
        let checks = self.listen(Duration::from_secs(CHECK_SECONDS_MAX), |line| line == "READY");
        let (ready, said) = checks;
        let trouble = said.iter().find(|line| line.starts_with("LOST") || line.starts_with("BAD"));
        if let Some(trouble) = trouble {
            self.cut();
            return Err(format!("after a power cut: {trouble}\n{}", said.join("\n")).into());
        }
        if !ready {
            self.cut();
            return Err(format!("the guest did not come up\n{}", said.join("\n")).into());
        }
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        let (_, said) = self.listen(Duration::from_millis(*seed % WORK_MS_MAX), |_| false);
        self.cut();
        let mut done = 0;
        for line in said.iter().chain(&self.lines.try_iter().collect::<Vec<_>>()) {
            match line.split_once(' ') {
                Some(("TRY", name)) => drop(expected.remove(name)),
                Some(("DONE", name)) => drop(expected.insert(name.to_owned(), true)),
                Some(("GONE", name)) => drop(expected.insert(name.to_owned(), false)),
                _ => continue,
            }
            done += 1;
        }
        Ok(format!("{done} lines of work, {} names to be kept or gone", expected.len()))
    }

    /// What it says until `enough`, or until the time is up.
    fn listen(&self, patience: Duration, enough: impl Fn(&str) -> bool) -> (bool, Vec<String>) {
        let end = Instant::now() + patience;
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if enough(&line) => return (true, said),
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return (false, said),
            }
        }
    }

    /// The kernel and all its threads and processes at once: they are a session of their own.
    fn cut(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(dir: &Path, cut: u32, expected: &BTreeMap<String, bool>) -> String {
    let names = |there: bool| {
        let names = expected.iter().filter(|(_, is)| **is == there).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    INIT.replace("@KIT@", &dir.display().to_string())
        .replace("@CUT@", &cut.to_string())
        .replace("@THERE@", &names(true))
        .replace("@GONE@", &names(false))
}

const INIT: &str = r#"#!/bin/sh
# Process 1 of the virtual machine of `cargo xtask powercut`. The root file system is the host's, read-only.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
grep -q ' /dev devtmpfs ' /proc/mounts || mount -t devtmpfs devtmpfs /dev || { echo o >/proc/sysrq-trigger; sleep 60; }
exec >/dev/console 2>&1 </dev/null
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/disk && mount -t ext4 /dev/ubda /run/disk || echo "BAD disk"
k() { @KIT@/knarr --root /run/disk/state --runroot /run/knarr "$@" >/run/out 2>&1; }
if [ -d /run/disk/state ]; then
  k system check --contents || { echo "BAD check"; cat /run/out; }
  for name in @THERE@; do k image inspect $name || { echo "LOST $name"; cat /run/out; }; done
  for name in @GONE@; do k image inspect $name && echo "LOST removal of $name"; done
  k images || { echo "BAD images"; cat /run/out; }
fi
echo READY
n=0
while :; do
  n=$((n + 1))
  k load -q -i @KIT@/images/probe.tar || { echo "BAD load"; cat /run/out; }
  echo "TRY a@CUT@-$n:v1"; k tag probe a@CUT@-$n:v1 && echo "DONE a@CUT@-$n:v1"
  echo "TRY b@CUT@-$n:v1"; k image mutate --label n=$n -t b@CUT@-$n:v1 probe && echo "DONE b@CUT@-$n:v1"
  k load -q -i @KIT@/images/layers.tar
  echo "TRY c@CUT@-$n:v1"; k image flatten -t c@CUT@-$n:v1 layers && echo "DONE c@CUT@-$n:v1"
  k rmi -f layers
  old=$((n - 2))
  if [ $old -gt 0 ]; then
    for name in a b c; do
      echo "TRY $name@CUT@-$old:v1"; k rmi -f $name@CUT@-$old:v1 && echo "GONE $name@CUT@-$old:v1"
    done
  fi
  k system prune -f
done
"#;
