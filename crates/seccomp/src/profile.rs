//! The default profile: what a container may ask of the kernel, given its capabilities.
//!
//! The set of calls is Docker's (moby/profiles, which podman and containerd follow): an image that runs there runs here. It is an allow
//! list, so a call of tomorrow is denied until someone has looked at it.
//! Not here: which containers get it (the engine).

use knarr_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator as Operator, LinuxSyscall, LinuxSyscallBuilder,
};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// Address families: crypto of the kernel, a rich source of its bugs, and the hypervisor's, which knows no network namespaces.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`: a namespace made without CAP_SYS_ADMIN would be a user
/// namespace first, and with it all the kernel that only root can reach otherwise.
const CLONE_NEW: u64 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
/// personality(2): Linux, 32 bit, UNAME26 and both, and the question what it is now.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for a process with these capabilities in its bounding set, on this architecture.
pub fn default_profile(capabilities: &[Capability], arch: Arch) -> LinuxSeccomp {
    let mut syscalls = vec![allow(ALWAYS)];
    syscalls.extend(sockets());
    syscalls.extend(PERSONALITIES.map(|value| only("personality", 0, Operator::ScmpCmpEq, value, None)));
    syscalls.extend(BY_ARCH.iter().filter(|(arches, _)| arches.contains(&arch)).map(|(_, names)| allow(names)));
    syscalls.extend(BY_CAPABILITY.iter().filter(|(cap, _)| capabilities.contains(cap)).map(|(_, names)| allow(names)));
    if !capabilities.contains(&Capability::SysAdmin) {
        syscalls.extend(threads_and_no_namespaces(arch));
    }
    LinuxSeccompBuilder::default()
        .default_action(Action::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(architectures(arch))
        .syscalls(syscalls)
        .build()
        .expect("every field has a default")
}

/// The architectures whose programs this one also runs.
fn architectures(native: Arch) -> Vec<Arch> {
    let also: &[Arch] = match native {
        Arch::ScmpArchX86_64 => &[Arch::ScmpArchX86, Arch::ScmpArchX32],
        Arch::ScmpArchAarch64 => &[Arch::ScmpArchArm],
        Arch::ScmpArchMips64 => &[Arch::ScmpArchMips, Arch::ScmpArchMips64n32],
        Arch::ScmpArchMips64n32 => &[Arch::ScmpArchMips, Arch::ScmpArchMips64],
        Arch::ScmpArchMipsel64 => &[Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64n32],
        Arch::ScmpArchMipsel64n32 => &[Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64],
        Arch::ScmpArchS390x => &[Arch::ScmpArchS390],
        _ => &[],
    };
    [&[native], also].concat()
}

/// Every address family but two.
fn sockets() -> [LinuxSyscall; 3] {
    [
        only("socket", 0, Operator::ScmpCmpLt, AF_ALG, None),
        only("socket", 0, Operator::ScmpCmpEq, AF_ALG + 1, None),
        only("socket", 0, Operator::ScmpCmpGt, AF_VSOCK, None),
    ]
}

/// clone(2) without new namespaces; clone3(2) hides its flags behind a pointer, and ENOSYS sends the C library to clone.
fn threads_and_no_namespaces(arch: Arch) -> [LinuxSyscall; 2] {
    // On s390 the first two arguments of clone are swapped.
    let flags = if matches!(arch, Arch::ScmpArchS390 | Arch::ScmpArchS390x) { 1 } else { 0 };
    let clone3 =
        LinuxSyscallBuilder::default().names(["clone3".to_owned()]).action(Action::ScmpActErrno).errno_ret(ENOSYS);
    [
        only("clone", flags, Operator::ScmpCmpMaskedEq, CLONE_NEW, Some(0)),
        clone3.build().expect("every field has a default"),
    ]
}

fn allow(names: &[&str]) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    LinuxSyscallBuilder::default().names(names).action(Action::ScmpActAllow).build().expect("every field has a default")
}

fn only(name: &str, index: usize, op: Operator, value: u64, value_two: Option<u64>) -> LinuxSyscall {
    let arg = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
    let arg = match value_two {
        Some(value_two) => arg.value_two(value_two),
        None => arg,
    };
    let args: Vec<LinuxSeccompArg> = vec![arg.build().expect("every field has a default")];
    let mut syscall = allow(&[name]);
    syscall.set_args(Some(args));
    syscall
}

