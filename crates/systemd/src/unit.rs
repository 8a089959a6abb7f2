//! systemd's manager, as far as containers need it.

use crate::bus::{Connection, Target};
use crate::{Bus, Error, Value};

const MANAGER: Target<'static> = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const JOBS: &str =
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A property of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// `MemoryMax`.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Property {
    /// One.
    pub fn new(name: impl Into<String>, value: Value) -> Property {
        Property { name: name.into(), value }
    }
}

fn list(properties: &[Property]) -> Value {
    let pair = |p: &Property| Value::Struct(vec![Value::text(&p.name), Value::Variant(Box::new(p.value.clone()))]);
    Value::Array("(sv)".into(), properties.iter().map(pair).collect())
}

/// A conversation with one systemd.
pub struct Manager {
    connection: Connection,
}

impl Manager {
    /// Connects; what the jobs come to is told from now on.
    pub fn connect(bus: &Bus) -> Result<Manager, Error> {
        let mut connection = bus.connect()?;
        connection.listen(JOBS)?;
        connection.call(MANAGER, "Subscribe", vec![])?;
        Ok(Manager { connection })
    }

    /// Its version: `252` of `252.38-1~deb12u1`.
    pub fn version(&mut self) -> Result<u32, Error> {
        let text = self.property(MANAGER.path, MANAGER.interface, "Version")?;
        let digits: String = text.trim_start_matches('v').chars().take_while(char::is_ascii_digit).collect();
        digits.parse().map_err(|_| Error::Malformed { call: "Version".into() })
    }

    /// Makes a unit, and waits until it is there. One of this name that failed before is cleared away and tried once more.
    pub fn start(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        let mut started = self.start_once(unit, properties);
        if started.as_ref().is_err_and(|error| error.is(UNIT_EXISTS)) && self.reset_failed(unit).is_ok() {
            started = self.start_once(unit, properties);
        }
        let ended = started.and_then(|job| self.job(unit, &job));
        if ended.as_ref().is_err_and(|error| !error.is(UNIT_EXISTS)) {
            let _ = self.reset_failed(unit);
        }
        ended
    }

    fn start_once(&mut self, unit: &str, properties: &[Property]) -> Result<String, Error> {
        let none = Value::Array("(sa(sv))".into(), vec![]);
        let body = vec![Value::text(unit), Value::text("replace"), list(properties), none];
        let answer = self.connection.call(MANAGER, "StartTransientUnit", body)?;
        path(&answer, "StartTransientUnit")
    }

    /// Changes a unit for as long as it lives.
    pub fn set(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        if properties.is_empty() {
            return Ok(());
        }
        let body = vec![Value::text(unit), Value::Bool(true), list(properties)];
        self.connection.call(MANAGER, "SetUnitProperties", body).map(drop)
    }

    /// Ends a unit, and waits until it is gone. One that is gone is well.
    pub fn stop(&mut self, unit: &str) -> Result<(), Error> {
        let stopped = match self.connection.call(MANAGER, "StopUnit", vec![Value::text(unit), Value::text("replace")]) {
            Err(error) if error.is(NO_SUCH_UNIT) => return Ok(()),
            other => path(&other?, "StopUnit").and_then(|job| self.job(unit, &job)),
        };
        let _ = self.reset_failed(unit);
        stopped
    }

    /// Moves a process into a unit's group, or one below it.
    pub fn attach(&mut self, unit: &str, below: &str, pid: u32) -> Result<(), Error> {
        let pids = Value::Array("u".into(), vec![Value::U32(pid)]);
        let body = vec![Value::text(unit), Value::text(below), pids];
        self.connection.call(MANAGER, "AttachProcessesToUnit", body).map(drop)
    }

