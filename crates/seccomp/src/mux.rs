//! Calls that some 32-bit architectures also make through one number: socketcall(2) and ipc(2).
//!
//! A rule about `connect` must hold for `socketcall(SYS_CONNECT, …)` too. The real arguments stand behind a pointer there.

use crate::table::{self, Row};

/// `SYS_*` of linux/net.h.
const SOCKETCALL: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// Of linux/ipc.h.
const IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// The call that also leads to `name`, and what its first argument is then.
pub(crate) fn through(name: &str) -> Option<(&'static Row, u32)> {
    let (door, list) = match name.as_bytes() {
        [b's', b'e', b'm', ..] | [b's', b'h', b'm', ..] | [b'm', b's', b'g', ..] => ("ipc", &IPC[..]),
        [b'a' | b'b' | b'c' | b'g' | b'l' | b'r' | b's', ..] => ("socketcall", &SOCKETCALL[..]),
        _ => return None,
    };
    let value = list.iter().find(|(call, _)| *call == name)?.1;
    Some((table::row(door)?, value))
}
