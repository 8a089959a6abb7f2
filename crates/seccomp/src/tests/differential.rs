//! The same random profiles compiled by libseccomp: both programs must answer every call alike.
//!
//! Needs python3 with Debian's `python3-seccomp`; skipped, saying so, where that is missing.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{machine::run, *};

/// Reads one profile per line as JSON, prints one program per line as hexadecimal.
const ORACLE: &str = r#"
import sys, json, os, seccomp
ACTIONS = {"ALLOW": seccomp.ALLOW, "KILL": seccomp.KILL, "LOG": seccomp.LOG, "TRAP": seccomp.TRAP}
OPS = {"NE": seccomp.NE, "LT": seccomp.LT, "LE": seccomp.LE, "EQ": seccomp.EQ, "GE": seccomp.GE, "GT": seccomp.GT, "MASKED_EQ": seccomp.MASKED_EQ}
def action(name, errno):
    return seccomp.ERRNO(1 if errno is None else errno) if name == "ERRNO" else ACTIONS[name]
def arg(a):
    op = OPS[a["op"][9:]]
    return seccomp.Arg(a["index"], op, a["value"], a["valueTwo"]) if op == seccomp.MASKED_EQ else seccomp.Arg(a["index"], op, a["value"])
for line in sys.stdin:
    p = json.loads(line)
    f = seccomp.SyscallFilter(action(p["defaultAction"][9:], p.get("defaultErrnoRet")))
    for arch in p["architectures"]:
        if arch != "SCMP_ARCH_X86_64": f.add_arch({"SCMP_ARCH_X86": seccomp.Arch.X86, "SCMP_ARCH_X32": seccomp.Arch.X32}[arch])
    for s in p["syscalls"]:
        for name in s["names"]:
            f.add_rule(action(s["action"][9:], s.get("errnoRet")), name, *[arg(a) for a in s.get("args", [])])
    with os.fdopen(os.memfd_create("bpf"), "w+b") as out:
        f.export_bpf(out)
        out.seek(0)
        print(out.read().hex())
"#;

/// Known to the oldest libseccomp in use, the same on every architecture of x86; no socket and no System V call among them.
const NAMES: [&str; 24] = [
    "read",
    "write",
    "open",
    "close",
    "stat",
    "poll",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "brk",
    "ioctl",
    "access",
    "pipe",
    "dup",
    "clone",
    "fork",
    "execve",
    "personality",
    "openat",
    "unshare",
    "prlimit64",
    "getrandom",
    "statx",
];
const ARCHES: [Arch; 3] = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
/// Where comparisons go wrong, if they do.
const VALUES: [u64; 10] =
    [0, 1, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0005, u64::MAX];

/// A small generator with a known start: every run tests the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// One rule for each call: where several with arguments overlap, libseccomp 2.5 merges them into a tree that also answers calls
/// none of them is about.
fn random_profile(random: &mut Random) -> String {
    let default = random.of(&["ALLOW", "ERRNO", "KILL"]);
    let action = random.of(if default == "ALLOW" { &["ERRNO", "TRAP"][..] } else { &["ALLOW", "LOG"][..] });
    let arches: Vec<String> =
        ARCHES.iter().filter(|_| random.below(2) == 0).map(|arch| format!("\"{arch}\"")).collect();
    let (bare, tested) = NAMES.split_at(random.below(NAMES.len()));
    let mut rules = vec![];
    for name in bare.iter().filter(|_| random.below(2) == 0) {
        rules.push(format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_{action}"}}"#));
    }
    for name in tested {
        let args = random_args(random);
        rules.push(format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_{action}","args":[{args}]}}"#));
    }
    format!(
        r#"{{"defaultAction":"SCMP_ACT_{default}","architectures":[{}],"syscalls":[{}]}}"#,
        arches.join(","),
        rules.join(",")
    )
}

fn random_args(random: &mut Random) -> String {
    let mut args = vec![];
    for index in 0..3 {
        if random.below(2) == 0 && !(index == 2 && args.is_empty()) {
            continue;
        }
        let op = random.of(&["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]);
        let (value, other) = (random.of(&VALUES), random.of(&VALUES));
        let two = if op == "MASKED_EQ" { other & value } else { 0 };
        args.push(format!(r#"{{"index":{index},"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}"#));
    }
    args.join(",")
}

/// The oracle's programs, or why there are none.
fn oracle(profiles: &[String]) -> Result<Vec<Vec<u64>>, String> {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", ORACLE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("/usr/bin/python3: {error}"))?;
    let mut stdin = child.stdin.take().unwrap();
    let text = profiles.join("\n") + "\n";
    let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    writer.join().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("No module named 'seccomp'") {
        return Err("python3-seccomp is not installed".into());
    }
    assert!(output.status.success(), "{stderr}");
    Ok(String::from_utf8(output.stdout).unwrap().lines().map(program).collect())
}

fn program(hex: &str) -> Vec<u64> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| byte(at + 2 * i)));
    (0..hex.len()).step_by(16).map(word).collect()
}

/// libseccomp makes no ENOSYS of its own; runc puts it before the program, as ours has it inside.
fn newer_than_named(nr: u32, arch: Arch, profile: &LinuxSeccomp) -> bool {
    let names = profile.syscalls().iter().flatten().flat_map(|rule| rule.names());
    let newest = names.map(|name| number(arch, name)).max();
    profile.default_action() != knarr_spec::runtime::LinuxSeccompAction::ScmpActAllow
        && newest.is_some_and(|newest| nr > newest && newest & 0x3fff_ffff != 0)
}

#[test]
fn libseccomp_answers_alike() {
    if crate::native() != Some(Arch::ScmpArchX86_64) {
        return eprintln!("skipped: the random profiles are for x86_64");
    }
    let mut random = Random(2026);
    let profiles: Vec<String> = (0..300).map(|_| random_profile(&mut random)).collect();
    let theirs = match oracle(&profiles) {
        Ok(theirs) => theirs,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    assert_eq!(theirs.len(), profiles.len());
    for (json, theirs) in profiles.iter().zip(&theirs) {
        let profile = profile(json);
        let ours = compile(&profile, Arch::ScmpArchX86_64).unwrap().instructions;
        for _ in 0..400 {
            let arch = random.of(&ARCHES);
            let nr = number(arch, random.of(&NAMES)) + random.below(2) as u32;
            let listed = arch == Arch::ScmpArchX86_64 || profile.architectures().iter().flatten().any(|a| *a == arch);
            let mut args = [0; 6].map(|_| random.of(&VALUES));
            if arch == Arch::ScmpArchX86 {
                args = args.map(|arg| arg & 0xffff_ffff);
            }
            let call = call(arch, nr, &args);
            let (our, their) = (run(&ours, &call).0, run(theirs, &call).0);
            if listed && newer_than_named(nr, arch, &profile) {
                assert_eq!(our, ENOSYS, "{call:x?} {json}");
            } else {
                assert_eq!(our, their, "{call:x?} {json}");
            }
        }
    }
}
