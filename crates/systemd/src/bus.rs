//! A connection to a message bus, or to systemd itself.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use knarr_sys::credentials;
use serde::{Deserialize, Serialize};

use crate::wire::{self, CALL, ERROR, FIXED_BYTES, Message, RETURN, SIGNAL};
use crate::{Error, Value};

/// How long an answer may take; systemd under load takes seconds.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The longest line of the authentication.
const LINE_BYTES_MAX: usize = 1024;

/// Which systemd to ask, and where it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bus {
    /// A user's own systemd, not the system's.
    pub user: bool,
    /// D-Bus addresses, tried in this order. One that ends in `/systemd/private` is systemd's own socket, without a bus.
    pub addresses: Vec<String>,
}

impl Bus {
    /// The system's.
    pub fn system() -> Bus {
        let addresses = ["unix:path=/run/dbus/system_bus_socket", "unix:path=/run/systemd/private"];
        Bus { user: false, addresses: addresses.map(str::to_owned).to_vec() }
    }

    /// A user's: by its session's address and by its runtime directory.
    pub fn user(session: Option<&str>, runtime_directory: Option<&str>) -> Bus {
        let directory = |rest: &str| runtime_directory.map(|directory| format!("unix:path={directory}{rest}"));
        let addresses = [session.map(str::to_owned), directory("/bus"), directory("/systemd/private")];
        Bus { user: true, addresses: addresses.into_iter().flatten().collect() }
    }

    pub(crate) fn connect(&self) -> Result<Connection, Error> {
        let mut last = Error::Connect { address: "a message bus".into(), source: io::ErrorKind::NotFound.into() };
        for address in self.addresses.iter().flat_map(|list| list.split(';')) {
            match open(address) {
                Ok(stream) => return Connection::greet(stream, address.contains("/systemd/private")),
                Err(source) => last = Error::Connect { address: address.to_owned(), source },
            }
        }
        Err(last)
    }
}

/// `unix:path=…`, `unix:abstract=…`; bytes may stand as `%2f`.
fn open(address: &str) -> io::Result<UnixStream> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "only unix:path= and unix:abstract= are known");
    let keys = address.strip_prefix("unix:").ok_or_else(wrong)?;
    let value = |key: &str| keys.split(',').find_map(|pair| pair.strip_prefix(key)).map(unescaped);
    if let Some(path) = value("path=") {
        return UnixStream::connect(path);
    }
    let name = value("abstract=").ok_or_else(wrong)?;
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(meant) => {
                bytes.push(meant);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A conversation.
pub(crate) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Message>,
    /// There is no bus between us and systemd.
    direct: bool,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'t> {
    pub destination: &'t str,
    pub path: &'t str,
    pub interface: &'t str,
}

