//! What clients are told when something is refused.
//!
//! Spec: distribution-spec, "Error Codes": one table from codes to status, and one JSON form.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use knarr_spec::Digest;
use serde_json::{Value, json};

use crate::auth::random_hex;

/// The fourteen error codes of the specification, and distribution's word for a fault on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    /// Known, and not allowed.
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    TooManyRequests,
    /// Not known, and knowing is needed.
    Unauthorized,
    Unsupported,
    /// Not of the specification: a fault on our side, as distribution names it.
    Unknown,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Code::BlobUnknown => "BLOB_UNKNOWN",
            Code::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Code::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Code::Denied => "DENIED",
            Code::DigestInvalid => "DIGEST_INVALID",
            Code::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Code::ManifestInvalid => "MANIFEST_INVALID",
            Code::ManifestUnknown => "MANIFEST_UNKNOWN",
            Code::NameInvalid => "NAME_INVALID",
            Code::NameUnknown => "NAME_UNKNOWN",
            Code::SizeInvalid => "SIZE_INVALID",
            Code::TooManyRequests => "TOOMANYREQUESTS",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::Unsupported => "UNSUPPORTED",
            Code::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Code::BlobUnknown | Code::BlobUploadUnknown | Code::ManifestUnknown | Code::NameUnknown => {
                StatusCode::NOT_FOUND
            }
            Code::ManifestBlobUnknown | Code::BlobUploadInvalid | Code::DigestInvalid => StatusCode::BAD_REQUEST,
            Code::ManifestInvalid | Code::NameInvalid | Code::SizeInvalid => StatusCode::BAD_REQUEST,
            Code::Denied => StatusCode::FORBIDDEN,
            Code::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal: code, sentence, what a program can do with it, and a status where it differs from the code's own.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    message: String,
    detail: Option<Value>,
    status: StatusCode,
    headers: Vec<(header::HeaderName, String)>,
    fault: Option<Box<Fault>>,
}

/// A fault on our side, for the log alone: its words may name machines, paths and accounts that are no client's concern.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What the client is told to ask for.
    pub id: String,
    /// What happened.
    pub why: String,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), detail: None, status: code.status(), headers: Vec::new(), fault: None }
    }

    /// What the log is to know and the client is not.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_deref()
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn with_status(self, status: StatusCode) -> Failure {
        Failure { status, ..self }
    }

    /// `detail`: the names and numbers of the message, for programs.
    pub fn with_detail(self, detail: Value) -> Failure {
        Failure { detail: Some(detail), ..self }
    }

    pub fn with_header(mut self, name: header::HeaderName, value: String) -> Failure {
        self.headers.push((name, value));
        self
    }

    /// No such blob in that repository.
    pub fn blob_unknown(name: &str, digest: &Digest) -> Failure {
        Failure::new(Code::BlobUnknown, format!("no blob {digest} in {name}"))
            .with_detail(json!({"name": name, "digest": digest.as_str()}))
    }

    /// No such manifest in that repository.
    pub fn manifest_unknown(name: &str, reference: &str) -> Failure {
        Failure::new(Code::ManifestUnknown, format!("no manifest {reference} in {name}"))
            .with_detail(json!({"name": name, "reference": reference}))
    }

    /// No such repository.
    pub fn name_unknown(name: &str) -> Failure {
        Failure::new(Code::NameUnknown, format!("no repository {name}")).with_detail(json!({"name": name}))
    }

    /// The answer on the wire. A fault of ours goes with it as an extension for the log, since the client is told little.
    pub fn into_response(self) -> Response<Body> {
        let mut error = json!({"code": self.code.text(), "message": self.message});
        if let Some(detail) = self.detail {
            error["detail"] = detail;
        }
        let mut response = Response::new(Body::from(json!({"errors": [error]}).to_string()));
        if let Some(fault) = self.fault {
            response.extensions_mut().insert(*fault);
        }
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Disk and database faults: the client learns that it was not its fault.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("database: its tables are of version {found}, this program knows {known}")]
    TooNew { found: usize, known: usize },
    #[cfg(feature = "postgres")]
    #[error("database: {0}")]
    Postgres(#[from] sqlx::Error),
    #[cfg(feature = "objects")]
    #[error("object store: {what}: {source}{}", cause(source))]
    Objects { what: String, source: object_store::Error },
    #[error("a worker of the storage ended early")]
    Worker,
}

/// What is at the bottom of an error whose own words end above it, as `: WHY`.
#[cfg(feature = "objects")]
fn cause(error: &object_store::Error) -> String {
    let first = std::error::Error::source(error);
    let last = std::iter::successors(first, |error| error.source()).last().map(ToString::to_string);
    let said = error.to_string();
    last.filter(|why| !said.contains(why)).map(|why| format!(": {why}")).unwrap_or_default()
}

/// Enough to be found again in a log of years.
const FAULT_ID_BYTES: usize = 6;

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        let full =
            matches!(&error, StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
        let id = random_hex(FAULT_ID_BYTES);
        let what = if full { "the registry has no room left" } else { "the registry's storage failed" };
        let mut failure = Failure::new(Code::Unknown, format!("{what}; its log says why under fault {id}"));
        failure.fault = Some(Box::new(Fault { id, why: error.to_string() }));
        if full { failure.with_status(StatusCode::INSUFFICIENT_STORAGE) } else { failure }
    }
}

/// Names the file operation that failed.
pub trait IoContext<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T, StorageError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { what: what(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: std::io::ErrorKind) -> StorageError {
        StorageError::Io { what: "PUT http://10.0.0.7:9000/bucket/key".into(), source: kind.into() }
    }

    #[test]
    fn what_storage_says_is_for_the_log_and_not_for_clients() {
        let failure = Failure::from(io(std::io::ErrorKind::ConnectionRefused));
        let fault = failure.fault().cloned().unwrap();
        assert!(fault.why.contains("10.0.0.7") && !failure.message().contains("10.0.0.7"), "{failure:?}");
        assert!(failure.message().contains(&fault.id), "{failure:?}");
        assert_eq!(failure.into_response().extensions().get::<Fault>().map(|fault| fault.id.clone()), Some(fault.id));
    }

    #[test]
    fn a_full_disk_is_said_to_be_one() {
        let failure = Failure::from(io(std::io::ErrorKind::StorageFull));
        assert!(failure.message().starts_with("the registry has no room left"), "{failure:?}");
        assert_eq!(failure.into_response().status(), StatusCode::INSUFFICIENT_STORAGE);
    }
}
