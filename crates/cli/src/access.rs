//! How registries are reached: options of the command line over configuration files over the environment.
//!
//! Spec: containers-registries.conf(5), containers-auth.json(5), containers-certs.d(5), containers-policy.json(5) for the
//! places of files; skopeo's options.
//! Law: files are read when something is to be reached, not before.

use std::path::{Path, PathBuf};

use knarr_distribution::{
    AuthConfig, Credentials, Error, Lookaside, Network, Policy, Problem, Proxies, Registries, policy, registries,
};
use knarr_spec::Platform;

use crate::failure::{Failure, log_line};
use crate::registries_d;
use crate::world::variable;

/// How one side of a command reaches its registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub authfile: Option<PathBuf>,
    pub cert_dir: Option<PathBuf>,
    pub creds: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub no_creds: bool,
    pub registry_token: Option<String>,
    pub tls_verify: Option<bool>,
}

macro_rules! access_flags {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, clap::Args)]
        pub(crate) struct $name {
            /// Credentials file
            #[arg(id = concat!($prefix, "authfile"), long = concat!($prefix, "authfile"), value_name = "FILE")]
            authfile: Option<PathBuf>,
            /// Directory with certificates (*.crt, *.cert, *.key)
            #[arg(id = concat!($prefix, "cert-dir"), long = concat!($prefix, "cert-dir"), value_name = "DIR")]
            cert_dir: Option<PathBuf>,
            /// User and password
            #[arg(id = concat!($prefix, "creds"), long = concat!($prefix, "creds"), value_name = "USER[:PASSWORD]")]
            creds: Option<String>,
            /// User
            #[arg(id = concat!($prefix, "username"), long = concat!($prefix, "username"), value_name = "USER")]
            username: Option<String>,
            /// Password
            #[arg(id = concat!($prefix, "password"), long = concat!($prefix, "password"), value_name = "PASSWORD")]
            password: Option<String>,
            /// Log in nowhere
            #[arg(id = concat!($prefix, "no-creds"), long = concat!($prefix, "no-creds"))]
            no_creds: bool,
            /// A bearer token, sent as it is
            #[arg(id = concat!($prefix, "registry-token"), long = concat!($prefix, "registry-token"), value_name = "TOKEN")]
            registry_token: Option<String>,
            /// Verify TLS certificates
            #[arg(id = concat!($prefix, "tls-verify"), long = concat!($prefix, "tls-verify"), value_name = "BOOL",
                  num_args = 0..=1, require_equals = true, default_missing_value = "true")]
            tls_verify: Option<bool>,
        }

        impl $name {
            /// What was said on this side.
            pub(crate) fn access(&self) -> Access {
                Access {
                    authfile: self.authfile.clone(),
                    cert_dir: self.cert_dir.clone(),
                    creds: self.creds.clone(),
                    username: self.username.clone(),
                    password: self.password.clone(),
                    no_creds: self.no_creds,
                    registry_token: self.registry_token.clone(),
                    tls_verify: self.tls_verify,
                }
            }
        }
    };
}

access_flags!(
    /// The only registry of a command.
    OneSide, "");
access_flags!(
    /// The registry a copy comes from.
    SourceSide, "src-");
access_flags!(
    /// The registry a copy goes to.
    DestinationSide, "dest-");

/// skopeo's options for every command.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Tool {
    /// A trust policy file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Check no policy
    #[arg(long)]
    insecure_policy: bool,
    /// Choose images of this architecture
    #[arg(long, value_name = "ARCH")]
    override_arch: Option<String>,
    /// Choose images of this operating system
    #[arg(long, value_name = "OS")]
    override_os: Option<String>,
    /// Choose images of this variant
    #[arg(long, value_name = "VARIANT")]
    override_variant: Option<String>,
    /// Choose images of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Directory for temporary files
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// A registries.conf
    #[arg(long, value_name = "FILE", hide = true)]
    registries_conf: Option<PathBuf>,
    /// A directory as registries.d
    #[arg(long = "registries.d", value_name = "DIR", hide = true)]
    registries_d: Option<PathBuf>,
    /// Log requests and their answers
    #[arg(long, hide = true)]
    debug: bool,
    /// Repeat what failed for a while so often
    #[arg(long, value_name = "N")]
    retry_times: Option<u32>,
    /// Wait so long before each repetition (10s, 1m)
    #[arg(long, value_name = "DURATION")]
    retry_delay: Option<String>,
}