const BUS: Target<'static> =
    Target { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

impl Connection {
    /// SASL EXTERNAL: the kernel says who we are. In a user namespace our id is another outside, so none is told.
    fn greet(stream: UnixStream, direct: bool) -> Result<Connection, Error> {
        let io = |source| Error::Io { call: "authenticate on the bus".into(), source };
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(io)?;
        stream.set_write_timeout(Some(ANSWER_MAX)).map_err(io)?;
        let mut connection = Connection { stream, serial: 0, signals: Vec::new(), direct };
        let uid: String = credentials::effective_user().to_string().bytes().map(|b| format!("{b:02x}")).collect();
        let mut answer = connection.say(&format!("\0AUTH EXTERNAL {uid}\r\n")).map_err(io)?;
        if answer.starts_with("REJECTED") {
            answer = connection.say("AUTH EXTERNAL\r\n").map_err(io)?;
            if answer.starts_with("DATA") {
                answer = connection.say("DATA\r\n").map_err(io)?;
            }
        }
        if !answer.starts_with("OK") {
            return Err(Error::Auth(answer));
        }
        connection.stream.write_all(b"BEGIN\r\n").map_err(io)?;
        if !direct {
            connection.call(BUS, "Hello", vec![])?;
        }
        Ok(connection)
    }

    /// A line, and the one that comes back.
    fn say(&mut self, line: &str) -> io::Result<String> {
        self.stream.write_all(line.as_bytes())?;
        let mut answer = Vec::new();
        // Byte by byte: what comes behind the line is not ours to take.
        while !answer.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            answer.push(byte[0]);
            if answer.len() > LINE_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }

    /// Asks to hear a signal.
    pub(crate) fn listen(&mut self, rule: &str) -> Result<(), Error> {
        if self.direct {
            return Ok(());
        }
        self.call(BUS, "AddMatch", vec![Value::text(rule)]).map(drop)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&mut self, to: Target<'_>, member: &str, body: Vec<Value>) -> Result<Vec<Value>, Error> {
        self.serial += 1;
        let serial = self.serial;
        let message = Message {
            kind: CALL,
            serial,
            path: Some(to.path.into()),
            interface: Some(to.interface.into()),
            member: Some(member.into()),
            destination: (!self.direct).then(|| to.destination.into()),
            body,
            ..Message::default()
        };
        self.stream.write_all(&message.encode()).map_err(|source| Error::Io { call: member.into(), source })?;
        let deadline = Instant::now() + ANSWER_MAX;
        loop {
            let answer = self.receive(member, deadline)?;
            match answer.kind {
                RETURN if answer.reply_to == Some(serial) => return Ok(answer.body),
                ERROR if answer.reply_to == Some(serial) => {
                    let message = answer.body.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                    return Err(Error::Refused {
                        call: member.into(),
                        name: answer.error.unwrap_or_default(),
                        message,
                    });
                }
                SIGNAL => self.signals.push(answer),
                _ => {}
            }
        }
    }

    /// The arguments of the next signal of this name that `wanted` takes.
    pub(crate) fn signal(&mut self, member: &str, wanted: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>, Error> {
        let deadline = Instant::now() + ANSWER_MAX;
        loop {
            let is = |message: &Message| message.member.as_deref() == Some(member) && wanted(&message.body);
            if let Some(at) = self.signals.iter().position(is) {
                return Ok(self.signals.remove(at).body);
            }
            let message = self.receive(member, deadline)?;
            if message.kind == SIGNAL {
                self.signals.push(message);
            }
        }
    }

    fn receive(&mut self, call: &str, deadline: Instant) -> Result<Message, Error> {
        let io = |source: io::Error| {
            // A read that waited too long says that it would have had to wait.
            let late = source.kind() == io::ErrorKind::WouldBlock;
            let source = if late { io::ErrorKind::TimedOut.into() } else { source };
            Error::Io { call: call.to_owned(), source }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io(io::ErrorKind::TimedOut.into()));
        }
        self.stream.set_read_timeout(Some(left)).map_err(io)?;
        let malformed = || Error::Malformed { call: call.to_owned() };
        let mut fixed = [0; FIXED_BYTES];
        self.stream.read_exact(&mut fixed).map_err(io)?;
        let length = wire::length(&fixed).ok_or_else(malformed)?;
        let mut bytes = vec![0; length];
        bytes[..FIXED_BYTES].copy_from_slice(&fixed);
        self.stream.read_exact(&mut bytes[FIXED_BYTES..]).map_err(io)?;
        Message::decode(&bytes).ok_or_else(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_bus_is_looked_for_in_three_places() {
        let bus = Bus::user(Some("unix:abstract=/tmp/x"), Some("/run/user/7"));
        assert_eq!(
            bus.addresses,
            ["unix:abstract=/tmp/x", "unix:path=/run/user/7/bus", "unix:path=/run/user/7/systemd/private"]
        );
    }

    #[test]
    fn addresses_are_unescaped() {
        assert_eq!(unescaped("/run/a%20b%2fc%"), "/run/a b/c%");
    }

    #[test]
    fn a_bus_that_is_not_there_is_told_with_what_to_do() {
        let bus = Bus { user: true, addresses: vec!["unix:path=/nonexistent/bus".into()] };
        let Err(error) = bus.connect() else { panic!("nobody is there") };
        assert_eq!(error.to_string(), "systemd: connect to unix:path=/nonexistent/bus");
        assert!(error.hint().is_some());
    }
}