    /// Where a scope or slice has its control group, from the root of the hierarchy.
    pub fn control_group(&mut self, unit: &str) -> Result<String, Error> {
        let answer = self.connection.call(MANAGER, "GetUnit", vec![Value::text(unit)])?;
        let object = path(&answer, "GetUnit")?;
        let kind = if unit.ends_with(".slice") { "Slice" } else { "Scope" };
        self.property(&object, &format!("org.freedesktop.systemd1.{kind}"), "ControlGroup")
    }

    fn reset_failed(&mut self, unit: &str) -> Result<(), Error> {
        self.connection.call(MANAGER, "ResetFailedUnit", vec![Value::text(unit)]).map(drop)
    }

    fn property(&mut self, object: &str, interface: &str, name: &str) -> Result<String, Error> {
        let target = Target { path: object, interface: PROPERTIES, ..MANAGER };
        let answer = self.connection.call(target, "Get", vec![Value::text(interface), Value::text(name)])?;
        let text = answer.first().and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| Error::Malformed { call: format!("Get {name}") })
    }

    /// `JobRemoved(id, job, unit, result)`.
    fn job(&mut self, unit: &str, job: &str) -> Result<(), Error> {
        let ours = |body: &[Value]| body.get(1).and_then(Value::as_str) == Some(job);
        let body = self.connection.signal("JobRemoved", ours)?;
        match body.get(3).and_then(Value::as_str) {
            Some("done") => Ok(()),
            result => Err(Error::Job { unit: unit.to_owned(), result: result.unwrap_or_default().to_owned() }),
        }
    }
}

