//! Decisions of compiled programs, seen by running them.

mod corpus;
mod differential;
mod machine;

use knarr_spec::runtime::{Arch, Capability, LinuxSeccomp};

use crate::{Error, arch, compile, default_profile, table};
use machine::{Call, run};

const ALLOW: u32 = 0x7fff_0000;
const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;
const LOG: u32 = 0x7ffc_0000;
const TRAP: u32 = 0x0003_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}
const EPERM: u32 = errno(1);
const ENOSYS: u32 = errno(38);

fn profile(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// A profile with these `syscalls` over a default of EPERM, for all that x86_64 runs.
fn listing(syscalls: &str) -> LinuxSeccomp {
    profile(&format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[{syscalls}]}}"#
    ))
}

fn number(arch: Arch, name: &str) -> u32 {
    arch::find(arch)
        .unwrap()
        .number(&table::SYSCALLS[table::position(name).unwrap()])
        .unwrap_or_else(|| panic!("{arch} has no {name}"))
}

fn call(arch: Arch, nr: u32, args: &[u64]) -> Call {
    let abi = arch::find(arch).unwrap();
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    Call { nr, arch: abi.audit(), args: six, big_endian: abi.big_endian }
}

fn answer(profile: &LinuxSeccomp, native: Arch, on: Arch, nr: u32, args: &[u64]) -> u32 {
    run(&compile(profile, native).unwrap().instructions, &call(on, nr, args)).0
}

/// What an x86_64 kernel answers to `name(args)`.
fn check(profile: &LinuxSeccomp, name: &str, args: &[u64], expect: u32) {
    let x86_64 = Arch::ScmpArchX86_64;
    let got = answer(profile, x86_64, x86_64, number(x86_64, name), args);
    assert_eq!(got, expect, "{name}{args:x?}: {got:#x} instead of {expect:#x}");
}

fn check_error(json: &str, expect: Error) {
    assert_eq!(compile(&profile(json), Arch::ScmpArchX86_64).unwrap_err(), expect);
}

/// A rule about `ioctl` with one test of its second argument.
fn ioctl(op: &str, value: u64, value_two: u64) -> LinuxSeccomp {
    listing(&format!(
        r#"{{"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[{{"index":1,"value":{value},"valueTwo":{value_two},"op":"SCMP_CMP_{op}"}}]}}"#
    ))
}

fn check_op(op: &str, value: u64, value_two: u64, yes: &[u64], no: &[u64]) {
    let profile = ioctl(op, value, value_two);
    yes.iter().for_each(|arg| check(&profile, "ioctl", &[7, *arg], ALLOW));
    no.iter().for_each(|arg| check(&profile, "ioctl", &[7, *arg], EPERM));
}

const BIG: u64 = 0x1_0000_0005;

