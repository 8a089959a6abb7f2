//! Our programs beside libseccomp's, both run on random calls.
#![no_main]

#[path = "../../crates/seccomp/src/tests/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../checks/seccomp.rs"]
mod seccomp;

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;

use knarr_spec::runtime::{Arch, LinuxSeccomp};
use seccomp::{ARCHES, Asked, Case, NAMES};

#[repr(C)]
struct ArgCmp {
    arg: c_uint,
    op: c_int,
    a: u64,
    b: u64,
}

#[link(name = "seccomp")]
unsafe extern "C" {
    fn seccomp_init(default: u32) -> *mut c_void;
    fn seccomp_release(context: *mut c_void);
    fn seccomp_arch_add(context: *mut c_void, arch: u32) -> c_int;
    fn seccomp_rule_add_array(context: *mut c_void, action: u32, call: c_int, count: c_uint, args: *const ArgCmp) -> c_int;
    fn seccomp_export_bpf(context: *mut c_void, fd: c_int) -> c_int;
    fn seccomp_syscall_resolve_name(name: *const c_char) -> c_int;
    fn seccomp_syscall_resolve_name_arch(arch: u32, name: *const c_char) -> c_int;
}

/// `SCMP_ARCH_*`, in the order of [`ARCHES`], and the kernel's numbers for them.
const TOKENS: [u32; 3] = [0xc000_003e, 0x4000_0003, 0x4000_003e];
const AUDIT: [u32; 3] = [0xc000_003e, 0x4000_0003, 0xc000_003e];
const ENOSYS: u32 = 0x0005_0000 | 38;

fn action(name: &str, errno: u32) -> u32 {
    match name {
        "ALLOW" => 0x7fff_0000,
        "LOG" => 0x7ffc_0000,
        "TRAP" => 0x0003_0000,
        "ERRNO" => 0x0005_0000 | errno,
        _ => 0,
    }
}

fn number(arch: usize, name: usize) -> u32 {
    let name = CString::new(NAMES[name]).expect("no NUL");
    // SAFETY: the name is a C string.
    unsafe { seccomp_syscall_resolve_name_arch(TOKENS[arch], name.as_ptr()) as u32 }
}

/// libseccomp's program; `None` where it refuses the profile.
fn theirs(case: &Case, out: &mut File) -> Option<Vec<u64>> {
    // SAFETY: the context is used between its making and its release; arrays and strings outlive the calls.
    unsafe {
        let context = seccomp_init(action(case.default, case.errno));
        assert!(!context.is_null());
        for (arch, listed) in TOKENS[1..].iter().zip(case.others) {
            if listed {
                assert_eq!(seccomp_arch_add(context, *arch), 0);
            }
        }
        let mut taken = true;
        for rule in &case.rules {
            let name = CString::new(NAMES[rule.name]).expect("no NUL");
            let args: Vec<ArgCmp> = rule
                .args
                .iter()
                .map(|arg| ArgCmp { arg: arg.index, op: arg.op as c_int + 1, a: arg.value, b: arg.two })
                .collect();
            let call = seccomp_syscall_resolve_name(name.as_ptr());
            let count = args.len() as c_uint;
            taken &= seccomp_rule_add_array(context, action(case.action, case.errno), call, count, args.as_ptr()) == 0;
        }
        out.set_len(0).expect("emptied");
        out.seek(SeekFrom::Start(0)).expect("at the start");
        taken &= seccomp_export_bpf(context, out.as_raw_fd()) == 0;
        seccomp_release(context);
        if !taken {
            return None;
        }
    }
    let mut bytes = Vec::new();
    out.seek(SeekFrom::Start(0)).expect("at the start");
    out.read_to_end(&mut bytes).expect("read");
    Some(bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect())
}

/// libseccomp makes no ENOSYS of its own; runc puts it before the program, as ours has it inside.
fn newer_than_named(call: &machine::Call, asked: &Asked, case: &Case) -> bool {
    let newest = case.rules.iter().map(|rule| number(asked.arch, rule.name)).max();
    case.default != "ALLOW" && newest.is_some_and(|newest| call.nr > newest && newest & 0x3fff_ffff != 0)
}

fn check(bytes: &[u8]) {
    let case = Case::read(bytes);
    let json = case.json();
    let profile: LinuxSeccomp = serde_json::from_str(&json).unwrap_or_else(|why| panic!("{why}: {json}"));
    let mut out = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(format!("/dev/shm/knarr-fuzz-bpf-{}", std::process::id()))
        .expect("a file in /dev/shm");
    let Some(theirs) = theirs(&case, &mut out) else { return };
    let ours = match knarr_seccomp::compile(&profile, Arch::ScmpArchX86_64) {
        Ok(program) => program.instructions,
        Err(why) => panic!("{why}: {json}"),
    };
    for asked in &case.calls {
        let native = asked.arch == 0;
        if !native && !case.others[asked.arch - 1] {
            continue;
        }
        let mask = if ARCHES[asked.arch] == "SCMP_ARCH_X86" { 0xffff_ffff } else { u64::MAX };
        let nr = number(asked.arch, asked.name) + asked.plus;
        let args = asked.args.map(|arg| arg & mask);
        let call = machine::Call { nr, arch: AUDIT[asked.arch], args, big_endian: false };
        let (our, their) = (machine::run(&ours, &call).0, machine::run(&theirs, &call).0);
        let expect = if newer_than_named(&call, asked, &case) { ENOSYS } else { their };
        assert_eq!(our, expect, "{call:x?} of {json}; libseccomp: {their:#x}");
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check(bytes));
