//! `login`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use knarr_distribution::auth::login::{self, Kept};

use crate::access::{self, Access};
use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::{World, variable};

/// Longest password that is read.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Log in to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// User
    #[arg(long, short = 'u', value_name = "USER")]
    username: Option<String>,
    /// Password or token
    #[arg(long, short = 'p', value_name = "PASSWORD")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// File to keep the login in
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// docker's file to keep the login in
    #[arg(long, value_name = "FILE", conflicts_with = "authfile")]
    compat_auth_file: Option<PathBuf>,
    /// Directory with certificates
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Print the user that is logged in
    #[arg(long)]
    get_login: bool,
    /// Say where the login is kept
    #[arg(long, short = 'v')]
    verbose: bool,
    /// Verify TLS certificates
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
    /// Log requests and their answers
    #[arg(long, hide = true)]
    debug: bool,
    /// The registry; Docker Hub without it
    registry: Option<String>,
}

/// The name of the registry in whatever docker or skopeo take for one.
pub(crate) fn registry_name(given: Option<&str>) -> String {
    let given = given.unwrap_or("docker.io");
    let bare = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://")).unwrap_or(given);
    let bare = bare.split('/').next().unwrap_or(bare);
    match bare {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

/// The file logins are kept in where none is named: REGISTRY_AUTH_FILE, else the first known file that is there, else
/// docker's.
pub(crate) fn auth_file() -> Result<PathBuf, Failure> {
    let there = access::auth_files().into_iter().find(|path| path.exists());
    let named = variable("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let file = named.or(there).or_else(access::docker_config);
    file.ok_or_else(|| Failure::usage("no place for credentials: HOME is not set").hint("name a file with --authfile"))
}

impl Verb for Login {
    const NAMES: &'static [&'static str] = &["login"];
    const ABOUT: &'static str = "Log in to a registry";
    const EXAMPLE: &'static str = "knarr login -u me --password-stdin registry.example";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let registry = registry_name(self.registry.as_deref());
        let file = self.authfile.clone().or(self.compat_auth_file.clone());
        let access = Access {
            authfile: file.clone(),
            cert_dir: self.cert_dir.clone(),
            tls_verify: self.tls_verify,
            ..Access::default()
        };
        let mut network = access::network(&access).map_err(access::failure)?;
        network.heard = self.debug.then_some(access::log_request);
        if self.get_login {
            return match login::user(&registry, &network).map_err(access::failure)? {
                Some(user) => print(&format!("{user}\n")).map(|()| 0),
                None => Err(Failure::new(format!("not logged into {registry}"))),
            };
        }
        let file = file.map_or_else(auth_file, Ok)?;
        let known = login::user(&registry, &network).map_err(access::failure)?;
        let (user, password) = self.credentials(known)?;
        let kept = login::login(&registry, &user, &password, &file, &network)
            .map_err(|error| access::failure(error).code(1))?;
        match kept {
            Kept::File(path) if self.verbose => print(&format!("Used: {}\n", path.display()))?,
            Kept::Helper(name) if self.verbose => print(&format!("Used: docker-credential-{name}\n"))?,
            Kept::File(path) => anstream::eprintln!(
                "WARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning.",
                path.display()
            ),
            Kept::Helper(_) => {}
        }
        print("Login Succeeded\n")?;
        Ok(0)
    }
}

impl Login {
    fn credentials(&self, known: Option<String>) -> Result<(String, String), Failure> {
        let user = || self.username.clone().filter(|user| !user.is_empty());
        if self.password_stdin {
            if self.password.is_some() {
                return Err(Failure::usage("--password and --password-stdin are mutually exclusive"));
            }
            let user = user().ok_or_else(|| Failure::usage("Must provide --username with --password-stdin"))?;
            let mut text = String::new();
            let read = std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| Failure::new(format!("read standard input: {error}")))?;
            let password = text.trim_end_matches(['\n', '\r']).to_owned();
            return Ok((user, password));
        }
        if let (Some(user), Some(password)) = (user(), self.password.clone()) {
            anstream::eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            return Ok((user, password));
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::new("Error: Cannot perform an interactive login from a non TTY device")
                .hint("say -u USER --password-stdin"));
        }
        let user = match user() {
            Some(user) => user,
            None => ask("Username", known.as_deref())?,
        };
        Ok((user, crate::passphrase::line("Password")?))
    }
}

fn ask(what: &str, known: Option<&str>) -> Result<String, Failure> {
    match known {
        Some(known) => anstream::eprint!("{what} ({known}): "),
        None => anstream::eprint!("{what}: "),
    }
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).map_err(|error| Failure::new(format!("read standard input: {error}")))?;
    match (text.trim(), known) {
        ("", Some(known)) => Ok(known.to_owned()),
        ("", None) => Err(Failure::usage("username is empty")),
        (given, _) => Ok(given.to_owned()),
    }
}
