//! `knarr registry …`: its command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::auth::htpasswd::{self, UserError};
use crate::check;
use crate::config::import::{ImportError, import};
use crate::config::values::Glob;
use crate::config::{ConfigError, DEFAULT_TOML, Listen, LogFormat, Settings};
use crate::error::StorageError;
use crate::export;
use crate::live::Live;
use crate::log::Log;
use crate::server::{self, Registry, ServeError};
use crate::tls::TlsSettings;

/// Exit code of a command line that says nothing we understand, as docker has it.
const USAGE_EXIT: u8 = 125;

/// Keep images and other content: a registry as the distribution specification describes it
#[derive(Debug, Parser)]
#[command(
    name = "knarr registry",
    bin_name = "knarr registry",
    no_binary_name = true,
    disable_version_flag = true,
    disable_help_subcommand = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Serve),
    Check(Check),
    Retention(Retention),
    Static(Static),
    #[command(subcommand, disable_help_subcommand = true)]
    Config(ConfigCommand),
    Htpasswd(Htpasswd),
}

/// Print a line for a file of users; the password is the first line of standard input
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  printf %s hold-fast | knarr registry htpasswd ship >> htpasswd
  knarr registry serve --htpasswd htpasswd")]
struct Htpasswd {
    /// The user's name
    #[arg(value_name = "USER")]
    user: String,
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
    /// Speak plain HTTP beyond this machine
    #[arg(long)]
    plain_http: bool,
    /// Speak TLS with this certificate (PEM, with those between it and its authority)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Ask for names and passwords; the file is as `knarr registry htpasswd` writes it
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Refuse image manifests whose blobs have not been pushed [default]
    #[arg(long, overrides_with = "allow_sparse")]
    require_blobs: bool,
    /// Accept image manifests whose blobs have not been pushed
    #[arg(long, overrides_with = "require_blobs")]
    allow_sparse: bool,
}

/// Find rotten, lost and unrecorded content
#[derive(Debug, Args)]
#[command(after_help = "\
Reads every blob and compares its digest; compares database, blobs and records.
Exits with 0 where all is well or was repaired, with 1 where something is wrong.
--repair needs directory and database for itself: what is rotten is moved to damaged/, what is lost is forgotten so that it
can be pushed again, and a database that is missing or damaged is rebuilt from blobs and records.")]
struct Check {
    #[command(flatten)]
    place: Place,
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
}

