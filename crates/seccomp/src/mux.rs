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

/// The call that also leads to the one in row `row` of the table, and what its first argument is then.
pub(crate) fn through(row: usize) -> Option<(&'static Row, u32)> {
    match THROUGH[row] {
        Door::None => None,
        Door::Ipc(value) => Some((&table::SYSCALLS[IPC_ROW], value)),
        Door::Socketcall(value) => Some((&table::SYSCALLS[SOCKETCALL_ROW], value)),
    }
}

/// How else a call is made.
#[derive(Clone, Copy)]
enum Door {
    None,
    Ipc(u32),
    Socketcall(u32),
}

const IPC_ROW: usize = table::position("ipc").expect("a call of Linux");
const SOCKETCALL_ROW: usize = table::position("socketcall").expect("a call of Linux");

/// The door of each row: looked up once, by the compiler, and not for every name of every profile.
static THROUGH: [Door; table::SYSCALLS.len()] = {
    let mut doors = [Door::None; table::SYSCALLS.len()];
    let mut at = 0;
    while at < SOCKETCALL.len() {
        doors[table::position(SOCKETCALL[at].0).expect("a call of Linux")] = Door::Socketcall(SOCKETCALL[at].1);
        at += 1;
    }
    at = 0;
    while at < IPC.len() {
        doors[table::position(IPC[at].0).expect("a call of Linux")] = Door::Ipc(IPC[at].1);
        at += 1;
    }
    doors
};
