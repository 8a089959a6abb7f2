//! What went wrong with an image on its way here, classified once.
//!
//! An [`Error`] reads `pull docker.io/library/alpine:3.20: layer sha256:9d4b…: registry sent 3402190 bytes, manifest
//! promised 3402542`: the verb, the subject, then the [`Problem`]. Faces map [`ErrorKind`] to their codes.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use knarr_spec::{DiffId, Digest};

use crate::limits;

/// What was done to what, and why it failed.
#[derive(Debug)]
pub struct Error {
    /// `pull` or `load`.
    pub verb: &'static str,
    /// The reference or path as the user knows it.
    pub subject: String,
    /// Why.
    pub problem: Box<Problem>,
}

impl Error {
    /// A problem of the configuration, before anything was done.
    pub fn configuration(problem: Problem) -> Error {
        Error { verb: "read", subject: "configuration".to_owned(), problem: Box::new(problem) }
    }

    /// The class of the problem.
    pub fn kind(&self) -> ErrorKind {
        self.problem.kind()
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self.problem.innermost() {
            Problem::Unauthorized { .. } if self.verb == "login" => {
                Some("check the user's name and password; a token in place of the password may have expired".to_owned())
            }
            problem => problem.hint(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.verb, self.subject, self.problem)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.problem.innermost())
    }
}

/// The classes faces distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such repository, tag, digest or file.
    NotFound,
    /// Credentials are missing or refused.
    Unauthorized,
    /// The server cannot be reached or does not answer sensibly; trying later may help.
    Network,
    /// What came is not what was promised.
    Corrupt,
    /// The image exists, but not for this platform.
    Platform,
    /// Well-formed, but not something we can take.
    Unsupported,
    /// The configuration forbids it.
    Forbidden,
    /// The user's words or files are wrong.
    Invalid,
    /// Our own disk, store or tree.
    Local,
}

/// The part of an image a problem is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The manifest or index that was asked for.
    Manifest(String),
    /// The config blob.
    Config(Digest),
    /// A layer blob.
    Layer(Digest),
    /// A member of an archive or layout.
    Member(String),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Manifest(reference) => write!(f, "manifest {reference}"),
            Part::Config(digest) => write!(f, "config {digest}"),
            Part::Layer(digest) => write!(f, "layer {digest}"),
            Part::Member(name) => write!(f, "{name}"),
        }
    }
}

