//! `logout`.

use std::path::PathBuf;

use knarr_distribution::auth::login;

use super::login::{auth_file, registry_name};
use crate::access;
use crate::failure::Failure;
use crate::output::print;
use crate::verb::Verb;
use crate::world::World;

/// Log out from a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// Forget all logins of the file
    #[arg(long, short = 'a')]
    all: bool,
    /// File the login is kept in
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// docker's file the login is kept in
    #[arg(long, value_name = "FILE", conflicts_with = "authfile")]
    compat_auth_file: Option<PathBuf>,
    /// The registry; Docker Hub without it
    registry: Option<String>,
}

impl Verb for Logout {
    const NAMES: &'static [&'static str] = &["logout"];
    const ABOUT: &'static str = "Log out from a registry";
    const EXAMPLE: &'static str = "knarr logout registry.example";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let file = self.authfile.clone().or(self.compat_auth_file.clone());
        if self.all {
            let file = file.map_or_else(auth_file, Ok)?;
            login::logout_all(&file).map_err(access::failure)?;
            print("Removed login credentials for all registries\n")?;
            return Ok(0);
        }
        let registry = registry_name(self.registry.as_deref());
        let files = file.map_or_else(access::auth_files, |file| vec![file]);
        let forgotten = login::logout(&registry, &files, &access::helper_dirs()).map_err(access::failure)?;
        match forgotten.is_empty() {
            true => Err(Failure::new(format!("Not logged into {registry}"))),
            false => print(&format!("Removed login credentials for {registry}\n")).map(|()| 0),
        }
    }
}
