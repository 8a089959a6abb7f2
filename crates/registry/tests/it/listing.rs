//! end-8, end-12, the catalog and the extensions.

use knarr_spec::Digest;
use serde_json::{Value, json};

use crate::harness::{OCI_INDEX, OCI_MANIFEST, Server, artifact, manifest, refused};

/// The path of `Link: <…>; rel="next"`.
fn next(response: &knarr_testkit::http::Response) -> Option<String> {
    let link = response.header("link")?;
    Some(link.strip_prefix('<')?.split_once(">; rel=\"next\"")?.0.to_owned())
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn tags_come_sorted_in_pages_with_links() {
    let server = Server::start();
    let config = server.push_blob("a", b"{}");
    for tag in ["b", "a", "10", "9", "B"] {
        server.push_manifest("a", tag, &manifest(&config, &[]));
    }
    let all = server.get("/v2/a/tags/list");
    let body: Value = serde_json::from_slice(&all.body).expect("JSON");
    assert_eq!((body["name"].as_str(), strings(&body["tags"])), (Some("a"), vec!["10", "9", "B", "a", "b"]));
    assert_eq!(next(&all), None);
    let mut path = Some("/v2/a/tags/list?n=2".to_owned());
    let mut seen = Vec::new();
    while let Some(page) = path {
        let answer = server.get(&page);
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        seen.extend(strings(&body["tags"]).iter().map(|tag| (*tag).to_owned()));
        path = next(&answer);
    }
    assert_eq!(seen, ["10", "9", "B", "a", "b"]);
    let none = server.get("/v2/a/tags/list?n=0");
    assert_eq!((none.status, next(&none)), (200, None));
    assert_eq!(strings(&server.json("/v2/a/tags/list?last=9")["tags"]), ["B", "a", "b"]);
    assert_eq!(server.get("/v2/a/tags/list?n=x").status, 400);
}

#[test]
fn the_catalog_lists_repositories_with_manifests() {
    let server = Server::start();
    server.push_image("b/c", "v1", "x");
    server.push_image("a", "v1", "x");
    server.push_blob("only-blobs", b"x");
    assert_eq!(server.json("/v2/_catalog"), json!({"repositories": ["a", "b/c"]}));
    assert_eq!(next(&server.get("/v2/_catalog?n=1")).as_deref(), Some("/v2/_catalog?n=1&last=a"));
    let extensions = server.json("/v2/_oci/ext/discover");
    assert_eq!(extensions["extensions"][0]["name"], "_catalog");
}

#[test]
fn referrers_are_listed_filtered_and_paged() {
    let server = Server::start();
    let (subject, ..) = server.push_image("a", "v1", "x");
    server.push_blob("a", b"{}");
    for number in 0..1500 {
        let kind = if number % 3 == 0 { "example/signature" } else { "example/sbom" };
        let document = artifact(&subject, kind, number);
        server.push_manifest("a", Digest::sha256_of(document.to_string().as_bytes()).as_str(), &document);
    }
    let count = |query: &str| {
        let (mut path, mut found) = (Some(format!("/v2/a/referrers/{subject}{query}")), Vec::new());
        let mut pages = 0;
        while let Some(page) = path {
            let answer = server.get(&page);
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(OCI_INDEX)));
            let filtered = answer.header("oci-filters-applied").is_some();
            assert_eq!(filtered, !query.is_empty());
            let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
            found.extend(body["manifests"].as_array().expect("a list").clone());
            path = next(&answer);
            pages += 1;
        }
        (found, pages)
    };
    let (all, pages) = count("");
    assert_eq!((all.len(), pages), (1500, 2));
    assert!(all.iter().all(|entry| entry["annotations"]["number"].is_string() && entry["size"].is_u64()));
    let (signatures, _) = count("?artifactType=example%2Fsignature");
    assert_eq!(signatures.len(), 500);
    assert!(signatures.iter().all(|entry| entry["artifactType"] == "example/signature"));
    let nobody = server.json(&format!("/v2/a/referrers/{}", Digest::sha256_of(b"nobody")));
    assert_eq!(nobody["manifests"], json!([]));
    let elsewhere = server.get(&format!("/v2/unknown/referrers/{subject}"));
    assert_eq!(elsewhere.status, 200);
    refused(&server.get("/v2/a/referrers/v1"), 400, "DIGEST_INVALID");
    assert_eq!(all[0]["mediaType"], OCI_MANIFEST);
}

/// The tags of a repository `a` with a million of them, written straight into the database as pushes would.
fn million(root: &std::path::Path) {
    let db = rusqlite::Connection::open(root.join("registry.db")).expect("the database");
    db.execute_batch(
        "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999)
         INSERT INTO tags(repository, name, manifest, moved)
           SELECT (SELECT id FROM repositories WHERE name = 'a'), printf('v%07d', i), (SELECT min(id) FROM manifests), 0 FROM n;
         COMMIT",
    )
    .expect("a million rows");
}

#[test]
fn a_page_of_a_million_tags_costs_the_same_at_both_ends() {
    let server = Server::start();
    server.push_image("a", "v", "x");
    let root = server.stop();
    million(root.path());
    let server = Server::start_in(root, |_| {});
    let median = |last: &str| {
        let mut times: Vec<_> = (0..9)
            .map(|_| {
                let begun = std::time::Instant::now();
                let page = server.json(&format!("/v2/a/tags/list?n=1000&last={last}"));
                assert_eq!(page["tags"].as_array().map(Vec::len), Some(1000));
                begun.elapsed()
            })
            .collect();
        times.sort();
        times[4]
    };
    let (first, middle, end) = (median(""), median("v0500000"), median("v0998999"));
    println!("pages of 1000 of 1000000 tags: first {first:?}, middle {middle:?}, last {end:?}");
    // Reading over what is skipped would cost a thousand times as much.
    let most = first * 5 + std::time::Duration::from_millis(20);
    assert!(middle < most && end < most, "first {first:?}, middle {middle:?}, last {end:?}");
}

/// What a client of a registry without referrers does: the manifest by digest, then an index of all under the tag.
#[test]
fn referrers_pushed_by_the_old_tag_schema_are_listed_too() {
    let server = Server::start();
    let (subject, ..) = server.push_image("a", "v1", "x");
    server.push_blob("a", b"{}");
    let document = artifact(&subject, "example/sbom", 1);
    let digest = server.push_manifest("a", Digest::sha256_of(document.to_string().as_bytes()).as_str(), &document);
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": digest.as_str(), "size": document.to_string().len(), "artifactType": "example/sbom"}]});
    server.push_manifest("a", &subject.as_str().replace(':', "-"), &index);
    let listed = server.json(&format!("/v2/a/referrers/{subject}"));
    assert_eq!(listed["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["manifests"][0]["digest"], digest.as_str());
}
