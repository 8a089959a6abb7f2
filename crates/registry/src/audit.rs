//! The audit log: who did what to which repository, as one JSON object a line.
//!
//! Law: a record is one write to a file that is only ever appended to, so records of several processes do not mix. The file is
//! opened anew at SIGHUP, for those who rotate it. A record that cannot be written is an error in the other log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[audit]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// Where records are appended; none are kept without.
    pub file: Option<PathBuf>,
    /// Whether pulls are recorded, and not only what changes something or was refused.
    pub pulls: bool,
}

/// One line.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    pub time: &'a str,
    /// `anonymous`, or the name they showed.
    pub subject: &'a str,
    pub address: &'a str,
    /// `pull`, `push`, `delete`, `login`, `list`.
    pub action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<&'a str>,
    /// Tag or digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'a str>,
    pub method: &'a str,
    pub status: u16,
    /// `allowed`, `denied`, `failed`.
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a str>,
    /// Why credentials were not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'a str>,
}

/// The open file.
pub struct Audit {
    file: Option<File>,
    pulls: bool,
}

impl Audit {
    /// Opens what the settings name.
    pub fn open(settings: &AuditSettings) -> std::io::Result<Audit> {
        let open = |path| OpenOptions::new().append(true).create(true).mode(0o640).open(path);
        Ok(Audit { file: settings.file.as_ref().map(open).transpose()?, pulls: settings.pulls })
    }

    /// Whether such a request is recorded.
    pub fn wants(&self, action: &str, status: u16) -> bool {
        let refused = status == 401 || status == 403 || status == 429;
        self.file.is_some() && (self.pulls || refused || !matches!(action, "pull" | "list"))
    }

    /// Appends a record.
    pub fn write(&self, record: &Record<'_>) -> std::io::Result<()> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        file.write_all(&line)
    }
}
