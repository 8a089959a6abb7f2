//! The log: one line for each thing that happened, for people or for programs.
//!
//! Law: a line is written in one go, and a log that cannot be written stops nothing.
//! Not here: the audit log (who did what, kept as a record).

use std::fmt::Display;
use std::io::Write;
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;

use crate::config::{self, LogFormat, LogLevel};

/// What a line says beside its message.
pub type Field<'a> = (&'a str, &'a dyn Display);

/// The log of one registry; its settings may change while it is written.
pub struct Log(RwLock<config::Log>);

impl Log {
    pub fn new(settings: config::Log) -> Log {
        Log(RwLock::new(settings))
    }

    /// Goes on with other settings.
    pub fn apply(&self, settings: config::Log) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn settings(&self) -> config::Log {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every request is to be a line.
    pub fn wants_requests(&self) -> bool {
        let settings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        settings.requests && settings.level <= LogLevel::Info
    }

    pub fn debug(&self, message: &str, fields: &[Field<'_>]) {
        self.line(LogLevel::Debug, message, fields);
    }

    pub fn info(&self, message: &str, fields: &[Field<'_>]) {
        self.line(LogLevel::Info, message, fields);
    }

    pub fn warn(&self, message: &str, fields: &[Field<'_>]) {
        self.line(LogLevel::Warn, message, fields);
    }

    pub fn error(&self, message: &str, fields: &[Field<'_>]) {
        self.line(LogLevel::Error, message, fields);
    }

    fn line(&self, level: LogLevel, message: &str, fields: &[Field<'_>]) {
        let settings = self.settings();
        if level >= settings.level {
            let line = render(settings.format, &now(), level, message, fields);
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

/// The time as logs and events give it: RFC 3339 with milliseconds, UTC.
pub fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

fn render(format: LogFormat, time: &str, level: LogLevel, message: &str, fields: &[Field<'_>]) -> String {
    let level = match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    match format {
        LogFormat::Json => {
            let mut object = serde_json::Map::new();
            for (key, value) in [("time", time), ("level", level), ("message", message)] {
                object.insert(key.into(), value.into());
            }
            for (key, value) in fields {
                object.insert((*key).into(), value.to_string().into());
            }
            serde_json::Value::Object(object).to_string() + "\n"
        }
        LogFormat::Text => {
            let mut line = format!("{time} {level} {}", printable(message));
            for (key, value) in fields {
                line.push_str(&format!(" {key}={}", word(&value.to_string())));
            }
            line + "\n"
        }
    }
}

/// A value as one word, so that nothing a client sends can look like another field or another line.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '=' && c != '\\';
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line_or_a_field() {
        let hostile = "x\n2026 error root=\"\"";
        let line = render(LogFormat::Text, "T", LogLevel::Info, "m", &[("agent", &hostile), ("status", &200)]);
        assert_eq!(line, "T info m agent=\"x\\n2026 error root=\\\"\\\"\" status=200\n");
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line = render(LogFormat::Json, "T", LogLevel::Warn, "a\nb", &[("n", &1)]);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (value["message"].as_str(), value["n"].as_str(), line.lines().count()),
            (Some("a\nb"), Some("1"), 1)
        );
    }

    #[test]
    fn the_time_is_rfc_3339_in_utc_with_milliseconds() {
        let now = now();
        assert!(now.ends_with('Z') && now.len() == "2026-07-01T12:00:00.000Z".len(), "{now}");
    }
}
