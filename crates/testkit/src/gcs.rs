//! A Google Cloud Storage server, as far as its XML interface goes: the S3 server of the tests behind a translation of names.
//!
//! Spec: cloud.google.com/storage/docs/xml-api. Google's XML interface is S3's with headers of its own: `x-goog-copy-source`,
//! `x-goog-meta-…`. No emulator that can be had knows all of it that is used. Not here: who may do what; every request is
//! let in, and Google's tokens and signed addresses remain untested.

use std::io::{self, BufRead, BufReader, Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::http::{self, Request, Response};
use crate::s3::S3;

/// The bucket it has.
pub use crate::s3::BUCKET;

/// A service account that needs no authority to ask for tokens; object stores know this form from other emulators.
pub const ACCOUNT: &str =
    r#"{"private_key": "none", "private_key_id": "none", "client_email": "tests@localhost", "disable_oauth": true}"#;

/// Moto shows objects to who says a name; it checks no signature.
pub const SOMEBODY: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none";

/// A running server; what it holds ends with it.
pub struct Gcs {
    /// `127.0.0.1:PORT`.
    pub address: String,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _s3: Arc<S3>,
}

impl Gcs {
    /// Starts a server; `None`, and says so, where moto is not installed.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start() -> Result<Option<Gcs>> {
        let Some(s3) = S3::start()?.map(Arc::new) else { return Ok(None) };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let closed = Arc::new(AtomicBool::new(false));
        let (ended, behind) = (Arc::clone(&closed), Arc::clone(&s3));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !ended.load(Ordering::SeqCst)) {
                let s3 = Arc::clone(&behind);
                // A client that goes away in the middle is part of some tests.
                std::thread::spawn(move || stream.and_then(|stream| answer(&stream, &s3.address)).is_ok());
            }
        });
        Ok(Some(Gcs { address, closed, thread: Some(thread), _s3: s3 }))
    }
}

impl Drop for Gcs {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one request and closes, as clients are told.
fn answer(stream: &TcpStream, s3: &str) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err(Error::other("no request")) };
    let headers = http::headers(&mut reader)?;
    let header = |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str());
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let passed_on = headers.iter().filter_map(|(name, value)| Some(format!("{}: {value}", amazon_name(name)?)));
    let headers = passed_on.chain([format!("authorization: {SOMEBODY}")]).collect();
    reply(stream, method, &http::send(s3, &Request { method, path, headers, body: &body })?)
}

/// What S3 calls a header; `None` for what does not go on.
fn amazon_name(name: &str) -> Option<String> {
    match name {
        "host" | "connection" | "content-length" | "authorization" => None,
        _ => Some(name.strip_prefix("x-goog-").map_or_else(|| name.to_owned(), |rest| format!("x-amz-{rest}"))),
    }
}

fn reply(stream: &TcpStream, method: &str, response: &Response) -> io::Result<()> {
    let mut out = io::BufWriter::new(stream);
    write!(out, "HTTP/1.1 {} Answer\r\nconnection: close\r\n", response.status)?;
    let passed_on = |name: &str| !matches!(name, "connection" | "transfer-encoding" | "content-length");
    for (name, value) in response.headers.iter().filter(|(name, _)| passed_on(name)) {
        write!(out, "{name}: {value}\r\n")?;
    }
    let length = match response.header("content-length") {
        Some(length) if method == "HEAD" => length.to_owned(),
        _ => response.body.len().to_string(),
    };
    write!(out, "content-length: {length}\r\n\r\n")?;
    out.write_all(&response.body)?;
    out.flush()
}