/// Remove the tags and manifests that the rules of the settings do not keep
#[derive(Debug, Args)]
#[command(after_help = "\
A server applies the rules by itself, at each gc.interval; this command does it now, with the directory for itself.
--dry-run shows what would go, also beside a running server.")]
struct Retention {
    /// Settings with [[retention]] rules
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where everything is kept [default: what the settings say]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Write the content as plain files that any web server can serve
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  knarr registry static ./export
  python3 -m http.server --directory ./export 5000 &
  knarr pull 127.0.0.1:5000/team/app:1.0

Clients that need to be told media types in headers get them from nginx with the nginx.conf written beside the content.
Also beside a running server; what is there already is not written again, and what is gone is not removed.")]
struct Static {
    /// Where to
    #[arg(value_name = "EXPORT_DIR")]
    to: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Only repositories that match
    #[arg(long, value_name = "PATTERN", default_value = "**", value_parser = Glob::new)]
    repositories: Glob,
}

/// Which registry
#[derive(Debug, Args)]
struct Place {
    /// Settings that say where everything is kept
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: what the settings say, else /var/lib/knarr-registry]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Place {
    fn settings(&self) -> Result<Settings, ConfigError> {
        let adjust = |settings: &mut Settings| {
            if let Some(root) = &self.root {
                settings.storage.root.clone_from(root);
            }
        };
        match &self.config {
            Some(file) => Settings::load(file, adjust),
            None => {
                let mut settings = Settings::default();
                adjust(&mut settings);
                Ok(settings)
            }
        }
    }
}

/// Show or check settings
#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print all settings with their defaults, commented
    Default,
    /// Translate the config.yml of distribution's registry; what has no counterpart is named on standard error
    Import {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Say whether a file of settings can be used
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// The commands and options of `knarr registry`.
pub fn command() -> clap::Command {
    <CommandLine as clap::CommandFactory>::command()
}

/// Runs `knarr registry` with the words behind it.
pub fn applet(args: Vec<OsString>) -> ExitCode {
    // `help serve` is `serve --help`.
    let args = match args.split_first() {
        Some((help, topic)) if help == "help" => topic.iter().cloned().chain(["--help".into()]).collect(),
        _ => args,
    };
    let command = match CommandLine::try_parse_from(args) {
        Ok(line) => line.command,
        Err(error) if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print!("{}", error.render());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("knarr registry: {}", usage(&error.render().to_string()));
            return ExitCode::from(USAGE_EXIT);
        }
    };
    let outcome = match command {
        Command::Serve(serve) => run(serve),
        Command::Check(check) => check_root(&check),
        Command::Retention(retention) => retain(&retention),
        Command::Static(wanted) => write_static(&wanted),
        Command::Config(ConfigCommand::Default) => {
            print!("{DEFAULT_TOML}");
            Ok(())
        }
        Command::Config(ConfigCommand::Check { file }) => check(&file),
        Command::Config(ConfigCommand::Import { file }) => import_from(&file),
        Command::Htpasswd(Htpasswd { user }) => add_user(&user),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("knarr registry: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The parser's complaint in our form: what is wrong, and a hint.
fn usage(rendered: &str) -> String {
    let lines = || rendered.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut what = lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    // Missing operands are listed below it.
    if what.ends_with(':') {
        let missing: Vec<&str> = lines().skip(1).take_while(|line| line.starts_with(['<', '-'])).collect();
        what = format!("{what} {}", missing.join(", "));
    }
    let tip = lines().find_map(|line| line.strip_prefix("tip: "));
    let see = "see `knarr registry --help`";
    format!("{what}\nhint: {}", tip.map_or(see.to_owned(), |tip| format!("{tip}; {see}")))
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum AppletError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Serve(#[from] ServeError),
    #[error("{}: {source}", path.display())]
    Import { path: PathBuf, source: ImportError },
    #[error("the password cannot be read: {0}")]
    Password(std::io::Error),
    #[error("{0}")]
    User(#[from] UserError),
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("{findings} things are not as they must be\nhint: 'knarr registry check --repair' mends them")]
    Unsound { findings: usize },
}

fn check_root(check: &Check) -> Result<(), AppletError> {
    let report = check::check(&check.place.settings()?, check.repair)?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{} blobs, {} bytes: {} findings", report.blobs, report.bytes, report.findings.len());
    match report.findings.len() {
        findings if findings > 0 && !check.repair => Err(AppletError::Unsound { findings }),
        _ => Ok(()),
    }
}

fn write_static(wanted: &Static) -> Result<(), AppletError> {
    let registry = Registry::open_beside(wanted.place.settings()?)?;
    let done = export::export(&registry, &wanted.repositories, &wanted.to)?;
    let (repositories, tags, manifests) = (done.repositories, done.tags, done.manifests);
    println!(
        "{repositories} repositories, {tags} tags, {manifests} manifests; {} blobs written, {} there already",
        done.blobs, done.kept
    );
    Ok(())
}

fn retain(retention: &Retention) -> Result<(), AppletError> {
    let adjust = |settings: &mut Settings| {
        if let Some(root) = &retention.root {
            settings.storage.root.clone_from(root);
        }
    };
    let settings = Settings::load(&retention.config, adjust)?;
    let registry = if retention.dry_run { Registry::open_beside(settings)? } else { Registry::open(settings)? };
    registry.each_planned(&mut |repository, planned| {
        planned.iter().for_each(|planned| println!("{repository}{planned}"));
        Ok(())
    })?;
    if !retention.dry_run {
        registry.apply_retention()?;
    }
    Ok(())
}

fn check(file: &Path) -> Result<(), AppletError> {
    let settings = Settings::load(file, |_| {})?;
    Live::check(&settings).map_err(ServeError::from)?;
    println!("{}: can be used", file.display());
    Ok(())
}

fn import_from(file: &Path) -> Result<(), AppletError> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read { path: file.to_owned(), source })?;
    let imported = import(&text).map_err(|source| AppletError::Import { path: file.to_owned(), source })?;
    for note in &imported.notes {
        eprintln!("{shown}:{}: {}: {}", note.line, note.key, note.what);
    }
    print!("{}", imported.toml);
    Settings::parse(&imported.toml, Path::new("the translation"))?;
    Ok(())
}

fn add_user(user: &str) -> Result<(), AppletError> {
    let mut password = String::new();
    std::io::stdin().read_line(&mut password).map_err(AppletError::Password)?;
    println!("{}", htpasswd::line(user, password.trim_end_matches(['\r', '\n']))?);
    Ok(())
}

impl Serve {
    /// The file's settings, and what the options say instead.
    fn settings(&self) -> Result<Settings, ConfigError> {
        match &self.config {
            Some(file) => Settings::load(file, |settings| self.adjust(settings)),
            None => {
                let mut settings = Settings::default();
                self.adjust(&mut settings);
                settings.check_without_file()?;
                Ok(settings)
            }
        }
    }

    fn adjust(&self, settings: &mut Settings) {
        if let Some(root) = &self.root {
            settings.storage.root.clone_from(root);
        }
        if let Some(listen) = self.listen {
            settings.http.listen = listen;
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            settings.tls = Some(TlsSettings::new(certificate.clone(), key.clone()));
        }
        if self.htpasswd.is_some() {
            settings.auth.htpasswd.clone_from(&self.htpasswd);
        }
        settings.http.plain |= self.plain_http;
        if self.allow_sparse || self.require_blobs {
            settings.manifests.sparse = self.allow_sparse;
        }
    }
}

fn run(serve: Serve) -> Result<(), AppletError> {
    let settings = serve.settings()?;
    let (root, open) = (settings.storage.root.clone(), !settings.asks_for_names());
    let log_settings = settings.log.clone();
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::Serve)?;
    let registry = Registry::open(settings)?;
    let log = Log::new(log_settings.clone());
    let announce = |address: SocketAddr| {
        let warning = "everybody who reaches this address may push and delete; see --htpasswd";
        let exposed = open && !address.ip().is_loopback();
        if log_settings.format == LogFormat::Json {
            log.info("serving", &[("root", &root.display()), ("address", &format!("{scheme}://{address}"))]);
            if exposed {
                log.warn(warning, &[]);
            }
            return;
        }
        eprintln!("knarr registry: serving {} on {scheme}://{address}", root.display());
        if exposed {
            eprintln!("knarr registry: warning: {warning}");
        }
    };
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
        let error = settings(&["serve", "--listen=0.0.0.0:5000"]).unwrap_err();
        assert!(error.contains("--plain-http"), "{error}");
        assert!(settings(&["serve", "--listen=0.0.0.0:5000", "--plain-http"]).is_ok());
        assert!(settings(&["serve", "--tls-cert", "c"]).is_err());
    }

    #[test]
    fn complaints_are_one_line_and_a_hint() {
        let said =
            |words: &[&str]| usage(&CommandLine::try_parse_from(words).map(|_| ()).unwrap_err().render().to_string());
        assert_eq!(
            said(&["serv"]),
            "unrecognized subcommand 'serv'\nhint: a similar subcommand exists: 'serve'; see `knarr registry --help`"
        );
        assert_eq!(
            said(&["htpasswd"]),
            "the following required arguments were not provided: <USER>\nhint: see `knarr registry --help`"
        );
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
