//! Clients that send too much, too little, or nothing more.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use knarr_registry::config::values::Span;
use knarr_testkit::http;

use crate::harness::Server;

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

/// The status line of what comes back; empty where the connection just ends.
fn status(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned()
}

/// Resident memory of this process, which holds the server.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn headers_beyond_the_limit_are_refused_with_431() {
    let server = Server::start();
    let mut one_large = connect(&server);
    // One write: the server answers and closes as soon as it has seen too much, which must not be in the middle of ours.
    let large = format!("GET /v2/ HTTP/1.1\r\nhost: x\r\nx-filler: {}\r\n\r\n", "x".repeat(40_000));
    one_large.write_all(large.as_bytes()).expect("sent");
    assert!(status(one_large).contains("431"));
    let mut many = connect(&server);
    let filler: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    many.write_all(format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n{filler}\r\n").as_bytes()).expect("sent");
    assert!(status(many).contains("431"));
}

#[test]
fn a_head_without_end_takes_no_memory_and_is_cut_off() {
    let server = Server::start();
    let mut stream = connect(&server);
    stream.write_all(b"GET /v2/ HTTP/1.1\r\n").expect("sent");
    let line = [b"x: ", "y".repeat(8189).as_bytes(), b"\r\n"].concat();
    // The server stops reading, or resets: either ends this loop, 64 MiB would not.
    let sent = (0..8192).take_while(|_| stream.write_all(&line).is_ok()).count();
    assert!(sent < 8192, "64 MiB of headers were swallowed");
}

#[test]
fn what_is_no_http_is_refused() {
    let server = Server::start();
    for text in
        ["\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "GET\r\n\r\n", "GET /v2/ HTTP/9.9\r\n\r\n", "\r\n\r\n\0\0\0\0\r\n\r\n"]
    {
        let mut stream = connect(&server);
        stream.write_all(text.as_bytes()).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        let answer = status(stream);
        assert!(answer.is_empty() || answer.contains("400") || answer.contains("505"), "{text:?}: {answer}");
    }
    assert_eq!(server.get("/v2/").status, 200);
}

#[test]
fn two_lengths_are_one_too_many() {
    let server = Server::start();
    let mut stream = connect(&server);
    stream
        .write_all(b"PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x")
        .expect("sent");
    assert!(status(stream).contains("400"));
    let mut stream = connect(&server);
    stream
        .write_all(b"PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked, identity\r\n\r\n{}")
        .expect("sent");
    assert!(status(stream).contains("400"));
}

#[test]
fn hundreds_of_silent_clients_leave_room_for_one_that_asks() {
    let server = Server::start();
    let before = resident_kib();
    let silent: Vec<TcpStream> = (0..300)
        .map(|i| {
            let mut stream = connect(&server);
            let text = match i % 3 {
                0 => "",
                1 => "GET /v2/ HTTP/1.1\r\nhost",
                _ => "POST /v2/a/blobs/uploads/?digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc",
            };
            stream.write_all(text.as_bytes()).expect("sent");
            stream
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(server.get("/v2/").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{} clients took {grown} KiB", silent.len());
}

#[test]
fn a_client_that_does_not_read_holds_a_few_chunks_not_the_blob() {
    let server = Server::start();
    let digest = server.push_blob("a", &vec![3u8; 64 << 20]);
    let before = resident_kib();
    let readers: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = connect(&server);
            write!(stream, "GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
            let mut first = [0; 1];
            stream.read_exact(&mut first).expect("the answer begins");
            stream
        })
        .collect();
    assert_eq!(server.get("/v2/").status, 200);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{} readers took {grown} KiB", readers.len());
}

#[test]
fn requests_in_a_row_on_one_connection_are_answered_in_a_row() {
    let server = Server::start();
    let mut stream = connect(&server);
    for _ in 0..3 {
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    }
    let mut reader = BufReader::new(stream);
    for _ in 0..3 {
        let mut status = String::new();
        reader.read_line(&mut status).expect("a status line");
        assert!(status.contains("200"), "{status}");
        let headers = http::headers(&mut reader).expect("a head");
        let length = headers.iter().find(|(name, _)| name == "content-length").expect("a length");
        let mut body = vec![0; length.1.parse().expect("a number")];
        reader.read_exact(&mut body).expect("a body");
        assert_eq!(body, b"{}");
    }
}

#[test]
fn who_falls_silent_in_a_head_a_body_or_between_requests_is_given_up_and_an_upload_goes_on() {
    let server = Server::start_with(|settings| settings.limits.silence = Span(Duration::from_millis(300)));
    let location = server.begin("a");
    let heads = ["", "GET /v2/ HT", "GET /v2/ HTTP/1.1\r\nhost: x\r\nx-more"];
    let mut streams: Vec<TcpStream> = heads
        .iter()
        .map(|head| {
            let mut stream = connect(&server);
            stream.write_all(head.as_bytes()).expect("sent");
            stream
        })
        .collect();
    let mut idle = connect(&server);
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    streams.push(idle);
    for (number, mut stream) in streams.into_iter().enumerate() {
        let mut answer = Vec::new();
        // The end of the connection is what is waited for.
        stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{number} is still open: {error}"));
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), number == heads.len(), "{number}");
    }
    let mut body = connect(&server);
    write!(body, "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").expect("sent");
    assert!(status(body).contains("408"));
    assert_eq!(server.get(&location).header("range"), Some("0-2"));
    let mut manifest = connect(&server);
    write!(manifest, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{{").expect("sent");
    assert!(status(manifest).contains("408"));
}