/// Why something failed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A problem of one part of the image.
    #[error("{part}: {problem}")]
    In {
        /// The part.
        part: Part,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
    /// The registry knows the repository or not, but not this manifest.
    #[error("manifest for {reference} not found: manifest unknown: {message}")]
    ManifestUnknown {
        /// As the user would write it.
        reference: String,
        /// The registry's words.
        message: String,
    },
    /// The registry would not say whether the repository exists.
    #[error("{access} access denied for {name}, repository does not exist or may require 'docker login': {message}")]
    AccessDenied {
        /// `pull` or `push`.
        access: &'static str,
        /// The repository as the user would write it.
        name: String,
        /// The registry's words.
        message: String,
    },
    /// Wrong or no credentials.
    #[error("unauthorized: {host}: {message}")]
    Unauthorized {
        /// Who refused.
        host: String,
        /// Its words, or ours.
        message: String,
    },
    /// The registry has no such repository.
    #[error("repository {name} is not known to the registry: {message}")]
    RepositoryUnknown {
        /// As the user would write it.
        name: String,
        /// The registry's words.
        message: String,
    },
    /// The blob is not in the repository, though the manifest names it.
    #[error("the registry does not have it: blob unknown")]
    BlobUnknown,
    /// Only other servers have this layer, and they are not asked.
    #[error("the registry does not have it; it is to be had from {0:?} only, which is not contacted")]
    Foreign(Vec<String>),
    /// A status nobody expected.
    #[error("{url}: {status}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Status {
        /// Without query, which may carry secrets.
        url: String,
        /// The status code.
        code: u16,
        /// The code and its text.
        status: String,
        /// The server's words.
        message: String,
        /// What `Retry-After` said.
        wait: Option<Duration>,
    },
    /// Too many requests, and more patience asked than we have.
    #[error("{host} refuses more requests for now (429 Too Many Requests){}", wait_text(.wait))]
    RateLimited {
        /// Who.
        host: String,
        /// What `Retry-After` said.
        wait: Option<Duration>,
    },
    /// No connection, or it broke, and repetition did not help.
    #[error("{host}: {cause}")]
    Transport {
        /// Whom we talked to.
        host: String,
        /// The cause at the bottom.
        cause: Transport,
    },
    /// The server speaks http where https was expected.
    #[error("{host}: server gave HTTP response to HTTPS client")]
    NotTls {
        /// Who.
        host: String,
    },
    /// The connection ended in good order, but too early.
    #[error("{host}: the connection ended after {got} of {promised} bytes")]
    CutOff {
        /// Who.
        host: String,
        /// Bytes of the blob that are here.
        got: u64,
        /// Its size.
        promised: u64,
    },
    /// Another part of the same image failed, so this one was given up.
    #[error("given up because another part failed")]
    Interrupted,
    /// A part of a blob was asked for, and all of it came.
    #[error("{host} answers no requests for parts of a blob")]
    NoRanges {
        /// Who.
        host: String,
    },
    /// Bytes stopped coming.
    #[error("{host}: no data for {seconds} s")]
    Stalled {
        /// Who.
        host: String,
        /// How long we waited.
        seconds: u64,
    },
    /// Bytes come, but drop by drop.
    #[error("{host}: {bytes} bytes in {seconds} s are too slow")]
    TooSlow {
        /// Who.
        host: String,
        /// What came.
        bytes: u64,
        /// In which time.
        seconds: u64,
    },
    /// A redirect loop, or as good as one.
    #[error("{url}: more than {} redirects", limits::REDIRECTS_MAX)]
    TooManyRedirects {
        /// Where it began.
        url: String,
    },
    /// A redirect that cannot be followed safely.
    #[error("{url}: redirected to {target:?}, which is {why}")]
    BadRedirect {
        /// Who redirects.
        url: String,
        /// To where.
        target: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An answer that breaks the protocol.
    #[error("{host}: {what}")]
    Protocol {
        /// Who.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// Shorter or longer than the descriptor says.
    #[error("{by} sent {}{got} bytes, manifest promised {promised}", if *.more { "more than " } else { "" })]
    Size {
        /// `registry` or `archive`.
        by: &'static str,
        /// Bytes seen.
        got: u64,
        /// Whether reading stopped there.
        more: bool,
        /// The descriptor's size.
        promised: u64,
    },
    /// The content is not what its digest says.
    #[error("content has digest {got}, expected {promised}")]
    DigestMismatch {
        /// What came.
        got: Digest,
        /// What was promised.
        promised: Digest,
    },
    /// The registry's header contradicts its body or the reference.
    #[error("Docker-Content-Digest says {header}, the content is {got}")]
    HeaderMismatch {
        /// The header.
        header: String,
        /// The body.
        got: Digest,
    },
    /// The unpacked layer is not the one the config names.
    #[error("unpacks to diff id {got}, the image config promises {promised}")]
    DiffIdMismatch {
        /// What it is.
        got: DiffId,
        /// What it should be.
        promised: DiffId,
    },
    /// A digest we cannot check.
    #[error("digest algorithm {algorithm:?} of {digest} cannot be checked here; sha256 and sha512 can")]
    UnknownAlgorithm {
        /// The digest.
        digest: Digest,
        /// Its algorithm.
        algorithm: String,
    },
    /// A document over its limit.
    #[error("larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// Not JSON, or not the document it should be.
    #[error("malformed {what}")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// A document that contradicts itself or another.
    #[error("{0}")]
    Inconsistent(Inconsistency),
    /// Something that is no image of a file system.
    #[error("media type {media_type:?} is not supported for a {what}")]
    MediaType {
        /// manifest, config, layer.
        what: &'static str,
        /// What it says it is.
        media_type: String,
    },
    /// Nothing in the index fits.
    #[error("no matching manifest for {wanted} in the manifest list entries")]
    Platform {
        /// What we need.
        wanted: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// registries.conf blocks the registry.
    #[error("registry {0} is blocked by configuration")]
    Blocked(String),
    /// registries.conf rewrites the name to something that is none.
    #[error("registries.conf: location {location:?}: {why}")]
    BadLocation {
        /// The location.
        location: String,
        /// Why the result is no reference.
        why: knarr_spec::ReferenceError,
    },
    /// A configuration or credentials file is wrong.
    #[error("{}: {what}", .path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line where there is one.
        what: String,
    },
    /// Signatures beside a registry cannot be read.
    #[error("signatures at {url}: {why}")]
    Lookaside {
        /// Where, without a query.
        url: String,
        /// Why.
        why: String,
    },
    /// A credential helper failed.
    #[error("credential helper {program}: {what}")]
    Helper {
        /// `docker-credential-…`.
        program: String,
        /// What it said, or why it did not run.
        what: String,
    },
    /// The system has no certificates to check servers against.
    #[error("no trusted certificate authorities found on this system")]
    NoTrustRoots,
    /// A proxy setting is no URL.
    #[error("proxy {0:?} is not a URL")]
    Proxy(String),
    /// No thread or event queue to be had.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The store refused, or what is in it is damaged.
    #[error(transparent)]
    Store(knarr_store::Error),
    /// The layer is not a tar we unpack, or the tree cannot be written.
    #[error(transparent)]
    Layer(#[from] knarr_layer::Error),
    /// The layer's table of contents, or a file by it.
    #[error("table of contents")]
    Table(#[from] knarr_layer::toc::Fault),
    /// The image has nothing of this name, or nothing that can be read.
    #[error("{path}: {why}")]
    NoFile {
        /// As it was asked for.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The archive or layout does not hold what it should.
    #[error("{0}")]
    Archive(ArchiveProblem),
    /// What was asked for would change a digest that was to be kept.
    #[error("{0}: instructed to preserve digests")]
    PreserveDigests(&'static str),
    /// Something cannot be done to this kind of image or place.
    #[error("{0}")]
    Unsupported(String),
    /// The image is in the store in part only.
    #[error("the store lacks {0}")]
    NotStored(Digest),
    /// The signature policy does not allow the image.
    #[error("Source image rejected: {0}")]
    Rejected(String),
    /// A signature could not be made, or does not verify.
    #[error("{0}")]
    Signature(String),
    /// A file of the user's cannot be read.
    #[error("{}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<knarr_store::Error> for Problem {
    fn from(error: knarr_store::Error) -> Problem {
        match error {
            knarr_store::Error::WrongDigest { expected, actual } => {
                Problem::DigestMismatch { got: actual, promised: expected }
            }
            other => Problem::Store(other),
        }
    }
}

/// What does not fit together in an image's documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// The config counts other layers than the manifest.
    #[error("the manifest has {manifest} layers, its config {config} diff ids")]
    LayerCount {
        /// In the manifest.
        manifest: usize,
        /// In the config.
        config: usize,
    },
    /// Too many layers.
    #[error("{0} layers are more than {max}", max = limits::LAYERS_MAX)]
    TooManyLayers(usize),
    /// Indexes within indexes.
    #[error("indexes are nested more than {} deep", limits::INDEX_DEPTH_MAX)]
    IndexDepth,
    /// One document, two readings.
    #[error("the document is both a manifest and an index")]
    Ambiguous,
    /// A descriptor's embedded `data` is not base64 or not its content.
    #[error("the descriptor's embedded data does not match its digest and size")]
    Data,
}

/// What is wrong with an archive or layout as a container of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveProblem {
    /// Neither `index.json` nor `manifest.json`.
    #[error("is no image archive: neither manifest.json nor index.json is in it")]
    NoImage,
    /// A member is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// A member that is no file.
    #[error("{0} is not a regular file")]
    NotAFile(String),
    /// Links that lead nowhere.
    #[error("{0} leads through too many links")]
    LinkLoop(String),
    /// Too many members.
    #[error("more than {} members", limits::ARCHIVE_MEMBERS_MAX)]
    TooManyMembers,
    /// Bigger than we take after decompression.
    #[error("more than {} bytes after decompression", limits::ARCHIVE_BYTES_MAX)]
    TooLarge,
    /// The tar ends early or is none.
    #[error("damaged archive: {0}")]
    Damaged(String),
    /// The tag is not in the archive.
    #[error("no image {wanted:?}; there are {offered:?}")]
    NoSuchTag {
        /// Asked for.
        wanted: String,
        /// There.
        offered: Vec<String>,
    },
    /// More than one image and no tag to choose.
    #[error("holds several images, name one of {0:?}")]
    Ambiguous(Vec<String>),
    /// A directory with other content.
    #[error("{} holds something else; it is not overwritten", .0.display())]
    NotOurs(PathBuf),
    /// A docker archive names one image per name.
    #[error("a docker archive has no room for images of several platforms")]
    NoRoomForIndex,
    /// A layout version we do not know.
    #[error("image layout version {0:?} is not supported")]
    LayoutVersion(String),
}

/// A failed exchange with a server; prints the cause at the bottom of the HTTP library's chain, which is the one that helps.
#[derive(Debug)]
pub struct Transport(reqwest::Error);

impl Transport {
    /// Keeps the error, not its URL, whose query may carry secrets.
    pub(crate) fn new(error: reqwest::Error) -> Transport {
        Transport(error.without_url())
    }

    /// Whether the server answered in plain HTTP to a TLS handshake.
    pub(crate) fn is_not_tls(&self) -> bool {
        let error = self.tls_error();
        matches!(error, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)))
    }

    fn tls_error(&self) -> Option<&rustls::Error> {
        chain(&self.0).find_map(within)
    }

    /// Whether the other side's certificate was refused.
    pub(crate) fn is_certificate(&self) -> bool {
        self.tls_error().is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
    }

    /// Whether no connection came to be, so that nothing was asked and nothing answered.
    pub(crate) fn is_connect(&self) -> bool {
        self.0.is_connect()
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chain(&self.0).last() {
            _ if self.0.is_timeout() => f.write_str("timed out"),
            Some(bottom) => fmt::Display::fmt(bottom, f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

/// An `io::Error` hides what it carries from `source()`, and may carry another of its kind.
fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<std::io::Error>() {
        Some(io) => within(io.get_ref()?),
        None => error.downcast_ref(),
    }
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

impl Problem {
    /// The same problem, said of `part`.
    pub(crate) fn of(self, part: Part) -> Problem {
        Problem::In { part, problem: Box::new(self) }
    }

    /// The problem itself, without the parts it was found in.
    pub fn innermost(&self) -> &Problem {
        match self {
            Problem::In { problem, .. } => problem.innermost(),
            other => other,
        }
    }

    /// The class, by which faces choose codes and callers decide.
    pub fn kind(&self) -> ErrorKind {
        use ErrorKind as Kind;
        use Problem as P;
        match self {
            P::In { problem, .. } => problem.kind(),
            P::ManifestUnknown { .. } | P::RepositoryUnknown { .. } | P::BlobUnknown | P::Foreign(_) => Kind::NotFound,
            P::AccessDenied { .. } | P::Unauthorized { .. } => Kind::Unauthorized,
            P::Status { .. } | P::RateLimited { .. } | P::Transport { .. } | P::NotTls { .. } => Kind::Network,
            P::CutOff { .. } | P::Interrupted | P::NoRanges { .. } => Kind::Network,
            P::Stalled { .. } | P::TooSlow { .. } | P::TooManyRedirects { .. } | P::BadRedirect { .. } => Kind::Network,
            P::Protocol { .. } | P::Size { .. } | P::DigestMismatch { .. } | P::HeaderMismatch { .. } => Kind::Corrupt,
            P::DiffIdMismatch { .. } | P::TooLarge { .. } | P::Malformed { .. } | P::Inconsistent(_) => Kind::Corrupt,
            P::UnknownAlgorithm { .. } | P::MediaType { .. } => Kind::Unsupported,
            P::Platform { .. } => Kind::Platform,
            P::Blocked(_) | P::Rejected(_) => Kind::Forbidden,
            P::PreserveDigests(_) | P::Signature(_) => Kind::Invalid,
            P::Unsupported(_) => Kind::Unsupported,
            P::NotStored(_) => Kind::NotFound,
            P::ConfigFile { .. } | P::BadLocation { .. } | P::Helper { .. } | P::Proxy(_) | P::Lookaside { .. } => {
                Kind::Invalid
            }
            P::Archive(problem) => problem.kind(),
            P::Store(knarr_store::Error::UnknownAlgorithm(_)) => Kind::Unsupported,
            P::Store(_) => Kind::Local,
            P::Layer(knarr_layer::Error::Tree { .. } | knarr_layer::Error::Write(_)) => Kind::Local,
            P::Layer(knarr_layer::Error::Unsupported { .. }) => Kind::Unsupported,
            P::Layer(_) | P::Table(_) => Kind::Corrupt,
            P::NoFile { .. } => Kind::NotFound,
            P::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            P::File { .. } | P::Thread(_) | P::NoTrustRoots => Kind::Local,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        use Problem as P;
        Some(match self {
            P::In { problem, .. } => return problem.hint(),
            P::AccessDenied { .. } | P::Unauthorized { .. } => {
                "log in with 'knarr login', or check the name".to_owned()
            }
            P::ManifestUnknown { reference, .. } => {
                let name = reference.split('@').next().unwrap_or(reference);
                let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
                format!("list the tags there are: knarr image list-tags docker://{name}")
            }
            P::RepositoryUnknown { .. } => {
                "check the name; the registry may also hide what needs 'knarr login'".to_owned()
            }
            P::NotTls { host } => {
                format!(
                    "if {host} is meant to speak plain http, say --tls-verify=false or mark it insecure in registries.conf"
                )
            }
            P::Transport { host, cause } => unreachable(host, &cause.to_string()),
            P::Stalled { host, .. } | P::TooSlow { host, .. } | P::CutOff { host, .. } => {
                format!(
                    "check that {host} can be reached from here; what has arrived is kept and the next pull goes on from there"
                )
            }
            P::NoTrustRoots => "install the package ca-certificates".to_owned(),
            P::RateLimited { .. } => "wait, or log in for a higher limit".to_owned(),
            P::Platform { offered, .. } if !offered.is_empty() => {
                format!("there are {}; choose one with --platform", offered.join(", "))
            }
            P::Store(error) => return error.hint().map(str::to_owned),
            P::Layer(error) => return error.hint().map(str::to_owned),
            P::Foreign(_) => "push the layer to a registry of your own, or allow foreign layers".to_owned(),
            _ => return None,
        })
    }
}

/// What to do about a host that cannot be spoken to, by why not.
fn unreachable(host: &str, why: &str) -> String {
    if why.contains("not valid for name") {
        format!(
            "another server answers in place of {host}: check its name and the proxy, or give it a certificate for that name"
        )
    } else if why.contains("certificate") {
        format!(
            "put its authority's certificate into /etc/containers/certs.d/{host}/ca.crt, or do without with --tls-verify=false"
        )
    } else if why.contains("no such host") {
        format!(
            "check the registry's name, and that this machine can look up names (/etc/resolv.conf); {host} has no address"
        )
    } else if why.contains("refused") {
        format!("nothing listens there: check host and port, and that the registry runs at {host}")
    } else {
        format!(
            "check that {host} can be reached from here (network, firewall, proxy), then try again: what has arrived is kept"
        )
    }
}

impl ArchiveProblem {
    fn kind(&self) -> ErrorKind {
        match self {
            ArchiveProblem::NoSuchTag { .. } => ErrorKind::NotFound,
            ArchiveProblem::Ambiguous(_) | ArchiveProblem::NotOurs(_) | ArchiveProblem::NoRoomForIndex => {
                ErrorKind::Invalid
            }
            ArchiveProblem::LayoutVersion(_) => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        }
    }
}

fn wait_text(wait: &Option<Duration>) -> String {
    wait.map(|wait| format!("; it asks to wait {} s", wait.as_secs())).unwrap_or_default()
}

#[cfg(test)]
mod hints {
    use super::{Error, Problem, unreachable};

    fn hint(verb: &'static str, problem: Problem) -> Option<String> {
        Error { verb, subject: "x".to_owned(), problem: Box::new(problem) }.hint()
    }

    #[test]
    fn a_missing_tag_leads_to_those_there_are() {
        let unknown =
            |reference: &str| Problem::ManifestUnknown { reference: reference.into(), message: String::new() };
        let tags = |name: &str| Some(format!("list the tags there are: knarr image list-tags docker://{name}"));
        assert_eq!(hint("pull", unknown("127.0.0.1:5000/team/app:9.9")), tags("127.0.0.1:5000/team/app"));
        assert_eq!(hint("pull", unknown("127.0.0.1:5000/app@sha256:00")), tags("127.0.0.1:5000/app"));
        assert_eq!(hint("pull", unknown("app:1@sha256:00")), tags("app"));
        assert_eq!(hint("pull", unknown("localhost:5000/app")), tags("localhost:5000/app"));
    }

    #[test]
    fn who_logs_in_is_not_told_to_log_in() {
        let refused = || Problem::Unauthorized { host: "x".into(), message: "no".into() };
        assert!(!hint("login", refused()).unwrap().contains("knarr login"));
        assert!(hint("pull", refused()).unwrap().contains("knarr login"));
    }

    fn check(why: &str, expect: &str) {
        let hint = unreachable("registry.example:5000", why);
        assert!(hint.contains(expect) && hint.contains("registry.example:5000"), "{why}: {hint}");
    }

    #[test]
    fn each_reason_has_its_own_remedy() {
        check("lookup registry.example: no such host", "check the registry's name");
        check("Connection refused (os error 111)", "nothing listens there");
        check("invalid peer certificate: UnknownIssuer", "/etc/containers/certs.d/registry.example:5000/ca.crt");
        check("invalid peer certificate: certificate not valid for name \"x\"", "another server answers");
        check("Network is unreachable (os error 101)", "can be reached from here");
    }
}