#[test]
fn an_empty_profile_answers_its_default() {
    check(&profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), "read", &[], ALLOW);
    check(&profile(r#"{"defaultAction":"SCMP_ACT_KILL_PROCESS"}"#), "read", &[], KILL_PROCESS);
    check(&profile(r#"{"defaultAction":"SCMP_ACT_KILL"}"#), "read", &[], KILL_THREAD);
    check(&profile(r#"{"defaultAction":"SCMP_ACT_TRAP"}"#), "read", &[], TRAP);
    check(&profile(r#"{"defaultAction":"SCMP_ACT_LOG"}"#), "read", &[], LOG);
}

#[test]
fn errno_is_eperm_unless_said_otherwise() {
    check(&profile(r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#), "read", &[], EPERM);
    check(&profile(r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13}"#), "read", &[], errno(13));
    let syscalls = r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":5}"#;
    check(&listing(syscalls), "read", &[], errno(5));
}

#[test]
fn trace_carries_its_data() {
    check(&listing(r#"{"names":["read"],"action":"SCMP_ACT_TRACE","errnoRet":7}"#), "read", &[], 0x7ff0_0007);
}

#[test]
fn a_listed_call_is_allowed_and_its_neighbours_are_not() {
    let profile = listing(r#"{"names":["write","sched_yield"],"action":"SCMP_ACT_ALLOW"}"#);
    check(&profile, "write", &[], ALLOW);
    check(&profile, "sched_yield", &[], ALLOW);
    check(&profile, "read", &[], EPERM);
    check(&profile, "open", &[], EPERM);
    check(&profile, "select", &[], EPERM);
}

#[test]
fn equal_compares_all_64_bits() {
    check_op("EQ", BIG, 0, &[BIG], &[5, BIG + 1, BIG - 1, BIG + (1 << 33), 0]);
}

#[test]
fn not_equal_compares_all_64_bits() {
    check_op("NE", BIG, 0, &[5, BIG + 1, 0, u64::MAX], &[BIG]);
}

#[test]
fn less_compares_all_64_bits() {
    check_op("LT", BIG, 0, &[0, 5, 6, 0xffff_ffff, BIG - 1], &[BIG, BIG + 1, 0x2_0000_0000, u64::MAX]);
}

#[test]
fn less_or_equal_compares_all_64_bits() {
    check_op("LE", BIG, 0, &[0, 6, BIG - 1, BIG], &[BIG + 1, 0x2_0000_0000, u64::MAX]);
}

#[test]
fn greater_compares_all_64_bits() {
    check_op("GT", BIG, 0, &[BIG + 1, 0x2_0000_0000, u64::MAX], &[0, 6, 0xffff_ffff, BIG - 1, BIG]);
}

#[test]
fn greater_or_equal_compares_all_64_bits() {
    check_op("GE", BIG, 0, &[BIG, BIG + 1, 0x2_0000_0000, u64::MAX], &[0, 6, 0xffff_ffff, BIG - 1]);
}

#[test]
fn masked_equal_looks_at_the_bits_of_the_mask() {
    let high = 0xff_0000_00f0;
    check_op("MASKED_EQ", high, 0x12_0000_0030, &[0x12_0000_0030, 0x12_ffff_ff3f], &[0x13_0000_0030, 0x12_0000_0020]);
    check_op("MASKED_EQ", 0xf0, 0x30, &[0x30, 0xffff_ffff_ffff_ff3f], &[0x40, 0]);
    check_op("MASKED_EQ", 0, 0, &[0, u64::MAX], &[]);
    check_op("MASKED_EQ", 0, 1, &[], &[0, 1]);
}

#[test]
fn tests_of_several_arguments_must_all_hold() {
    let profile = listing(
        r#"{"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":5,"value":9,"op":"SCMP_CMP_GT"}]}"#,
    );
    check(&profile, "ioctl", &[1, 0, 0, 0, 0, 10], ALLOW);
    check(&profile, "ioctl", &[1, 0, 0, 0, 0, 9], EPERM);
    check(&profile, "ioctl", &[2, 0, 0, 0, 0, 10], EPERM);
}

#[test]
fn several_tests_of_one_argument_are_alternatives_as_in_runc() {
    let profile = listing(
        r#"{"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}"#,
    );
    check(&profile, "ioctl", &[1], ALLOW);
    check(&profile, "ioctl", &[2], ALLOW);
    check(&profile, "ioctl", &[3], EPERM);
}

#[test]
fn the_first_rule_without_arguments_hides_every_other() {
    let profile = listing(
        r#"{"names":["ioctl"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
           {"names":["ioctl"],"action":"SCMP_ACT_ALLOW"},{"names":["ioctl"],"action":"SCMP_ACT_KILL"}"#,
    );
    check(&profile, "ioctl", &[1], ALLOW);
}

#[test]
fn a_rule_that_says_what_the_default_says_hides_nothing() {
    let profile =
        listing(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO"},{"names":["read"],"action":"SCMP_ACT_ALLOW"}"#);
    check(&profile, "read", &[], ALLOW);
}

#[test]
fn among_rules_with_arguments_the_first_match_wins() {
    let profile = listing(
        r#"{"names":["ioctl"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":5,"op":"SCMP_CMP_GE"}]},
           {"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":3,"op":"SCMP_CMP_GE"}]}"#,
    );
    check(&profile, "ioctl", &[6], LOG);
    check(&profile, "ioctl", &[4], ALLOW);
    check(&profile, "ioctl", &[2], EPERM);
}

#[test]
fn a_call_newer_than_the_newest_named_does_not_exist() {
    let profile = listing(r#"{"names":["openat2"],"action":"SCMP_ACT_ALLOW"}"#);
    check(&profile, "openat2", &[], ALLOW);
    check(&profile, "pidfd_getfd", &[], ENOSYS);
    check(&profile, "close_range", &[], EPERM);
    let x86_64 = Arch::ScmpArchX86_64;
    assert_eq!(answer(&profile, x86_64, x86_64, 900, &[]), ENOSYS);
    assert_eq!(answer(&profile, x86_64, Arch::ScmpArchX32, 0x4000_0000 + 900, &[]), ENOSYS);
    assert_eq!(answer(&profile, x86_64, Arch::ScmpArchX86, 900, &[]), ENOSYS);
}

#[test]
fn an_allowing_default_needs_no_enosys() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL"}]}"#;
    check(&profile(json), "openat2", &[], ALLOW);
    check(&profile(json), "read", &[], KILL_THREAD);
}

#[test]
fn number_zero_of_s390_does_not_exist() {
    let profile = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_S390X"],"syscalls":[{"names":["exit","openat2"],"action":"SCMP_ACT_ALLOW"}]}"#,
    );
    let s390x = Arch::ScmpArchS390x;
    assert_eq!(answer(&profile, s390x, s390x, 0, &[]), ENOSYS);
    assert_eq!(answer(&profile, s390x, s390x, 1, &[]), ALLOW);
    assert_eq!(answer(&profile, s390x, s390x, 2, &[]), EPERM);
}

#[test]
fn an_architecture_that_is_not_listed_kills() {
    let profile = profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    let x86_64 = Arch::ScmpArchX86_64;
    assert_eq!(answer(&profile, x86_64, Arch::ScmpArchX86, 3, &[]), KILL_THREAD);
    assert_eq!(answer(&profile, x86_64, Arch::ScmpArchX32, 0x4000_0003, &[]), KILL_THREAD);
    assert_eq!(answer(&profile, x86_64, x86_64, u32::MAX, &[]), ALLOW, "a tracer skips calls with number -1");
}

#[test]
fn each_architecture_has_its_own_numbers() {
    let profile = listing(r#"{"names":["write"],"action":"SCMP_ACT_ALLOW"}"#);
    let x86_64 = Arch::ScmpArchX86_64;
    assert_eq!(answer(&profile, x86_64, Arch::ScmpArchX86, 4, &[]), ALLOW);
    assert_eq!(answer(&profile, x86_64, Arch::ScmpArchX86, 1, &[]), EPERM);
    assert_eq!(answer(&profile, x86_64, Arch::ScmpArchX32, 0x4000_0001, &[]), ALLOW);
    assert_eq!(answer(&profile, x86_64, x86_64, 1, &[]), ALLOW);
}

#[test]
fn arguments_of_big_endian_machines_are_read_high_word_first() {
    let profile = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":4294967301,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    for arch in [Arch::ScmpArchS390x, Arch::ScmpArchPpc64, Arch::ScmpArchMips64, Arch::ScmpArchParisc64] {
        let nr = number(arch, "ioctl");
        assert_eq!(answer(&profile, arch, arch, nr, &[7, BIG]), ALLOW, "{arch}");
        assert_eq!(answer(&profile, arch, arch, nr, &[7, 5]), EPERM, "{arch}");
    }
}

#[test]
fn a_rule_about_socket_holds_through_socketcall() {
    let profile = profile(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
            {"names":["connect"],"action":"SCMP_ACT_ERRNO"},
            {"names":["socket"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":40,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    let ask = |nr, args: &[u64]| answer(&profile, Arch::ScmpArchX86_64, Arch::ScmpArchX86, nr, args);
    assert_eq!(ask(102, &[3]), EPERM, "socketcall(SYS_CONNECT)");
    assert_eq!(ask(102, &[1]), EPERM, "socketcall(SYS_SOCKET): its family cannot be seen, so the stricter answer");
    assert_eq!(ask(102, &[2]), ALLOW, "socketcall(SYS_BIND)");
    assert_eq!(ask(359, &[40]), EPERM);
    assert_eq!(ask(359, &[2]), ALLOW);
}

#[test]
fn all_23_architectures_compile_and_answer() {
    let all = arch::all();
    assert_eq!(all.len(), 23);
    for native in all {
        let program = compile(&default_profile(&[], native), native).unwrap();
        let ask = |name| run(&program.instructions, &call(native, number(native, name), &[0; 6])).0;
        assert_eq!(ask("read"), ALLOW, "{native}");
        assert_eq!(ask("mount"), EPERM, "{native}");
    }
}

#[test]
fn the_table_agrees_with_the_headers_this_test_was_compiled_with() {
    for (name, nr) in [
        ("read", libc::SYS_read),
        ("clone3", libc::SYS_clone3),
        ("openat2", libc::SYS_openat2),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("futex_waitv", libc::SYS_futex_waitv),
        ("rt_sigreturn", libc::SYS_rt_sigreturn),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("statx", libc::SYS_statx),
    ] {
        assert_eq!(i64::from(number(crate::native().unwrap(), name)), nr, "{name}");
    }
    assert!(table::SYSCALLS.is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn unknown_names_are_left_out_and_told() {
    let program =
        compile(&listing(r#"{"names":["read","frobnicate"],"action":"SCMP_ACT_ALLOW"}"#), Arch::ScmpArchX86_64);
    assert_eq!(program.unwrap().unknown, ["frobnicate"]);
}

#[test]
fn notify_makes_a_listener() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/agent","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],"syscalls":[{"names":["mknod"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    let program = compile(&profile(json), Arch::ScmpArchX86_64).unwrap();
    assert!(program.listener);
    assert_eq!(program.flags, 8 | 32);
    check(&profile(json), "mknod", &[], NOTIFY);
}

#[test]
fn flags_are_passed_on_and_spec_allow_is_the_default() {
    let flags = |json: &str| compile(&profile(json), Arch::ScmpArchX86_64).unwrap().flags;
    assert_eq!(flags(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), 4);
    assert_eq!(flags(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":[]}"#), 0);
    assert_eq!(
        flags(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"]}"#),
        2
    );
    let without_listener = r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#;
    assert_eq!(flags(without_listener), 0);
}

#[test]
fn wrong_documents_are_refused() {
    use knarr_spec::runtime::LinuxSeccompAction::{ScmpActAllow, ScmpActKill};
    check_error(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, Error::NotifyDefault);
    check_error(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        Error::NotifyWrite { rule: 0 },
    );
    check_error(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mknod"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        Error::NotifyUnheard,
    );
    check_error(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#,
        Error::ErrnoUnused { place: "default".into(), action: ScmpActAllow },
    );
    check_error(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","errnoRet":1}]}"#,
        Error::ErrnoUnused { place: "syscalls[0]".into(), action: ScmpActKill },
    );
    check_error(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#,
        Error::ErrnoRange { place: "default".into(), value: 4096 },
    );
    check_error(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
        Error::ArgumentIndex { rule: 0, index: 6 },
    );
    check_error(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_S390X"]}"#,
        Error::Architecture { arch: Arch::ScmpArchS390x },
    );
}

#[test]
fn a_program_beyond_the_kernels_limit_is_refused() {
    let rule = |value: u64| {
        format!(
            r#"{{"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[{{"index":1,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#
        )
    };
    let rules: Vec<String> = (0..2000).map(rule).collect();
    let error = compile(&listing(&rules.join(",")), Arch::ScmpArchX86_64).unwrap_err();
    assert!(matches!(error, Error::Size { instructions: 4097.. }), "{error}");
    assert!(error.hint().is_some());
    // Long, but not too long: jumps beyond 255 instructions.
    let rules = listing(&rules[..300].join(","));
    for value in [0, 150, 299] {
        check(&rules, "ioctl", &[0, value], ALLOW);
    }
    check(&rules, "ioctl", &[0, 300], EPERM);
}

#[test]
fn the_default_profile_follows_the_capabilities() {
    let plain = default_profile(&[], Arch::ScmpArchX86_64);
    check(&plain, "clone", &[0x0001_0f00], ALLOW);
    check(&plain, "clone", &[0x1000_0000], EPERM);
    check(&plain, "clone3", &[], ENOSYS);
    check(&plain, "unshare", &[], EPERM);
    check(&plain, "chroot", &[], EPERM);
    check(&plain, "ptrace", &[], ALLOW);
    check(&plain, "personality", &[0xffff_ffff], ALLOW);
    check(&plain, "personality", &[0x0040_0000], EPERM);
    for (family, expect) in [(1, ALLOW), (2, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (44, ALLOW)] {
        check(&plain, "socket", &[family], expect);
    }
    let admin = default_profile(&[Capability::SysAdmin, Capability::SysChroot], Arch::ScmpArchX86_64);
    for name in ["clone", "clone3", "unshare", "mount", "chroot"] {
        check(&admin, name, &[0x1000_0000], ALLOW);
    }
    check(&admin, "kexec_load", &[], EPERM);
}

/// The numbers the start and the run of every container depend on; `--nocapture` prints them.
#[test]
fn the_default_profile_is_short_and_answers_in_few_steps() {
    let program = compile(&default_profile(&[], Arch::ScmpArchX86_64), Arch::ScmpArchX86_64).unwrap();
    let length = program.instructions.len();
    let steps =
        |name| run(&program.instructions, &call(Arch::ScmpArchX86_64, number(Arch::ScmpArchX86_64, name), &[])).1;
    let most = ["read", "write", "openat", "futex", "mmap", "epoll_wait", "clone3", "statx"].map(steps);
    println!("{length} instructions; executed: {most:?}");
    assert!(length < 600, "{length}");
    assert!(most.iter().all(|steps| *steps <= 16), "{most:?}");
    assert!(program.unknown.is_empty(), "{:?}", program.unknown);
}
