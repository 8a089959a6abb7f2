//! A small HTTP server that does exactly what a test says, right or wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// The same as it came.
    pub bytes: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How the body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// With its length.
    Whole,
    /// With its length, but the connection closes after this many bytes.
    CutAfter(usize),
    /// Without a length; the close is the end.
    UntilClose,
    /// With its length, but nothing follows this many bytes, and the connection stays open.
    HangAfter(usize),
    /// For ever, whatever the body is.
    Endless,
    /// The head promises this length instead.
    Promising(u64),
}

/// What the server says.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub sending: Sending,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), sending: Sending::Whole }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn sent(self, sending: Sending) -> Reply {
        Reply { sending, ..self }
    }

    pub fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
    }
}

/// A server on a port of its own, until it is dropped.
pub struct Server {
    port: u16,
    log: Arc<Mutex<Vec<Request>>>,
    stopping: Arc<AtomicBool>,
}

impl Server {
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        Server::listen(None, handler)
    }

    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        Server::listen(Some(config), handler)
    }

    fn listen(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, stopping) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (shared_log, shared_stop) = (log.clone(), stopping.clone());
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared_stop.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, log, stop) = (handler.clone(), shared_log.clone(), shared_stop.clone());
                let (stream, tls) = (stream.unwrap(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &*handler, &log, &stop),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        serve(rustls::StreamOwned::new(connection, stream), &*handler, &log, &stop)
                    }
                });
            }
        });
        Server { port, log, stopping }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Requests whose path contains `part`.
    pub fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(stream: impl Read + Write, handler: &dyn Fn(&Request) -> Reply, log: &Mutex<Vec<Request>>, stop: &AtomicBool) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream) {
        log.lock().unwrap().push(request.clone());
        let reply = handler(&request);
        let sent = send(stream.get_mut(), &request, &reply, stop);
        // Dropping the stream closes the connection.
        if sent.is_err() || reply.sending != Sending::Whole {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    // A TLS handshake is not text.
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), headers, body, bytes })
}

fn send(stream: &mut impl Write, request: &Request, reply: &Reply, stop: &AtomicBool) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
    match reply.sending {
        Sending::UntilClose | Sending::Endless => head += "Connection: close\r\n",
        Sending::Promising(length) => head += &format!("Content-Length: {length}\r\n"),
        _ => head += &format!("Content-Length: {}\r\n", reply.body.len()),
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return stream.flush();
    }
    match reply.sending {
        Sending::CutAfter(bytes) => stream.write_all(&reply.body[..bytes.min(reply.body.len())]),
        Sending::HangAfter(bytes) => {
            stream.write_all(&reply.body[..bytes])?;
            stream.flush()?;
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        }
        Sending::Endless => loop {
            if stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            stream.write_all(&[b' '; 64 << 10])?;
        },
        _ => stream.write_all(&reply.body),
    }?;
    stream.flush()
}