/// Calls that go with a capability: the kernel asks for it anyway.
#[rustfmt::skip]
const BY_CAPABILITY: &[(Capability, &[&str])] = &[
    (Capability::DacReadSearch, &["open_by_handle_at"]),
    (Capability::SysAdmin, &[
        "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie",
        "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount", "mount_setattr", "move_mount", "open_tree",
        "perf_event_open", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns", "syslog", "umount", "umount2",
        "unshare",
    ]),
    (Capability::SysBoot, &["reboot"]),
    (Capability::SysChroot, &["chroot"]),
    (Capability::SysModule, &["delete_module", "finit_module", "init_module"]),
    (Capability::SysPacct, &["acct"]),
    (Capability::SysPtrace, &["kcmp", "pidfd_getfd", "process_madvise"]),
    (Capability::SysRawio, &["ioperm", "iopl"]),
    (Capability::SysTime, &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    (Capability::SysTtyConfig, &["vhangup"]),
    (Capability::SysNice, &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (Capability::Syslog, &["syslog"]),
    (Capability::Bpf, &["bpf"]),
    (Capability::Perfmon, &["perf_event_open"]),
];

/// Calls that only make sense on some architectures.
#[rustfmt::skip]
const BY_ARCH: &[(&[Arch], &[&str])] = &[
    (&[Arch::ScmpArchPpc64le], &["swapcontext", "sync_file_range2"]),
    (&[Arch::ScmpArchArm, Arch::ScmpArchAarch64], &[
        "arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2",
    ]),
    (&[Arch::ScmpArchX86_64, Arch::ScmpArchX32], &["arch_prctl"]),
    (&[Arch::ScmpArchX86_64, Arch::ScmpArchX32, Arch::ScmpArchX86], &["modify_ldt"]),
    (&[Arch::ScmpArchS390, Arch::ScmpArchS390x], &["s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr"]),
    (&[Arch::ScmpArchRiscv64], &["riscv_flush_icache"]),
];

/// Calls without privilege, and ptrace(2) and its kin, which cannot be used to escape a filter since Linux 4.8.
#[rustfmt::skip]
const ALWAYS: &[&str] = &[
    "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "bind", "brk", "cachestat", "capget",
    "capset", "chdir", "chmod", "chown", "chown32", "clock_adjtime", "clock_adjtime64", "clock_getres",
    "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "close",
    "close_range", "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
    "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd",
    "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fadvise64_64",
    "fallocate", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat",
    "fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat",
    "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futex", "futex_requeue",
    "futex_time64", "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_robust_list", "get_thread_area",
    "getcpu", "getcwd", "getdents", "getdents64", "getegid", "getegid32", "geteuid", "geteuid32", "getgid",
    "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid",
    "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage",
    "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32", "getxattr", "getxattrat",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy",
    "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "ioctl", "ioprio_get",
    "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
    "lchown32", "lgetxattr", "link", "linkat", "listen", "listmount", "listxattr", "listxattrat", "llistxattr",
    "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "madvise", "map_shadow_stack", "membarrier",
    "memfd_create", "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall",
    "mmap", "mmap2", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
    "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd",
    "msync", "munlock", "munlockall", "munmap", "name_to_handle_at", "nanosleep", "newfstatat", "open", "openat",
    "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free",
    "pkey_mprotect", "poll", "ppoll", "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "prlimit64",
    "process_mrelease", "process_vm_readv", "process_vm_writev", "pselect6", "pselect6_time64", "ptrace", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg",
    "recvmmsg_time64", "recvmsg", "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat",
    "renameat2", "restart_syscall", "riscv_hwprobe", "rmdir", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
    "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select",
    "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send", "sendfile", "sendfile64", "sendmmsg",
    "sendmsg", "sendto", "set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsgid32",
    "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setitimer", "setpgid", "setpriority",
    "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
    "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt",
    "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4", "sigprocmask", "sigreturn", "socketcall",
    "socketpair", "splice", "stat", "stat64", "statfs", "statfs64", "statmount", "statx", "symlink", "symlinkat",
    "sync", "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
    "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times", "tkill", "truncate",
    "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat", "uretprobe", "utime", "utimensat",
    "utimensat_time64", "utimes", "vfork", "vmsplice", "wait4", "waitid", "waitpid", "write", "writev",
];
