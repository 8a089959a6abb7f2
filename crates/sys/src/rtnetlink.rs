//! `rtnetlink(7)`: network devices and their addresses, looked at, changed and moved to another namespace.
//!
//! ```text
//! nlmsghdr   length u32, type u16, flags u16, sequence u32, port u32
//! ifinfomsg  family u8, 0, type u16, index i32, flags u32, change u32         then attributes
//! ifaddrmsg  family u8, prefix u8, flags u8, scope u8, index u32              then attributes
//! rtattr     length u16, type u16, bytes, up to four 0
//! ```
//!
//! Law: what the kernel sends is read with every length checked. Not here: routes, and making devices.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Errno, Error, Result};
use crate::setns::{flag, setns};

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: i32,
    /// Its name there.
    pub name: String,
    /// `IFF_UP`.
    pub up: bool,
    /// The hardware address.
    pub address: Vec<u8>,
    /// The largest packet.
    pub mtu: u32,
}

/// An address of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// `AF_INET`, `AF_INET6`.
    pub family: u8,
    /// Bits of the network's part.
    pub prefix: u8,
    /// `RT_SCOPE_*`; 0 is global.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// The number of the device it belongs to.
    pub index: u32,
    /// Of the device.
    pub local: Vec<u8>,
    /// Of the other end, where there are two; otherwise the same.
    pub peer: Vec<u8>,
    /// Where everybody hears.
    pub broadcast: Option<Vec<u8>>,
}

impl Address {
    /// Set by somebody, not learned and not to end.
    pub fn permanent(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0
    }

    /// Means something outside of this machine.
    pub fn global(&self) -> bool {
        self.scope == 0
    }
}

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_EXCLUSIVE: u16 = 0x600;
const IFF_UP: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// The kernel sends a dump in pieces of at most this.
const REPLY_BYTES_MAX: usize = 1 << 16;
const HEADER_BYTES: usize = 16;
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;

/// A conversation with one network namespace.
#[derive(Debug)]
pub struct Route {
    socket: OwnedFd,
    sequence: u32,
}

impl Route {
    /// With our own namespace.
    pub fn open() -> Result<Route> {
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
        let wrong = |errno| Error::new("socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)", errno);
        Ok(Route { socket: socket.map_err(wrong)?, sequence: 0 })
    }

    /// With another one: entered for the moment it takes to open a socket, which stays there.
    pub fn open_in(namespace: impl AsFd, own: impl AsFd) -> Result<Route> {
        setns(&namespace, flag::NETWORK).map_err(|errno| Error::new("setns(CLONE_NEWNET)", errno))?;
        let opened = Route::open();
        setns(&own, flag::NETWORK).map_err(|errno| Error::new("setns(CLONE_NEWNET, /* back */)", errno))?;
        opened
    }

    /// Every device.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let replies = self.ask(Message::new(RTM_GETLINK, NLM_F_DUMP, &[0; LINK_BYTES]), "RTM_GETLINK")?;
        Ok(replies.iter().filter_map(|reply| link(reply)).collect())
    }

    /// The addresses of one device.
    pub fn addresses(&mut self, of: &Link) -> Result<Vec<Address>> {
        let replies = self.ask(Message::new(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS_BYTES]), "RTM_GETADDR")?;
        let all = replies.iter().filter_map(|reply| address(reply));
        Ok(all.filter(|address| i64::from(address.index) == i64::from(of.index)).collect())
    }

    /// Turns a device on or off.
    pub fn set_up(&mut self, link: &Link, up: bool) -> Result<()> {
        let header = link_header(link.index, if up { IFF_UP } else { 0 }, IFF_UP);
        let call = format!("RTM_NEWLINK({}, {})", link.name, if up { "up" } else { "down" });
        self.ask(Message::new(RTM_NEWLINK, NLM_F_ACK, &header), &call).map(drop)
    }

    /// Moves a device to another namespace and names it there, both or neither. A `%d` in the name is a number the kernel finds.
    pub fn move_to(&mut self, link: &Link, namespace: impl AsFd, name: &str) -> Result<()> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_ACK, &link_header(link.index, 0, 0));
        message.attribute(IFLA_NET_NS_FD, &namespace.as_fd().as_raw_fd().to_ne_bytes());
        message.attribute(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        self.ask(message, &format!("RTM_NEWLINK({}, net_ns_fd, ifname={name:?})", link.name)).map(drop)
    }

    /// Gives a device an address.
    pub fn add_address(&mut self, link: &Link, address: &Address) -> Result<()> {
        let index = u32::try_from(link.index).unwrap_or(0).to_ne_bytes();
        let mut header = vec![address.family, address.prefix, 0, address.scope];
        header.extend(index);
        let mut message = Message::new(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE_EXCLUSIVE, &header);
        message.attribute(IFA_LOCAL, &address.local);
        message.attribute(IFA_ADDRESS, &address.peer);
        if let Some(broadcast) = &address.broadcast {
            message.attribute(IFA_BROADCAST, broadcast);
        }
        message.attribute(IFA_FLAGS, &(address.flags & IFA_F_PERMANENT).to_ne_bytes());
        self.ask(message, &format!("RTM_NEWADDR({})", link.name)).map(drop)
    }

    /// Sends one message and reads to the end of the answer.
    fn ask(&mut self, message: Message, call: &str) -> Result<Vec<Vec<u8>>> {
        let wrong = |errno| Error::new(call, errno);
        self.sequence += 1;
        let bytes = message.finish(self.sequence);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty()).map_err(wrong)?;
        let mut replies = Vec::new();
        let mut buffer = vec![0; REPLY_BYTES_MAX];
        loop {
            let (length, _) = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other.map_err(wrong)?,
            };
            match read(&buffer[..length], self.sequence, &mut replies).map_err(wrong)? {
                Heard::All => return Ok(replies),
                Heard::More => {}
            }
        }
    }
}

