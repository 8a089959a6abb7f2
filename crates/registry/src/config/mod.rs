//! The settings of a registry: one TOML file, in which every key has a default and none is needed.
//!
//! Law: what was read is complete and checked; a key nobody knows is refused, with its line. Reading has no effect.
//! Not here: what each setting does; the doc comment of a field is the reference, `default.toml` shows them all.

pub mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Every setting, commented, as `knarr registry config default` prints it.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Largest file that is read as settings.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where content is kept.
    pub storage: Storage,
    /// How requests come in.
    pub http: Http,
    /// What is accepted as a manifest.
    pub manifests: Manifests,
    /// What is written to standard error.
    pub log: Log,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Directory of the database, the blobs and the uploads.
    pub root: PathBuf,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage { root: PathBuf::from("/var/lib/knarr-registry") }
    }
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address to listen on; `:5000` is that port on loopback.
    pub listen: Listen,
}

impl Default for Http {
    fn default() -> Http {
        Http { listen: Listen(SocketAddr::from(([127, 0, 0, 1], 5000))) }
    }
}

/// An address to listen on, as `IP:PORT`, or `:PORT` for loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub SocketAddr);

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let with_host = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
        let bad = |_| format!("{text:?} is not an address: expected IP:PORT, as in 127.0.0.1:5000");
        with_host.parse().map(Listen).map_err(bad)
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Listen, String> {
        text.parse()
    }
}

/// `[manifests]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifests {
    /// Whether image manifests may name blobs that are not there.
    pub sparse: bool,
}

/// `[log]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Lines for people or for programs.
    pub format: LogFormat,
    /// The least that is worth a line.
    pub level: LogLevel,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `2026-07-01T12:00:00.000Z info message key=value`
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What helps to find a fault.
    Debug,
    /// What happens in ordinary times.
    #[default]
    Info,
    /// What somebody should look at.
    Warn,
    /// What did not work.
    Error,
}

/// Why settings could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something in the file is not as it must be.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

impl Settings {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Settings, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(failed(std::io::Error::other(format!(
                "has {bytes} bytes, settings have {CONFIG_BYTES_MAX} at most"
            ))));
        }
        Settings::parse(&std::fs::read_to_string(path).map_err(failed)?, path)
    }

    /// Reads and checks the text of the file `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Settings, ConfigError> {
        let invalid = |line, message| ConfigError::Invalid { path: path.to_owned(), line, message };
        let settings: Settings = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            invalid(line_of(text, at), error.message().trim().replace('\n', ", "))
        })?;
        match settings.problems().into_iter().next() {
            None => Ok(settings),
            Some(Problem { key, what }) => Err(invalid(line_of_key(text, key), format!("{key}: {what}"))),
        }
    }

    /// The settings that differ from `running` and only count from the next start on.
    pub fn need_restart(&self, running: &Settings) -> Vec<&'static str> {
        let differ =
            [("storage", self.storage != running.storage), ("http.listen", self.http.listen != running.http.listen)];
        differ.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// What cannot be seen in one value alone.
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// A setting that does not go with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its key, with dots.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub what: String,
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The line on which a key, or else the table it belongs in, is written; the first line where neither is.
fn line_of_key(text: &str, key: &str) -> usize {
    let Ok(document) = toml::de::DeTable::parse(text) else { return 1 };
    let (mut table, mut at) = (document.get_ref(), 0);
    for word in key.split('.') {
        let Some((name, value)) = table.get_key_value(word) else { break };
        at = name.span().start;
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    line_of(text, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("r.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Settings::default());
        assert!(Settings::default().http.listen.0.ip().is_loopback());
    }

    #[test]
    fn the_file_that_shows_all_settings_shows_their_defaults() {
        assert_eq!(parse(DEFAULT_TOML).unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = parse("[http]\nlisten = \":5000\"\nlissten = 1\n").unwrap_err();
        assert!(error.starts_with("r.toml:3: unknown field `lissten`"), "{error}");
        assert!(parse("[htttp]\n").unwrap_err().starts_with("r.toml:1: unknown field `htttp`"));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
        let error = parse("\n[http]\nlisten = \"here\"\n").unwrap_err();
        assert!(error.starts_with("r.toml:3: \"here\" is not an address"), "{error}");
        let error = parse("[log]\nformat = \"xml\"\n").unwrap_err();
        assert!(error.starts_with("r.toml:2: unknown variant `xml`"), "{error}");
        assert!(parse("[http\n").unwrap_err().starts_with("r.toml:1: "));
    }

    #[test]
    fn a_key_is_found_in_the_text() {
        let text = "# first\n[storage]\nroot = \"/x\"\n\n[http]\nlisten = \":1\"\n";
        assert_eq!(line_of_key(text, "http.listen"), 6);
        assert_eq!(line_of_key(text, "http.url"), 5);
        assert_eq!(line_of_key(text, "tls"), 1);
    }
}
