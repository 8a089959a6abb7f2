//! end-1, end-2, end-3: what clients read.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;

use knarr_spec::Digest;
use rustix::fs::{Advice, fadvise};

use crate::harness::{OCI_MANIFEST, Server, refused};

#[test]
fn the_base_says_who_it_is() {
    let server = Server::start();
    for path in ["/v2/", "/v2"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("docker-distribution-api-version")), (200, Some("registry/2.0")));
    }
}

#[test]
fn a_blob_comes_with_digest_and_length_and_its_head_without_body() {
    let server = Server::start();
    for size in [0, 100, 70_000, 1_000_000] {
        let bytes = vec![7u8; size];
        let digest = server.push_blob("team/app", &bytes);
        let path = format!("/v2/team/app/blobs/{digest}");
        let got = server.get(&path);
        assert_eq!((got.status, got.body.len()), (200, size));
        assert!(got.body == bytes, "other bytes came than were pushed");
        let head = server.head(&path);
        assert_eq!((head.status, head.body.len()), (200, 0));
        for answer in [&got, &head] {
            assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
            assert_eq!(answer.header("content-length"), Some(size.to_string().as_str()));
        }
    }
}

#[test]
fn ranges_are_answered_in_part_and_impossible_ones_refused() {
    let server = Server::start();
    // One from memory, one from its file.
    for size in [1000u32, 200_000] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let path = format!("/v2/a/blobs/{}", server.push_blob("a", &bytes));
        let part = server.send("GET", &path, &["range: bytes=10-19"], b"");
        assert_eq!((part.status, part.body.as_slice()), (206, &bytes[10..20]));
        assert_eq!(part.header("content-range"), Some(format!("bytes 10-19/{size}").as_str()));
        let tail = server.send("GET", &path, &["range: bytes=-5"], b"");
        assert_eq!((tail.status, tail.body.as_slice()), (206, &bytes[bytes.len() - 5..]));
        let behind = server.send("GET", &path, &[&format!("range: bytes={size}-")], b"");
        assert_eq!(behind.header("content-range"), Some(format!("bytes */{size}").as_str()));
        refused(&behind, 416, "SIZE_INVALID");
        let etag = server.head(&path).header("etag").expect("an etag").to_owned();
        let same = server.send("GET", &path, &["range: bytes=0-0", &format!("if-range: {etag}")], b"");
        let other = server.send("GET", &path, &["range: bytes=0-0", "if-range: \"other\""], b"");
        assert_eq!((same.status, other.status), (206, 200));
    }
}

/// The bodies of the answers in `received`, one behind the other.
fn bodies(mut received: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while !received.is_empty() {
        let end = received.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of a head") + 4;
        let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let (body, rest) = received[end..].split_at(length.parse().expect("a number"));
        bodies.push(body);
        received = rest;
    }
    bodies
}

#[test]
fn a_large_blob_is_the_same_from_memory_and_from_the_disk_to_clients_in_a_hurry_and_slow_ones() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..3_500_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let digest = server.push_blob("a", &bytes);
    let shelf = server.root().join("blobs/sha256").join(&digest.encoded()[..2]);
    let file = File::open(shelf.join(digest.encoded())).expect("the blob's file");
    for is_in_memory in [true, false, true] {
        if !is_in_memory {
            fadvise(&file, 0, None, Advice::DontNeed).expect("dropped from memory");
        }
        // Three answers on one connection, asked for at once; the client rests after the first bytes.
        let mut client = TcpStream::connect(&server.address).expect("a connection");
        let range = "range: bytes=1048570-2097160\r\n";
        for header in ["", range, "connection: close\r\n"] {
            write!(client, "GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\n{header}\r\n").expect("sent");
        }
        let mut received = vec![0; 100];
        client.read_exact(&mut received).expect("the beginning");
        assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).body.len(), bytes.len());
        client.read_to_end(&mut received).expect("all the rest");
        let received = bodies(&received);
        assert!(
            received == [&bytes[..], &bytes[1_048_570..=2_097_160], &bytes[..]],
            "other bytes came than were pushed"
        );
    }
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let server = Server::start();
    let (manifest, config, _) = server.push_image("a", "v1", "x");
    for path in [format!("/v2/a/manifests/{manifest}"), "/v2/a/manifests/v1".into(), format!("/v2/a/blobs/{config}")] {
        let etag = server.get(&path).header("etag").expect("an etag").to_owned();
        let again = server.send("GET", &path, &[&format!("if-none-match: {etag}")], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
}

#[test]
fn a_manifest_comes_byte_for_byte_by_tag_and_digest_whatever_is_accepted() {
    let server = Server::start();
    let config = server.push_blob("a", b"{}");
    let bytes = format!(
        "{{ \"schemaVersion\": 2,\n\"config\":{{\"mediaType\":\"x/y\",\"digest\":\"{config}\",\"size\":2}},\"layers\":[]  }}\n"
    );
    let pushed = server.send(
        "PUT",
        "/v2/a/manifests/v1",
        &[&format!("content-type: {OCI_MANIFEST}; charset=utf-8")],
        bytes.as_bytes(),
    );
    let digest = Digest::sha256_of(bytes.as_bytes());
    assert_eq!((pushed.status, pushed.header("docker-content-digest")), (201, Some(digest.as_str())));
    for reference in ["v1", digest.as_str()] {
        for accept in ["*/*", OCI_MANIFEST, "application/vnd.docker.distribution.manifest.list.v2+json"] {
            let path = format!("/v2/a/manifests/{reference}");
            let got = server.send("GET", &path, &[&format!("accept: {accept}")], b"");
            assert_eq!((got.status, got.body.as_slice()), (200, bytes.as_bytes()));
            assert_eq!(got.header("content-type"), Some(OCI_MANIFEST));
            assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()));
            let head = server.send("HEAD", &path, &[&format!("accept: {accept}")], b"");
            assert_eq!((head.status, head.body.len()), (200, 0));
            assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
        }
    }
}

#[test]
fn what_is_not_there_is_named_in_code_and_detail() {
    let server = Server::start();
    server.push_image("a", "v1", "x");
    let missing = Digest::sha256_of(b"missing");
    refused(&server.get(&format!("/v2/a/blobs/{missing}")), 404, "BLOB_UNKNOWN");
    refused(&server.get("/v2/a/manifests/v2"), 404, "MANIFEST_UNKNOWN");
    refused(&server.get(&format!("/v2/a/manifests/{missing}")), 404, "MANIFEST_UNKNOWN");
    refused(&server.get("/v2/b/tags/list"), 404, "NAME_UNKNOWN");
    refused(&server.get("/v2/A/tags/list"), 400, "NAME_INVALID");
    refused(&server.get("/v2/a/blobs/sha256:12"), 400, "DIGEST_INVALID");
    refused(&server.get("/elsewhere"), 404, "NAME_UNKNOWN");
    refused(&server.send("PATCH", "/v2/a/manifests/v1", &[], b""), 405, "UNSUPPORTED");
    let body = server.json(&format!("/v2/a/blobs/{missing}"));
    assert_eq!(body["errors"][0]["detail"]["digest"], missing.as_str());
}

#[test]
fn a_blob_of_one_repository_is_not_seen_in_another() {
    let server = Server::start();
    let digest = server.push_blob("a", b"x");
    server.push_blob("b", b"y");
    refused(&server.get(&format!("/v2/b/blobs/{digest}")), 404, "BLOB_UNKNOWN");
}
