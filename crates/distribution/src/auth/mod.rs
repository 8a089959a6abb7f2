//! Who we are towards a registry: credentials from files, helpers and the command line.
//!
//! Spec: containers-auth.json(5), Docker's config.json and credential-helpers protocol.
//! Law: files and directories are named by the caller. A missing file is no error, a malformed one is.

pub(crate) mod challenge;
mod files;
mod helper;
pub mod login;
pub(crate) mod token;

use std::fmt;
use std::path::PathBuf;

use knarr_spec::Reference;

use crate::Problem;

/// Where credentials are looked for.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// Given on the command line (`--creds`); used before any file.
    pub explicit: Option<Credentials>,
    /// auth.json and config.json files, the most important first.
    pub files: Vec<PathBuf>,
    /// Directories searched for `docker-credential-…` programs (the caller's `PATH`).
    pub helper_dirs: Vec<PathBuf>,
}

impl AuthConfig {
    /// The credentials for `name`; `None` means anonymous.
    pub fn credentials(&self, name: &Reference) -> Result<Option<Credentials>, Problem> {
        if let Some(explicit) = &self.explicit {
            return Ok(Some(explicit.clone()));
        }
        self.of_files(name)
    }

    /// The credentials for `name` that files and helpers know.
    pub(crate) fn of_files(&self, name: &Reference) -> Result<Option<Credentials>, Problem> {
        for path in &self.files {
            let Some(file) = files::AuthFile::read(path)? else { continue };
            let found = match file.look_up(name) {
                Some(files::Answer::Credentials(credentials)) => Some(credentials),
                Some(files::Answer::Helper(helper)) => {
                    helper::ask(&helper, &self.helper_dirs, server_name(name.registry()))?
                }
                None => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// What helpers know a registry as.
fn server_name(registry: &str) -> &str {
    match registry {
        knarr_spec::reference::DEFAULT_REGISTRY => "https://index.docker.io/v1/",
        other => other,
    }
}

/// What a registry or its token server wants to see.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password or personal token.
    Password {
        /// The user.
        user: String,
        /// The secret.
        password: String,
    },
    /// An OAuth refresh token (docker: `identitytoken`, helpers: user `<token>`).
    IdentityToken(String),
    /// A bearer token sent as it is (docker: `registrytoken`).
    RegistryToken(String),
}

/// Secrets never reach a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password { user, .. } => write!(f, "Password {{ user: {user:?}, password: … }}"),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken(…)"),
            Credentials::RegistryToken(_) => f.write_str("RegistryToken(…)"),
        }
    }
}