fn path(answer: &[Value], call: &str) -> Result<String, Error> {
    let path = answer.first().and_then(Value::as_str).map(str::to_owned);
    path.ok_or_else(|| Error::Malformed { call: call.into() })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::wire::{CALL, ERROR, FIXED_BYTES, Message, RETURN, SIGNAL, length};

    /// How a bus answers a call: messages in their order.
    type Answer = fn(&Message) -> Vec<Message>;

    /// Somebody at the other end of a socket who greets as a bus does and answers calls; what was called, in the end.
    fn with_bus(direct: bool, answer: Answer, ask: impl FnOnce(&mut Manager)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(if direct { "systemd/private" } else { "bus" });
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        let serving = std::thread::spawn(move || serve(listener.accept().unwrap().0, answer));
        let bus = Bus { user: false, addresses: vec![format!("unix:path={}", path.display())] };
        let mut manager = Manager::connect(&bus).unwrap();
        ask(&mut manager);
        drop(manager);
        serving.join().unwrap()
    }

    fn serve(mut stream: UnixStream, answer: Answer) -> Vec<String> {
        let mut greeting = Vec::new();
        while !greeting.ends_with(b"BEGIN\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            greeting.push(byte[0]);
            if greeting.ends_with(b"\r\n") && !greeting.ends_with(b"BEGIN\r\n") {
                assert!(greeting.starts_with(b"\0AUTH EXTERNAL "));
                stream.write_all(b"OK 1234deadbeef\r\n").unwrap();
            }
        }
        let mut called = Vec::new();
        let mut fixed = [0; FIXED_BYTES];
        while stream.read_exact(&mut fixed).is_ok() {
            let mut bytes = vec![0; length(&fixed).unwrap()];
            bytes[..FIXED_BYTES].copy_from_slice(&fixed);
            stream.read_exact(&mut bytes[FIXED_BYTES..]).unwrap();
            let call = Message::decode(&bytes).unwrap();
            assert_eq!(call.kind, CALL);
            called.push(call.member.clone().unwrap());
            for message in answer(&call) {
                stream.write_all(&message.encode()).unwrap();
            }
        }
        called
    }

    fn reply(call: &Message, body: Vec<Value>) -> Message {
        Message { kind: RETURN, serial: 1, reply_to: Some(call.serial), body, ..Message::default() }
    }

    fn refusal(call: &Message, name: &str) -> Message {
        let body = vec![Value::text("no")];
        Message {
            kind: ERROR,
            serial: 1,
            reply_to: Some(call.serial),
            error: Some(name.into()),
            body,
            ..Message::default()
        }
    }

    fn job_removed(result: &str) -> Message {
        let job = Value::Path("/org/freedesktop/systemd1/job/7".into());
        Message {
            kind: SIGNAL,
            serial: 2,
            path: Some(MANAGER.path.into()),
            interface: Some(MANAGER.interface.into()),
            member: Some("JobRemoved".into()),
            body: vec![Value::U32(7), job, Value::text("x.scope"), Value::text(result)],
            ..Message::default()
        }
    }

    fn willing(call: &Message) -> Vec<Message> {
        let job = vec![Value::Path("/org/freedesktop/systemd1/job/7".into())];
        match call.member.as_deref() {
            // The end of a job may be told before its beginning is.
            Some("StartTransientUnit") => vec![job_removed("done"), reply(call, job)],
            Some("StopUnit") => vec![reply(call, job), job_removed("done")],
            Some("GetUnit") => vec![reply(call, vec![Value::Path("/unit".into())])],
            Some("Get") => {
                let text =
                    if call.body[1].as_str() == Some("Version") { "252.39-1~deb12u2" } else { "/system.slice/x.scope" };
                vec![reply(call, vec![Value::Variant(Box::new(Value::text(text)))])]
            }
            _ => vec![reply(call, vec![])],
        }
    }

    #[test]
    fn a_unit_lives_from_start_to_stop() {
        let called = with_bus(false, willing, |manager| {
            assert_eq!(manager.version().unwrap(), 252);
            manager.start("x.scope", &[Property::new("Delegate", Value::Bool(true))]).unwrap();
            assert_eq!(manager.control_group("x.scope").unwrap(), "/system.slice/x.scope");
            manager.set("x.scope", &[Property::new("TasksMax", Value::U64(7))]).unwrap();
            manager.stop("x.scope").unwrap();
        });
        let expect = [
            "Hello",
            "AddMatch",
            "Subscribe",
            "Get",
            "StartTransientUnit",
            "GetUnit",
            "Get",
            "SetUnitProperties",
            "StopUnit",
            "ResetFailedUnit",
        ];
        assert_eq!(called, expect);
    }

    #[test]
    fn systemds_own_socket_has_no_bus() {
        let called = with_bus(true, willing, |manager| manager.start("x.scope", &[]).unwrap());
        assert_eq!(called, ["Subscribe", "StartTransientUnit"]);
    }

    #[test]
    fn a_unit_that_failed_before_is_cleared_away_once() {
        let answer: Answer = |call| match call.member.as_deref() {
            Some("StartTransientUnit") => vec![refusal(call, UNIT_EXISTS)],
            _ => vec![reply(call, vec![])],
        };
        let called = with_bus(true, answer, |manager| {
            let error = manager.start("x.scope", &[]).unwrap_err();
            assert_eq!(error.to_string(), "systemd: StartTransientUnit: no (org.freedesktop.systemd1.UnitExists)");
        });
        assert_eq!(called, ["Subscribe", "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
    }

    #[test]
    fn a_job_that_fails_is_told() {
        let answer: Answer = |call| match call.member.as_deref() {
            Some("StartTransientUnit") => {
                vec![reply(call, vec![Value::Path("/org/freedesktop/systemd1/job/7".into())]), job_removed("timeout")]
            }
            _ => vec![reply(call, vec![])],
        };
        with_bus(true, answer, |manager| {
            let error = manager.start("x.scope", &[]).unwrap_err();
            assert_eq!(error.to_string(), "systemd: x.scope: the job ended with \"timeout\"");
        });
    }

    #[test]
    fn to_stop_what_is_gone_is_well() {
        let answer: Answer = |call| match call.member.as_deref() {
            Some("StopUnit") => vec![refusal(call, NO_SUCH_UNIT)],
            _ => vec![reply(call, vec![])],
        };
        with_bus(true, answer, |manager| manager.stop("x.scope").unwrap());
    }
}
