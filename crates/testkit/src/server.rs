//! A registry that misbehaves on request: it serves made images over plain HTTP, lets in whom it is told to, and cuts, bends
//! or swells one answer.
//!
//! Spec: distribution-spec, "Pulling"; the token dance of distribution's `auth/token`. One request per connection.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::http;
use crate::{Blob, Image};

/// User and password that [`Gate::Basic`] and [`Gate::Bearer`] ask for.
pub const LOGIN: (&str, &str) = ("ship", "hold-fast");

/// The token the token endpoint gives out.
const TOKEN: &str = "a-token-of-trust";

/// Whom the server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everybody.
    Open,
    /// Who shows [`LOGIN`].
    Basic,
    /// Who shows a token, which everybody gets.
    BearerForAll,
    /// Who shows a token, which is given for [`LOGIN`].
    Bearer,
}

/// How one answer goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection closes after so many bytes of that blob, the first time it is asked for.
    CutOnce(String, usize),
    /// The connection closes after so many bytes of that blob, every time.
    CutAlways(String, usize),
    /// The blob's last byte is another one.
    BendLastByte(String),
    /// The blob ends so many bytes early, with a content length that agrees.
    Shorten(String, usize),
    /// The blob goes on for so many bytes, with a content length that agrees.
    Lengthen(String, usize),
    /// Every manifest is so many bytes of white space followed by itself.
    SwellManifest(u64),
    /// Every request is answered with this status.
    Status(u16),
    /// Every request leads to itself again.
    RedirectLoop,
}

/// What the threads share.
struct Harbour {
    content: HashMap<String, Blob>,
    gate: Gate,
    fault: Option<Fault>,
    cut_already: AtomicBool,
    requests: Mutex<Vec<String>>,
    address: String,
    closed: AtomicBool,
}

/// The running server; stops on drop.
pub struct Server {
    /// `127.0.0.1:PORT`.
    pub address: String,
    harbour: Arc<Harbour>,
    listener: Option<JoinHandle<()>>,
}

/// What a server is made of.
#[derive(Debug, Default)]
pub struct Hold(HashMap<String, Blob>);

impl Hold {
    /// One image under `repository:tag` and by digest.
    pub fn image(mut self, repository: &str, tag: &str, image: &Image) -> Hold {
        for blob in image.blobs() {
            self.0.insert(format!("/v2/{repository}/blobs/{}", blob.digest), blob.clone());
        }
        self.manifest(repository, tag, &image.manifest)
    }

    /// Anything at a path of its own, whatever query it is asked with.
    pub fn page(mut self, path: &str, content: &Blob) -> Hold {
        self.0.insert(path.to_owned(), content.clone());
        self
    }

    /// A manifest or index alone.
    pub fn manifest(mut self, repository: &str, tag: &str, manifest: &Blob) -> Hold {
        for reference in [tag, &manifest.digest] {
            self.0.insert(format!("/v2/{repository}/manifests/{reference}"), manifest.clone());
        }
        self
    }
}

impl Server {
    /// Starts serving.
    pub fn start(hold: Hold, gate: Gate, fault: Option<Fault>) -> io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let harbour = Arc::new(Harbour {
            content: hold.0,
            gate,
            fault,
            cut_already: AtomicBool::new(false),
            requests: Mutex::new(Vec::new()),
            address: address.clone(),
            closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&harbour);
        let thread = std::thread::spawn(move || serve(&listener, &shared));
        Ok(Server { address, harbour, listener: Some(thread) })
    }

