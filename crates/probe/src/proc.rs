//! Parsers for the text of `/proc/self`: pure functions from text to values.
//!
//! Spec: proc_pid_status(5), proc_pid_limits(5), user_namespaces(7).

use std::collections::BTreeMap;

use crate::report::Limit;

/// Capability names in the order of their bits; a bit beyond the table prints as `CAP_<number>`.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Number of capabilities this table knows.
pub(crate) const CAPABILITY_COUNT: usize = CAPABILITIES.len();

/// The `Key:\tvalue` lines of `/proc/self/status`.
pub(crate) struct Status<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Status<'a> {
    pub(crate) fn parse(text: &'a str) -> Status<'a> {
        Status(text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k, v.trim())).collect())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }

    /// All numbers of a line such as `Uid: 0 0 0 0`.
    pub(crate) fn numbers<T: std::str::FromStr>(&self, key: &str) -> Vec<T> {
        self.text(key).unwrap_or("").split_whitespace().filter_map(|word| word.parse().ok()).collect()
    }

    /// The first number of a line.
    pub(crate) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.numbers(key).into_iter().next()
    }

    /// A mask in hexadecimal such as `CapEff` or `SigBlk`.
    fn mask(&self, key: &str) -> u64 {
        self.text(key).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
    }

    /// Names of the capabilities in a set.
    pub(crate) fn capabilities(&self, key: &str) -> Vec<String> {
        bits(self.mask(key)).map(capability_name).collect()
    }

    /// Numbers of the signals in a set.
    pub(crate) fn signals(&self, key: &str) -> Vec<u32> {
        bits(self.mask(key)).map(|bit| bit + 1).collect()
    }
}

fn bits(mask: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |bit| mask >> bit & 1 == 1)
}

fn capability_name(bit: u32) -> String {
    CAPABILITIES.get(bit as usize).map_or_else(|| format!("CAP_{bit}"), |name| name.to_string())
}

/// Kernel names of the rows of `/proc/self/limits` and runtime-spec's names for them.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "RLIMIT_CPU"),
    ("Max file size", "RLIMIT_FSIZE"),
    ("Max data size", "RLIMIT_DATA"),
    ("Max stack size", "RLIMIT_STACK"),
    ("Max core file size", "RLIMIT_CORE"),
    ("Max resident set", "RLIMIT_RSS"),
    ("Max processes", "RLIMIT_NPROC"),
    ("Max open files", "RLIMIT_NOFILE"),
    ("Max locked memory", "RLIMIT_MEMLOCK"),
    ("Max address space", "RLIMIT_AS"),
    ("Max file locks", "RLIMIT_LOCKS"),
    ("Max pending signals", "RLIMIT_SIGPENDING"),
    ("Max msgqueue size", "RLIMIT_MSGQUEUE"),
    ("Max nice priority", "RLIMIT_NICE"),
    ("Max realtime priority", "RLIMIT_RTPRIO"),
    ("Max realtime timeout", "RLIMIT_RTTIME"),
];

/// The table of `/proc/self/limits`.
pub(crate) fn limits(text: &str) -> BTreeMap<String, Limit> {
    let row = |&(kernel, spec): &(&str, &str)| {
        let values = text.lines().find_map(|line| line.strip_prefix(kernel))?;
        let mut words = values.split_whitespace();
        let mut limit = || Some(words.next()?.parse().ok());
        Some((spec.to_string(), Limit { soft: limit()?, hard: limit()? }))
    };
    LIMITS.iter().filter_map(row).collect()
}

/// The lines of `uid_map` or `gid_map`.
pub(crate) fn id_map(text: &str) -> Vec<[u64; 3]> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse().ok());
        Some([words.next()??, words.next()??, words.next()??])
    };
    text.lines().filter_map(line).collect()
}

/// NUL-separated strings, as in `cmdline` and `environ`.
pub(crate) fn nul_separated(bytes: &[u8]) -> Vec<String> {
    let body = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if body.is_empty() {
        return Vec::new();
    }
    body.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The name of `uid` in the text of `/etc/passwd`.
pub(crate) fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let fields = |line: &str| -> Option<(String, u32)> {
        let mut fields = line.split(':');
        Some((fields.next()?.to_string(), fields.nth(1)?.parse().ok()?))
    };
    passwd.lines().filter_map(fields).find(|(_, id)| *id == uid).map(|(name, _)| name)
}

/// Interface names of `/proc/net/dev`, whose first two lines are headings.
pub(crate) fn interfaces(text: &str) -> Vec<String> {
    text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tprobe\nUid:\t1000\t1001\t1002\t1003\nCapEff:\t00000000a80425fb\nCapBnd:\t8000000000000001\n\
                          SigBlk:\t0000000000010001\nGroups:\t4 24 27 \n";

    #[test]
    fn a_line_of_ids_is_all_its_numbers() {
        assert_eq!(Status::parse(STATUS).numbers::<u32>("Uid"), [1000, 1001, 1002, 1003]);
        assert_eq!(Status::parse(STATUS).numbers::<u32>("Groups"), [4, 24, 27]);
    }

    #[test]
    fn a_missing_line_is_empty_and_not_an_error() {
        assert_eq!(Status::parse("").numbers::<u32>("Uid"), [0; 0]);
        assert_eq!(Status::parse("").capabilities("CapEff"), [""; 0]);
    }

    #[test]
    fn dockers_default_mask_has_fourteen_names() {
        let names = Status::parse(STATUS).capabilities("CapEff");
        assert_eq!(names.len(), 14);
        assert_eq!((names[0].as_str(), names[13].as_str()), ("CAP_CHOWN", "CAP_SETFCAP"));
    }

    #[test]
    fn a_capability_newer_than_the_table_keeps_its_number() {
        assert_eq!(Status::parse(STATUS).capabilities("CapBnd"), ["CAP_CHOWN", "CAP_63"]);
    }

    #[test]
    fn signals_count_from_one() {
        assert_eq!(Status::parse(STATUS).signals("SigBlk"), [1, 17]);
    }

    #[test]
    fn unlimited_is_none() {
        let text = "Limit Soft Limit Hard Limit Units\nMax cpu time unlimited unlimited seconds\nMax open files 1024 20000 files\n";
        let limits = limits(text);
        assert_eq!(limits["RLIMIT_CPU"], Limit { soft: None, hard: None });
        assert_eq!(limits["RLIMIT_NOFILE"], Limit { soft: Some(1024), hard: Some(20000) });
    }

    #[test]
    fn id_maps_have_three_columns() {
        assert_eq!(
            id_map("         0     100000      65536\n  bad line\n     65536 1 1\n"),
            [[0, 100000, 65536], [65536, 1, 1]]
        );
    }

    #[test]
    fn an_empty_argument_between_others_is_kept() {
        assert_eq!(nul_separated(b"a\0\0b\0"), ["a", "", "b"]);
        assert_eq!(nul_separated(b""), [""; 0]);
    }

    #[test]
    fn the_first_name_of_a_user_id_wins() {
        assert_eq!(user_name("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\n", 0).as_deref(), Some("root"));
        assert_eq!(user_name("garbage\n", 0), None);
    }

    #[test]
    fn interface_names_stand_before_the_colon() {
        assert_eq!(interfaces("Inter-| Receive\n face |bytes\n    lo: 0 0\n  eth0: 1 1\n"), ["lo", "eth0"]);
    }
}
