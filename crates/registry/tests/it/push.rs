//! end-4, end-5, end-6, end-10, end-11, end-13, end-14: blobs on their way in and out.

use knarr_spec::Digest;

use crate::harness::{Server, refused};

#[test]
fn a_blob_comes_in_one_post() {
    let server = Server::start();
    let digest = Digest::sha256_of(b"abc");
    let pushed = server.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], b"abc");
    assert_eq!((pushed.status, pushed.header("location")), (201, Some(format!("/v2/a/blobs/{digest}").as_str())));
    let wrong = server.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], b"abd");
    refused(&wrong, 400, "DIGEST_INVALID");
}

#[test]
fn a_blob_comes_by_post_and_put() {
    let server = Server::start();
    let location = server.begin("a");
    let digest = Digest::sha256_of(b"abc");
    assert_eq!(server.send("PUT", &format!("{location}?digest={digest}"), &[], b"abc").status, 201);
    assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).body, b"abc");
    refused(&server.get(&location), 404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn chunks_come_in_order_and_only_so() {
    let server = Server::start();
    let location = server.begin("a");
    let octets = "content-type: application/octet-stream";
    let first = server.send("PATCH", &location, &[octets, "content-range: 0-2"], b"abc");
    assert_eq!((first.status, first.header("range")), (202, Some("0-2")));
    let location = first.header("location").expect("a location").to_owned();
    let status = server.get(&location);
    assert_eq!((status.status, status.header("range")), (204, Some("0-2")));
    for range in ["content-range: 4-6", "content-range: 0-2"] {
        let refusal = server.send("PATCH", &location, &[octets, range], b"xyz");
        assert_eq!(refusal.header("range"), Some("0-2"));
        refused(&refusal, 416, "BLOB_UPLOAD_INVALID");
    }
    let digest = Digest::sha256_of(b"abcdef");
    let out_of_order = server.send("PUT", &format!("{location}?digest={digest}"), &["content-range: 9-11"], b"def");
    refused(&out_of_order, 416, "BLOB_UPLOAD_INVALID");
    let last = server.send("PUT", &format!("{location}?digest={digest}"), &["content-range: 3-5"], b"def");
    assert_eq!(last.status, 201);
    assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).body, b"abcdef");
}

#[test]
fn a_stream_without_range_is_appended() {
    let server = Server::start();
    let location = server.begin("a");
    assert_eq!(server.send("PATCH", &location, &[], b"abc").status, 202);
    assert_eq!(server.send("PATCH", &location, &[], b"def").header("range"), Some("0-5"));
    let digest = Digest::sha256_of(b"abcdef");
    assert_eq!(server.send("PUT", &format!("{location}?digest={digest}"), &[], b"").status, 201);
}

#[test]
fn a_range_that_does_not_fit_the_body_or_is_none_is_refused() {
    let server = Server::start();
    let location = server.begin("a");
    refused(&server.send("PATCH", &location, &["content-range: 0-9"], b"abc"), 400, "SIZE_INVALID");
    refused(&server.send("PATCH", &location, &["content-range: bytes"], b"abc"), 400, "BLOB_UPLOAD_INVALID");
    refused(&server.send("PUT", &location, &[], b"abc"), 400, "DIGEST_INVALID");
}

#[test]
fn other_algorithms_are_hashed_from_the_first_byte() {
    let server = Server::start();
    let sha512 = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let blake3 = "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    for (algorithm, digest) in [("sha512", sha512), ("blake3", blake3)] {
        let begun = server.send("POST", &format!("/v2/a/blobs/uploads/?digest-algorithm={algorithm}"), &[], b"");
        assert_eq!(begun.status, 202);
        let location = begun.header("location").expect("a location");
        server.send("PATCH", location, &[], b"abc");
        assert_eq!(server.send("PUT", &format!("{location}?digest={digest}"), &[], b"").status, 201, "{algorithm}");
        assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).body, b"abc");
    }
    refused(&server.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], b""), 400, "DIGEST_INVALID");
}

#[test]
fn a_cancelled_upload_is_gone() {
    let server = Server::start();
    let location = server.begin("a");
    assert_eq!(server.delete(&location).status, 204);
    refused(&server.get(&location), 404, "BLOB_UPLOAD_UNKNOWN");
    refused(&server.delete(&location), 404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn an_upload_belongs_to_its_repository() {
    let server = Server::start();
    let location = server.begin("a").replace("/v2/a/", "/v2/b/");
    refused(&server.get(&location), 404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn a_mount_shows_the_blob_of_another_repository_or_begins_an_upload() {
    let server = Server::start();
    let digest = server.push_blob("a", b"abc");
    let mount = |from: &str| server.send("POST", &format!("/v2/b/blobs/uploads/?mount={digest}{from}"), &[], b"");
    let elsewhere = mount("&from=c");
    assert_eq!(elsewhere.status, 202);
    assert!(elsewhere.header("location").is_some_and(|location| location.contains("/blobs/uploads/")));
    assert_eq!(mount("&from=a").status, 201);
    assert_eq!(server.get(&format!("/v2/b/blobs/{digest}")).body, b"abc");
    let anonymous = server.send("POST", &format!("/v2/d/blobs/uploads/?mount={digest}"), &[], b"");
    assert_eq!(anonymous.status, 201);
}

#[test]
fn a_deleted_blob_is_gone_from_its_repository_only() {
    let server = Server::start();
    let digest = server.push_blob("a", b"abc");
    server.send("POST", &format!("/v2/b/blobs/uploads/?mount={digest}&from=a"), &[], b"");
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(server.delete(&path).status, 202);
    refused(&server.get(&path), 404, "BLOB_UNKNOWN");
    refused(&server.delete(&path), 404, "BLOB_UNKNOWN");
    assert_eq!(server.get(&format!("/v2/b/blobs/{digest}")).status, 200);
}