    /// What has been asked so far: method, path and, where there was one, the range.
    pub fn requests(&self) -> Vec<String> {
        self.harbour.requests.lock().map(|requests| requests.clone()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.harbour.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.listener.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, harbour: &Arc<Harbour>) {
    for stream in listener.incoming() {
        if harbour.closed.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(harbour);
        // A client that goes away in the middle is part of many tests.
        std::thread::spawn(move || stream.and_then(|stream| shared.answer(stream)).is_ok());
    }
}

struct Asked {
    path: String,
    query: String,
    authorization: Option<String>,
    range_start: Option<usize>,
    head_only: bool,
}

impl Harbour {
    fn answer(&self, stream: TcpStream) -> io::Result<()> {
        let asked = self.hear(&stream)?;
        let mut out = io::BufWriter::new(&stream);
        if asked.path == "/token" {
            return self.give_token(&mut out, &asked);
        }
        match &self.fault {
            Some(Fault::Status(status)) => {
                return reply(&mut out, *status, &[], b"{\"errors\":[{\"code\":\"UNKNOWN\"}]}");
            }
            Some(Fault::RedirectLoop) => return reply(&mut out, 307, &[format!("location: {}", asked.path)], b""),
            _ => {}
        }
        if !self.lets_in(&asked) {
            return reply(&mut out, 401, &[format!("www-authenticate: {}", self.challenge(&asked))], b"");
        }
        match self.content.get(&asked.path) {
            _ if asked.path == "/v2/" => reply(&mut out, 200, &[], b"{}"),
            None => {
                reply(&mut out, 404, &[], b"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"unknown\"}]}")
            }
            Some(blob) => self.give(&mut out, &asked, blob),
        }
    }

    fn hear(&self, stream: &TcpStream) -> io::Result<Asked> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let headers = http::headers(&mut reader)?;
        let header = |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone());
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let range = header("range");
        if let Ok(mut requests) = self.requests.lock() {
            requests.push(format!("{method} {target} {}", range.as_deref().unwrap_or("")).trim_end().to_string());
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let start = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
        Ok(Asked {
            path: path.to_string(),
            query: query.to_string(),
            authorization: header("authorization"),
            range_start: start,
            head_only: method == "HEAD",
        })
    }

    fn lets_in(&self, asked: &Asked) -> bool {
        let expected = match self.gate {
            Gate::Open => return true,
            Gate::Basic => http::basic(LOGIN.0, LOGIN.1),
            Gate::Bearer | Gate::BearerForAll => format!("Bearer {TOKEN}"),
        };
        asked.authorization.as_ref() == Some(&expected)
    }

    fn challenge(&self, asked: &Asked) -> String {
        let repository = asked.path.strip_prefix("/v2/").and_then(|rest| rest.split(['/']).next()).unwrap_or("");
        match self.gate {
            Gate::Basic | Gate::Open => "Basic realm=\"harbour\"".to_string(),
            Gate::Bearer | Gate::BearerForAll => format!(
                "Bearer realm=\"http://{}/token\",service=\"harbour\",scope=\"repository:{repository}:pull\"",
                self.address
            ),
        }
    }

    fn give_token(&self, out: &mut impl Write, asked: &Asked) -> io::Result<()> {
        let login = asked.authorization.as_ref() == Some(&http::basic(LOGIN.0, LOGIN.1));
        if self.gate == Gate::Bearer && !login || !asked.query.contains("service=harbour") {
            return reply(out, 401, &[], b"{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}");
        }
        let body = format!("{{\"token\":\"{TOKEN}\",\"expires_in\":300}}");
        reply(out, 200, &["content-type: application/json".to_string()], body.as_bytes())
    }

    fn give(&self, out: &mut impl Write, asked: &Asked, blob: &Blob) -> io::Result<()> {
        let mut bytes = blob.bytes.clone();
        let mut sent_max = usize::MAX;
        match &self.fault {
            Some(Fault::CutOnce(digest, at)) if *digest == blob.digest => {
                sent_max = if self.cut_already.swap(true, Ordering::SeqCst) { usize::MAX } else { *at };
            }
            Some(Fault::CutAlways(digest, at)) if *digest == blob.digest => sent_max = *at,
            Some(Fault::BendLastByte(digest)) if *digest == blob.digest => {
                bytes.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
            }
            Some(Fault::Shorten(digest, by)) if *digest == blob.digest => {
                bytes.truncate(bytes.len().saturating_sub(*by))
            }
            Some(Fault::Lengthen(digest, by)) if *digest == blob.digest => bytes.resize(bytes.len() + by, b'x'),
            Some(Fault::SwellManifest(size)) if asked.path.contains("/manifests/") => return swell(out, *size, blob),
            _ => {}
        }
        let mut headers =
            vec![format!("content-type: {}", blob.media_type), format!("docker-content-digest: {}", blob.digest)];
        let start = asked.range_start.unwrap_or(0).min(bytes.len());
        if asked.range_start.is_some() {
            headers.push(format!("content-range: bytes {start}-{}/{}", bytes.len().saturating_sub(1), bytes.len()));
        }
        head(out, if asked.range_start.is_some() { 206 } else { 200 }, &headers, (bytes.len() - start) as u64)?;
        let body = &bytes[start..];
        let sent = if asked.head_only { 0 } else { body.len().min(sent_max) };
        out.write_all(&body[..sent])?;
        out.flush()
    }
}

fn swell(out: &mut impl Write, size: u64, blob: &Blob) -> io::Result<()> {
    head(out, 200, &[format!("content-type: {}", blob.media_type)], size + blob.bytes.len() as u64)?;
    io::copy(&mut io::Read::take(io::repeat(b' '), size), out)?;
    out.write_all(&blob.bytes)?;
    out.flush()
}

fn reply(out: &mut impl Write, status: u16, headers: &[String], body: &[u8]) -> io::Result<()> {
    head(out, status, headers, body.len() as u64)?;
    out.write_all(body)?;
    out.flush()
}

fn head(out: &mut impl Write, status: u16, headers: &[String], length: u64) -> io::Result<()> {
    write!(out, "HTTP/1.1 {status} Answer\r\nconnection: close\r\ncontent-length: {length}\r\n")?;
    headers.iter().try_for_each(|header| write!(out, "{header}\r\n"))?;
    write!(out, "\r\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::{Request, send};
    use crate::{ImageMaker, LayerTar};

    fn image() -> Image {
        ImageMaker::new(json!({}), vec![LayerTar::new().file("a", 0o644, "x").finish()]).make()
    }

    fn get(server: &Server, path: &str, headers: &[&str]) -> io::Result<http::Response> {
        let headers = headers.iter().map(|header| header.to_string()).collect();
        send(&server.address, &Request { method: "GET", path, headers, body: b"" })
    }

    #[test]
    fn a_range_starts_where_it_was_asked_to() {
        let image = image();
        let server = Server::start(Hold::default().image("a", "v1", &image), Gate::Open, None).expect("a server");
        let path = format!("/v2/a/blobs/{}", image.config.digest);
        let answer = get(&server, &path, &["range: bytes=5-"]).expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (206, &image.config.bytes[5..]));
        assert_eq!(server.requests(), [format!("GET {path} bytes=5-")]);
    }

    #[test]
    fn a_cut_happens_once() {
        let image = image();
        let fault = Fault::CutOnce(image.config.digest.clone(), 3);
        let server =
            Server::start(Hold::default().image("a", "v1", &image), Gate::Open, Some(fault)).expect("a server");
        let path = format!("/v2/a/blobs/{}", image.config.digest);
        assert_eq!(get(&server, &path, &[]).expect("an answer").body.len(), 3);
        assert_eq!(get(&server, &path, &[]).expect("an answer").body, image.config.bytes);
    }

    #[test]
    fn the_token_dance_ends_with_the_manifest() {
        let image = image();
        let server = Server::start(Hold::default().image("a", "v1", &image), Gate::Bearer, None).expect("a server");
        let challenge = get(&server, "/v2/a/manifests/v1", &[]).expect("an answer");
        assert_eq!(challenge.status, 401);
        let login = format!("authorization: {}", http::basic(LOGIN.0, LOGIN.1));
        assert_eq!(get(&server, "/token?service=harbour", &[]).expect("an answer").status, 401);
        assert_eq!(get(&server, "/token?service=harbour", &[&login]).expect("an answer").status, 200);
        let bearer = format!("authorization: Bearer {TOKEN}");
        assert_eq!(get(&server, "/v2/a/manifests/v1", &[&bearer]).expect("an answer").body, image.manifest.bytes);
    }
}
