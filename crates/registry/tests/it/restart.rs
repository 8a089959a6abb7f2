//! A server that is killed while it works, and the one that comes after it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use knarr_spec::Digest;
use knarr_testkit::wait;

use crate::harness::{Process, refused};

#[test]
fn what_was_acknowledged_outlives_sigkill_in_the_middle_of_an_upload() {
    let root = tempfile::tempdir().expect("a directory");
    let server = Process::start(root.path());
    let (manifest, _, layer) = server.client.push_image("a", "v1", "kept");
    let location = server.client.begin("a");
    let chunk = vec![1u8; 700_000];
    assert_eq!(server.client.send("PATCH", &location, &["content-range: 0-699999"], &chunk).status, 202);
    // A second chunk is on its way when the end comes.
    let mut stream = TcpStream::connect(&server.client.address).expect("connected");
    write!(stream, "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n").expect("sent");
    stream.write_all(&vec![2u8; 1_500_000]).expect("sent");
    let id = location.rsplit('/').next().expect("an id");
    let file = root.path().join("uploads").join(id);
    wait::until("part of the second chunk is written", || {
        std::fs::metadata(&file).ok().filter(|metadata| metadata.len() > 700_000)
    });
    server.kill();

    let server = Process::start(root.path());
    assert_eq!(server.client.get(&format!("/v2/a/manifests/{manifest}")).status, 200);
    assert_eq!(server.client.get(&format!("/v2/a/blobs/{layer}")).body, b"kept");
    let status = server.client.get(&location);
    assert_eq!(status.status, 204);
    let range = status.header("range").expect("a range");
    let received: usize = range.strip_prefix("0-").and_then(|last| last.parse().ok()).expect("a number");
    assert!(received >= 699_999, "acknowledged bytes are gone: {range}");
    let mut whole = chunk.clone();
    whole.resize(4_700_000, 2);
    let rest = &whole[received + 1..];
    let digest = Digest::sha256_of(&whole);
    let range = format!("content-range: {}-{}", received + 1, whole.len() - 1);
    let finished = server.client.send("PUT", &format!("{location}?digest={digest}"), &[&range], rest);
    assert_eq!(finished.status, 201);
    assert!(server.client.get(&format!("/v2/a/blobs/{digest}")).body == whole);
}

#[test]
fn a_client_that_goes_away_leaves_what_it_sent() {
    let root = tempfile::tempdir().expect("a directory");
    let server = Process::start(root.path());
    let location = server.client.begin("a");
    let mut stream = TcpStream::connect(&server.client.address).expect("connected");
    write!(stream, "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc").expect("sent");
    stream.shutdown(Shutdown::Write).expect("shut down");
    // Until it has told so, the request may not have begun, and whoever asks for the upload's state is in its way.
    let mut told = String::new();
    stream.read_to_string(&mut told).expect("an answer and the end");
    assert!(told.contains("the connection broke before the whole body had arrived"), "{told}");
    let status = server.client.get(&location);
    assert_eq!((status.status, status.header("range")), (204, Some("0-2")));
    let digest = Digest::sha256_of(b"abcdef");
    assert_eq!(server.client.send("PUT", &format!("{location}?digest={digest}"), &[], b"def").status, 201);
    refused(&server.client.get(&location), 404, "BLOB_UPLOAD_UNKNOWN");
}