/// Whether the answer is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    All,
    More,
}

/// Takes the messages of one packet apart; those of another question are passed over.
fn read(mut packet: &[u8], sequence: u32, replies: &mut Vec<Vec<u8>>) -> std::result::Result<Heard, Errno> {
    while packet.len() >= HEADER_BYTES {
        let length = u32_at(packet, 0).unwrap_or(0) as usize;
        let kind = u16_at(packet, 4).unwrap_or(0);
        if length < HEADER_BYTES || length > packet.len() {
            return Err(Errno::BADMSG);
        }
        let body = &packet[HEADER_BYTES..length];
        if u32_at(packet, 8) == Some(sequence) {
            match kind {
                NLMSG_DONE => return Ok(Heard::All),
                NLMSG_ERROR => {
                    return match u32_at(body, 0).map(|code| code.cast_signed().wrapping_neg()) {
                        Some(0) => Ok(Heard::All),
                        Some(number @ 1..=ERRNO_MAX) => Err(Errno::from_raw_os_error(number)),
                        _ => Err(Errno::BADMSG),
                    };
                }
                _ => replies.push(body.to_vec()),
            }
        }
        packet = &packet[length.next_multiple_of(ALIGN).min(packet.len())..];
    }
    Ok(Heard::More)
}

const ALIGN: usize = 4;
/// No error number of the kernel's is larger.
const ERRNO_MAX: i32 = 4095;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The attributes behind a message's own header.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let length = usize::from(length);
        if length < ALIGN || length > bytes.len() {
            break;
        }
        all.push((kind, &bytes[ALIGN..length]));
        bytes = &bytes[length.next_multiple_of(ALIGN).min(bytes.len())..];
    }
    all
}

fn link(body: &[u8]) -> Option<Link> {
    let mut link =
        Link { index: u32_at(body, 4)?.cast_signed(), up: u32_at(body, 8)? & IFF_UP != 0, ..Link::default() };
    for (kind, value) in attributes(body.get(LINK_BYTES..)?) {
        match kind {
            IFLA_IFNAME => {
                link.name = String::from_utf8_lossy(value.strip_suffix(b"\0").unwrap_or(value)).into_owned();
            }
            IFLA_ADDRESS => link.address = value.to_vec(),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(link)
}

fn address(body: &[u8]) -> Option<Address> {
    let mut address = Address {
        family: *body.first()?,
        prefix: *body.get(1)?,
        flags: (*body.get(2)?).into(),
        scope: *body.get(3)?,
        index: u32_at(body, 4)?,
        ..Address::default()
    };
    for (kind, value) in attributes(body.get(ADDRESS_BYTES..)?) {
        match kind {
            IFA_LOCAL => address.local = value.to_vec(),
            IFA_ADDRESS => address.peer = value.to_vec(),
            IFA_BROADCAST => address.broadcast = Some(value.to_vec()),
            IFA_FLAGS => address.flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // IPv6 has only the one.
    if address.local.is_empty() {
        address.local.clone_from(&address.peer);
    }
    Some(address)
}

fn link_header(index: i32, flags: u32, change: u32) -> Vec<u8> {
    [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &change.to_ne_bytes()].concat()
}

/// A message in the making.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, header: &[u8]) -> Message {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        Message(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ALIGN + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_with_its_address() {
        let mut route = Route::open().unwrap();
        let links = route.links().unwrap();
        let Some(lo) = links.iter().find(|link| link.name == "lo") else {
            eprintln!("skipped: this network namespace has no lo");
            return;
        };
        let addresses = route.addresses(lo).unwrap();
        assert!(!lo.up || addresses.iter().any(|address| address.local == [127, 0, 0, 1]), "{addresses:?}");
    }

    #[test]
    fn an_error_is_the_kernels_number() {
        let mut route = Route::open().unwrap();
        let nobody = Link { index: i32::MAX, name: "nobody".into(), ..Link::default() };
        assert_eq!(route.set_up(&nobody, true).unwrap_err().errno, Errno::NODEV);
    }

    #[test]
    fn broken_packets_are_refused_or_passed_over() {
        let mut replies = Vec::new();
        for packet in [&[9u8, 0, 0, 0][..], &[0; 16], &[255; 40]] {
            let _ = read(packet, 1, &mut replies);
        }
        assert!(replies.is_empty());
        assert_eq!(attributes(&[3, 0, 1, 0]).len(), 0);
        assert_eq!(attributes(&[8, 0, 3, 0, b'e', b't']).len(), 0);
        assert_eq!(link(&[0; 3]), None);
    }
}
