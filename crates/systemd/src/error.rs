//! What can go wrong between us and systemd.

use std::io;

/// What, where, why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bus of those that were tried answers.
    #[error("systemd: connect to {address}")]
    Connect {
        /// The last one tried.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or the answer did not come in time.
    #[error("systemd: {call}")]
    Io {
        /// What was asked.
        call: String,
        /// Why.
        source: io::Error,
    },
    /// The bus does not know us.
    #[error("systemd: authenticate on the bus: {0}")]
    Auth(String),
    /// What came is no message.
    #[error("systemd: {call}: the answer is malformed")]
    Malformed {
        /// What was asked.
        call: String,
    },
    /// systemd, or the bus, said no.
    #[error("systemd: {call}: {message} ({name})")]
    Refused {
        /// What was asked.
        call: String,
        /// `org.freedesktop.systemd1.UnitExists`.
        name: String,
        /// In words.
        message: String,
    },
    /// A job ended otherwise than it should.
    #[error("systemd: {unit}: the job ended with {result:?}")]
    Job {
        /// The unit.
        unit: String,
        /// `failed`, `canceled`, `timeout`, `dependency`.
        result: String,
    },
    /// A slice's name that cannot be one.
    #[error("invalid slice name: {0}")]
    Slice(String),
}

impl Error {
    /// Whether systemd's answer was this error.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Error::Refused { name, .. } if name == wanted)
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Connect { .. } => Some(
                "is systemd running here? for a user's own: install dbus-user-session, log in again, and set XDG_RUNTIME_DIR and DBUS_SESSION_BUS_ADDRESS; or use --cgroup-manager=cgroupfs",
            ),
            Error::Refused { name, .. } if name.ends_with("AccessDenied") || name.ends_with("AuthRequired") => {
                Some("only root may ask the system's systemd; ordinary users have their own")
            }
            _ => None,
        }
    }
}