impl Tool {
    /// The platform images are chosen for.
    pub(crate) fn platform(&self) -> Result<Platform, Failure> {
        if let Some(text) = &self.platform {
            return text
                .parse()
                .map_err(|error: knarr_spec::platform::PlatformError| Failure::usage(error.to_string()));
        }
        let host = Platform::host();
        let own = |choice: &Option<String>| choice.as_deref().map(str::to_owned);
        let same_architecture = self.override_arch.is_none();
        let variant = own(&self.override_variant).or(host.variant.filter(|_| same_architecture));
        let os = own(&self.override_os).unwrap_or(host.os);
        let architecture = own(&self.override_arch).unwrap_or(host.architecture);
        Ok(Platform::new(&os, &architecture, variant.as_deref()))
    }

    /// The policy images must pass.
    pub(crate) fn policy(&self) -> Result<Policy, Failure> {
        match (&self.policy, self.insecure_policy) {
            (_, true) => Ok(Policy::default()),
            (None, _) => default_policy().map_err(failure),
            (Some(path), _) => match policy::read(path).map_err(|problem| failure(Error::configuration(problem)))? {
                Some(policy) => Ok(policy),
                None => Err(Failure::new(format!("open {}: no such file or directory", path.display()))),
            },
        }
    }

    /// Where temporary files are made.
    pub(crate) fn spool(&self) -> PathBuf {
        let named = self.tmpdir.clone().or_else(|| variable("TMPDIR").map(PathBuf::from));
        named.unwrap_or_else(|| "/var/tmp".into())
    }

    /// How registries are reached.
    pub(crate) fn network(&self, access: &Access) -> Result<Network, Failure> {
        let mut network = network_with(access, self.registries_conf.as_deref()).map_err(failure)?;
        network.heard = self.debug.then_some(log_request);
        if let Some(dir) = &self.registries_d {
            network.lookaside = lookaside(std::slice::from_ref(dir)).map_err(failure)?;
        }
        if let Some(times) = self.retry_times {
            network.retry.attempts = times.saturating_add(1);
        }
        if let Some(text) = &self.retry_delay {
            let delay = crate::units::go_duration(text);
            let delay = delay.ok_or_else(|| Failure::usage(format!("--retry-delay: {text:?} is no duration")))?;
            (network.retry.delay, network.retry.delay_max) = (delay, delay);
        }
        Ok(network)
    }
}

/// A line of skopeo's log about a request.
pub(crate) fn log_request(request: &str) {
    anstream::eprintln!("{}", log_line("debug", &format!("{request:?}")));
}

/// A failure of the distribution crate, with skopeo's exit codes: 2 for what is not there.
pub(crate) fn failure(error: Error) -> Failure {
    let code = match error.kind() {
        knarr_distribution::ErrorKind::NotFound => 2,
        _ => 1,
    };
    Failure::from(knarr_engine::Error::from(error)).code(code)
}

/// How registries are reached where nothing but the command's own options says so.
pub(crate) fn network(access: &Access) -> Result<Network, Error> {
    network_with(access, None)
}

fn network_with(access: &Access, registries_conf: Option<&Path>) -> Result<Network, Error> {
    let upper_or_lower = |name: &str| variable(name).or_else(|| variable(&name.to_lowercase()));
    let proxies = Proxies {
        http: upper_or_lower("HTTP_PROXY"),
        https: upper_or_lower("HTTPS_PROXY"),
        no_proxy: upper_or_lower("NO_PROXY"),
    };
    let home = variable("HOME").map(PathBuf::from);
    let own = home.iter().flat_map(|home| [home.join(".config/containers/certs.d"), home.join(".docker/certs.d")]);
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    Ok(Network {
        auth: auth(access),
        registries: registries_of(registries_conf)?,
        lookaside: lookaside(&registries_dirs())?,
        certificate_dirs: own.chain(system).collect(),
        certificate_dir: access.cert_dir.clone(),
        tls_verify: access.tls_verify,
        proxies,
        ..Network::default()
    })
}

