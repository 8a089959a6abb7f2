//! Messages with descriptors over Unix sockets: `unix(7)`, `SCM_RIGHTS`.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, sendmsg,
};

use crate::error::{Call, Errno, Result};

/// The two ends of a connection that keeps messages apart; both are close-on-exec.
pub fn seqpacket_pair() -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one message, with a descriptor if given. Allocates nothing.
pub fn send(socket: impl AsFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> std::result::Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// How often [`receive_soon`] asks before it sleeps: about a fifth of a millisecond.
const QUESTIONS: usize = 200;

/// Receives one message and the descriptor beside it; 0 bytes when the other end is closed.
pub fn receive(socket: impl AsFd, into: &mut [u8]) -> std::result::Result<(usize, Option<OwnedFd>), Errno> {
    receive_with(socket, into, RecvFlags::empty())
}

/// The same for an answer that is on its way: asks for a while before it sleeps. Who sleeps is woken tens of microseconds after the message
/// came, on a virtual machine, whose processor the host has put to rest, a hundred and more. Another process that wants the
/// processor gets it between the questions.
pub fn receive_soon(socket: impl AsFd, into: &mut [u8]) -> std::result::Result<(usize, Option<OwnedFd>), Errno> {
    for _ in 0..QUESTIONS {
        match receive_with(&socket, into, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => rustix::thread::sched_yield(),
            other => return other,
        }
    }
    receive(socket, into)
}

fn receive_with(
    socket: impl AsFd,
    into: &mut [u8],
    flags: RecvFlags,
) -> std::result::Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let bytes = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(into)], &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?.bytes,
        }
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((bytes, fd))
}

/// A socket at `path` that keeps messages apart and takes one connection at a time.
pub fn listen(path: &Path) -> Result<OwnedFd> {
    let words = |what: &str| format!("{what}({path:?})");
    let socket = seqpacket().call(|| "socket(AF_UNIX, SOCK_SEQPACKET)")?;
    let address = SocketAddrUnix::new(path).call(|| words("bind"))?;
    bind(&socket, &address).call(|| words("bind"))?;
    rustix::net::listen(&socket, 1).call(|| words("listen"))?;
    Ok(socket)
}

/// Connects to a socket made by [`listen`].
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let socket = seqpacket().call(|| "socket(AF_UNIX, SOCK_SEQPACKET)")?;
    connect_to(socket, path)
}

/// Connects to a stream socket.
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .call(|| "socket(AF_UNIX, SOCK_STREAM)")?;
    connect_to(socket, path)
}

fn connect_to(socket: OwnedFd, path: &Path) -> Result<OwnedFd> {
    let words = || format!("connect({path:?})");
    let address = SocketAddrUnix::new(path).call(words)?;
    rustix::net::connect(&socket, &address).call(words)?;
    Ok(socket)
}

fn seqpacket() -> std::result::Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Waits for a connection.
pub fn accept(listener: impl AsFd) -> std::result::Result<OwnedFd, Errno> {
    loop {
        match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
