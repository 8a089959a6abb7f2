//! `knarr registry …`: its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, DEFAULT_TOML, Listen, Settings};
use crate::server::{self, Registry, ServeError};

/// Exit code of a command line that says nothing we understand, as docker has it.
const USAGE_EXIT: u8 = 125;

/// Keep images and other content: a registry as the distribution specification describes it
#[derive(Debug, Parser)]
#[command(name = "knarr registry", bin_name = "knarr registry", no_binary_name = true, disable_version_flag = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Serve),
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Serve a registry from a directory
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  knarr registry serve --root ./registry &
  knarr pull 127.0.0.1:5000/team/app:1.0

Without --config everything has its default: 127.0.0.1:5000, for everybody on this machine.
SIGHUP reads the file again; SIGTERM finishes the requests in flight and ends.")]
struct Serve {
    /// Settings, as `knarr registry config default` shows them; options override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: /var/lib/knarr-registry]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Where to listen; :PORT is that port on loopback [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDRESS", value_parser = str::parse::<Listen>)]
    listen: Option<Listen>,
    /// Refuse image manifests whose blobs have not been pushed [default]
    #[arg(long, overrides_with = "allow_sparse")]
    require_blobs: bool,
    /// Accept image manifests whose blobs have not been pushed
    #[arg(long, overrides_with = "require_blobs")]
    allow_sparse: bool,
}

/// Show or check settings
#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print all settings with their defaults, commented
    Default,
    /// Say whether a file of settings can be used
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs `knarr registry` with the words behind it.
pub fn applet(args: Vec<OsString>) -> ExitCode {
    let command = match CommandLine::try_parse_from(args) {
        Ok(line) => line.command,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE_EXIT) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match command {
        Command::Serve(serve) => run(serve),
        Command::Config(ConfigCommand::Default) => {
            print!("{DEFAULT_TOML}");
            Ok(())
        }
        Command::Config(ConfigCommand::Check { file }) => check(&file),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("knarr registry: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum AppletError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Serve(#[from] ServeError),
}

fn check(file: &Path) -> Result<(), AppletError> {
    Settings::load(file)?;
    println!("{}: can be used", file.display());
    Ok(())
}

impl Serve {
    /// The file's settings, and what the options say instead.
    fn settings(&self) -> Result<Settings, ConfigError> {
        let mut settings = match &self.config {
            Some(file) => Settings::load(file)?,
            None => Settings::default(),
        };
        if let Some(root) = &self.root {
            settings.storage.root.clone_from(root);
        }
        if let Some(listen) = self.listen {
            settings.http.listen = listen;
        }
        if self.allow_sparse || self.require_blobs {
            settings.manifests.sparse = self.allow_sparse;
        }
        Ok(settings)
    }
}

fn run(serve: Serve) -> Result<(), AppletError> {
    let settings = serve.settings()?;
    let root = settings.storage.root.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::Serve)?;
    let registry = Registry::open(settings)?;
    let announce = |address| eprintln!("knarr registry: serving {} on http://{address}", root.display());
    runtime.block_on(server::serve(registry, move || serve.settings(), announce))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[&str]) -> Result<Settings, String> {
        let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Serve(serve) = line.command else { return Err("another command".into()) };
        serve.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_listens_beyond_loopback_unless_asked() {
        assert!(settings(&["serve"]).unwrap().http.listen.0.ip().is_loopback());
        assert!(settings(&["serve", "--listen", ":6000"]).unwrap().http.listen.0.ip().is_loopback());
        assert!(!settings(&["serve", "--listen=0.0.0.0:5000"]).unwrap().http.listen.0.ip().is_loopback());
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(settings(&["server"]).is_err());
        assert!(settings(&["serve", "--port", "1"]).is_err());
        assert!(settings(&["serve", "--root"]).is_err());
        assert!(settings(&["serve", "--listen", "here"]).unwrap_err().contains("expected IP:PORT"));
    }

    #[test]
    fn the_later_word_about_blobs_counts() {
        assert!(settings(&["serve", "--require-blobs", "--allow-sparse"]).unwrap().manifests.sparse);
        assert!(!settings(&["serve", "--allow-sparse", "--require-blobs"]).unwrap().manifests.sparse);
    }

    #[test]
    fn options_override_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("r.toml");
        std::fs::write(&file, "storage.root = \"/from/file\"\nhttp.listen = \":1\"\nmanifests.sparse = true\n")
            .unwrap();
        let from = settings(&["serve", "--config", file.to_str().unwrap(), "--listen", ":2"]).unwrap();
        assert_eq!((from.storage.root.to_str(), from.http.listen.0.port()), (Some("/from/file"), 2));
        assert!(from.manifests.sparse);
    }
}