fn auth(access: &Access) -> AuthConfig {
    if access.no_creds {
        return AuthConfig::default();
    }
    let password =
        |user: &str, password: &str| Credentials::Password { user: user.to_owned(), password: password.to_owned() };
    let explicit = match access {
        Access { registry_token: Some(token), .. } => Some(Credentials::RegistryToken(token.clone())),
        Access { creds: Some(creds), .. } => {
            let (user, secret) = creds.split_once(':').unwrap_or((creds, ""));
            Some(password(user, secret))
        }
        Access { username: Some(user), password: secret, .. } => {
            Some(password(user, secret.as_deref().unwrap_or_default()))
        }
        _ => None,
    };
    let files = access.authfile.clone().map_or_else(auth_files, |file| vec![file]);
    AuthConfig { explicit, files, helper_dirs: helper_dirs() }
}

/// Where credential helpers are looked for.
pub(crate) fn helper_dirs() -> Vec<PathBuf> {
    std::env::split_paths(&variable("PATH").unwrap_or_default()).collect()
}

fn config_home() -> Option<PathBuf> {
    let home = variable("HOME").map(PathBuf::from);
    variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".config")))
}

/// containers-auth.json(5)'s places, then docker's.
pub(crate) fn auth_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = variable("REGISTRY_AUTH_FILE").map(PathBuf::from).into_iter().collect();
    files.extend(variable("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("containers/auth.json")));
    files.extend(config_home().map(|dir| dir.join("containers/auth.json")));
    files.extend(docker_config());
    files
}

/// docker's config.json.
pub(crate) fn docker_config() -> Option<PathBuf> {
    let home = || variable("HOME").map(|home| Path::new(&home).join(".docker"));
    variable("DOCKER_CONFIG").map(PathBuf::from).or_else(home).map(|dir| dir.join("config.json"))
}

/// The user's registries.conf, else the system's; drop-ins of both over it.
fn registries_of(named: Option<&Path>) -> Result<Registries, Error> {
    let named = named.map(Path::to_owned).or_else(|| variable("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from));
    let (files, drop_ins) = match named {
        Some(file) => (vec![file], Vec::new()),
        None => {
            let own = config_home().map(|dir| dir.join("containers"));
            let dirs: Vec<PathBuf> = own.into_iter().chain(["/etc/containers".into()]).collect();
            let files = dirs.iter().map(|dir| dir.join("registries.conf")).collect();
            // The system's first, so that the user's lie over them.
            let drop_ins = dirs.iter().rev().flat_map(|dir| conf_files(&dir.join("registries.conf.d"))).collect();
            (files, drop_ins)
        }
    };
    registries::read(&files, &drop_ins).map_err(Error::configuration)
}

/// The user's registries.d, and the system's.
fn registries_dirs() -> Vec<PathBuf> {
    let own = config_home().map(|dir| dir.join("containers/registries.d"));
    own.into_iter().chain(["/etc/containers/registries.d".into()]).collect()
}

/// The first of `dirs` that is there; what it does not say is in the usual place.
fn lookaside(dirs: &[PathBuf]) -> Result<Lookaside, Error> {
    let read =
        dirs.iter().find(|dir| dir.is_dir()).map(|dir| registries_d::read(dir).map_err(|what| (dir.clone(), what)));
    let found = read.transpose();
    let mut found =
        found.map_err(|(path, what)| Error::configuration(Problem::ConfigFile { path, what }))?.unwrap_or_default();
    if found.default.is_none() {
        let home = variable("HOME").filter(|_| knarr_engine::Caller::current().uid != 0);
        let base = home.map_or_else(|| "/var/lib".to_owned(), |home| format!("{home}/.local/share"));
        found.default = Some(format!("file://{base}/containers/sigstore"));
    }
    Ok(found)
}

/// `*.conf` of a directory, sorted.
fn conf_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let conf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "conf");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(conf).collect();
    files.sort();
    files
}

/// The user's policy.json, else the system's, else everything is accepted.
pub(crate) fn default_policy() -> Result<Policy, Error> {
    let own = config_home().map(|dir| dir.join("containers/policy.json"));
    for path in own.into_iter().chain(["/etc/containers/policy.json".into()]) {
        if let Some(policy) = policy::read(&path).map_err(Error::configuration)? {
            return Ok(policy);
        }
    }
    Ok(Policy::default())
}
