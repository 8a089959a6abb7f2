//! The smallest HTTP/1.1 client that can fill a registry: one request per connection, plain TCP.
//!
//! Spec: RFC 9112. Not here: TLS, chunked bodies, redirects; docker-registry needs none of them on loopback.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One request.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// `GET`, `PUT`, ….
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Further headers, each as `name: value`.
    pub headers: Vec<String>,
    /// Content.
    pub body: &'a [u8],
}

/// One answer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Content.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header called `name` (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Sends `request` to `address` (`127.0.0.1:5000`) and reads the whole answer.
pub fn send(address: &str, request: &Request) -> io::Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n", request.method, request.path);
    for header in &request.headers {
        head += &format!("{header}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", request.body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(request.body)?;
    read(BufReader::new(stream))
}

fn read(mut reader: impl BufRead) -> io::Result<Response> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
    let headers = headers(&mut reader)?;
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok(Response { status, headers, body })
}

/// Header lines up to the empty one.
pub fn headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_string())),
            None => return Ok(headers),
        }
    }
}

/// The value of an `authorization` header for Basic access.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

/// RFC 4648, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let value = (0..3).fold(0u32, |value, index| value << 8 | u32::from(chunk.get(index).copied().unwrap_or(0)));
        let digit = |index: usize| ALPHABET[(value >> (18 - 6 * index) & 63) as usize] as char;
        (0..4).map(|index| if index <= chunk.len() { digit(index) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_to_groups_of_four() {
        assert_eq!(
            ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
        );
    }

    #[test]
    fn an_answer_has_status_headers_and_body() {
        let answer = read("HTTP/1.1 201 Created\r\nLocation: /v2/x?a=b\r\n\r\nbody".as_bytes()).expect("well-formed");
        assert_eq!(
            (answer.status, answer.header("location"), answer.body.as_slice()),
            (201, Some("/v2/x?a=b"), &b"body"[..])
        );
    }
}
