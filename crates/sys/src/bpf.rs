//! `bpf(2)`, as far as device filters of control groups need it.
//!
//! The file has the union of the kernel's `bpf_attr` spelled out once per command: short attributes are zero-extended by the kernel.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Call, Errno, Error, Fd, Result, check};

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;
/// `BPF_CGROUP_MAX_PROGS`: what the kernel attaches to one cgroup at most.
const PROGRAMS_MAX: usize = 64;
/// What the checker writes about a refused program.
const LOG_BYTES: usize = 4096;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<A>(command: libc::c_long, attributes: &mut A) -> std::result::Result<libc::c_long, Errno> {
    // SAFETY: the kernel reads and writes `size_of::<A>()` bytes there; pointers inside are to memory that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>()) })
}

fn fd(number: libc::c_long) -> OwnedFd {
    // SAFETY: the commands that come here answer with a descriptor that is ours alone, close-on-exec.
    unsafe { OwnedFd::from_raw_fd(number as i32) }
}

/// Loads a program of type `CGROUP_DEVICE`; each instruction is a `struct bpf_insn` in memory order. When the kernel's checker
/// refuses it, the error has its last words.
pub fn load_device_program(instructions: &[u64]) -> Result<OwnedFd> {
    let mut attributes = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    bpf(PROG_LOAD, &mut attributes).map(fd).map_err(|errno| {
        let mut log = [0u8; LOG_BYTES];
        (attributes.log_level, attributes.log_size, attributes.log_buf) =
            (1, LOG_BYTES as u32, log.as_mut_ptr() as u64);
        let _ = bpf(PROG_LOAD, &mut attributes).map(fd);
        let log = String::from_utf8_lossy(&log);
        let said = log.trim_matches(['\0', '\n']).lines().last().unwrap_or_default();
        Error::new(
            format!(
                "bpf(BPF_PROG_LOAD, {{BPF_PROG_TYPE_CGROUP_DEVICE, insn_cnt={}}} /* {said} */)",
                instructions.len()
            ),
            errno,
        )
    })
}

/// Attaches a device program beside others, or in the place of `replace` without a moment in between (kernel 5.6).
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd, replace: Option<BorrowedFd<'_>>) -> Result<()> {
    let (cgroup, program) = (cgroup.as_fd(), program.as_fd());
    let mut attributes = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI | if replace.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    bpf(PROG_ATTACH, &mut attributes)
        .map(drop)
        .call(|| format!("bpf(BPF_PROG_ATTACH, {{{}, BPF_CGROUP_DEVICE}})", Fd(cgroup)))
}

/// Detaches a device program.
pub fn detach_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let (cgroup, program) = (cgroup.as_fd(), program.as_fd());
    let mut attributes = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(PROG_DETACH, &mut attributes)
        .map(drop)
        .call(|| format!("bpf(BPF_PROG_DETACH, {{{}, BPF_CGROUP_DEVICE}})", Fd(cgroup)))
}

/// The device programs attached to this cgroup itself.
pub fn device_programs(cgroup: impl AsFd) -> Result<Vec<OwnedFd>> {
    let cgroup = cgroup.as_fd();
    let mut ids = [0u32; PROGRAMS_MAX];
    let mut attributes = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: PROGRAMS_MAX as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut attributes).call(|| format!("bpf(BPF_PROG_QUERY, {{{}, BPF_CGROUP_DEVICE}})", Fd(cgroup)))?;
    ids[..attributes.prog_cnt as usize].iter().map(|id| by_id(*id)).collect()
}

fn by_id(id: u32) -> Result<OwnedFd> {
    let mut attributes = ById { id, ..ById::default() };
    bpf(PROG_GET_FD_BY_ID, &mut attributes).map(fd).call(|| format!("bpf(BPF_PROG_GET_FD_BY_ID, {{{id}}})"))
}
