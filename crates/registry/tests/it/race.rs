//! Pushes, mounts, deletes and garbage collection at the same time: what was acknowledged is there.

use std::sync::atomic::{AtomicBool, Ordering};

use knarr_registry::config::values::Span;
use knarr_spec::Digest;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::{Client, OCI_MANIFEST, Server, manifest, text};

/// What one client does, in its own repository, with contents that all share.
#[derive(Debug, Clone)]
enum Step {
    /// Push an image of these contents.
    Push { tag: u8, contents: Vec<u8> },
    /// The same, its layers mounted instead of pushed where that works.
    Mount { tag: u8, contents: Vec<u8> },
    /// Delete the manifest behind a tag.
    Delete { tag: u8 },
    /// Take a blob out that no manifest uses.
    Unlink { content: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let contents = || proptest::collection::vec(0u8..6, 1..4);
    prop_oneof![
        3 => (0u8..3, contents()).prop_map(|(tag, contents)| Step::Push { tag, contents }),
        3 => (0u8..3, contents()).prop_map(|(tag, contents)| Step::Mount { tag, contents }),
        2 => (0u8..3).prop_map(|tag| Step::Delete { tag }),
        1 => (0u8..6).prop_map(|content| Step::Unlink { content }),
    ]
}

fn content(number: u8) -> Vec<u8> {
    format!("content {number}").into_bytes()
}

/// A client and what it was told is there.
struct Author<'a> {
    client: &'a Client,
    repository: String,
    /// By tag: the manifest and its contents.
    live: [Option<(Digest, Vec<u8>)>; 3],
}

impl Author<'_> {
    fn act(&mut self, step: &Step) {
        match step {
            Step::Push { tag, contents } => self.push(*tag, contents, false),
            Step::Mount { tag, contents } => self.push(*tag, contents, true),
            Step::Delete { tag } => {
                let Some((digest, _)) = self.live[usize::from(*tag)].take() else { return };
                let answer = self.client.delete(&format!("/v2/{}/manifests/{digest}", self.repository));
                assert_eq!(answer.status, 202, "{}", text(&answer));
                // Other tags of the same manifest went with it.
                self.live
                    .iter_mut()
                    .filter(|live| live.as_ref().is_some_and(|(other, _)| *other == digest))
                    .for_each(|live| *live = None);
            }
            Step::Unlink { content: number } => {
                if !self.live.iter().flatten().any(|(_, contents)| contents.contains(number)) {
                    let digest = Digest::sha256_of(&content(*number));
                    let answer = self.client.delete(&format!("/v2/{}/blobs/{digest}", self.repository));
                    assert!([202, 404].contains(&answer.status), "{}", text(&answer));
                }
            }
        }
        self.look();
    }

    /// Without any grace a blob may be gone before its manifest comes; then the server says so, and the client begins again.
    fn push(&mut self, tag: u8, contents: &[u8], mount: bool) {
        let name = &self.repository;
        for _ in 0..200 {
            let config = self.client.push_blob(name, b"{}");
            let layers: Vec<Digest> = contents
                .iter()
                .map(|number| {
                    let bytes = content(*number);
                    let digest = Digest::sha256_of(&bytes);
                    let path = format!("/v2/{name}/blobs/uploads/?mount={digest}");
                    if !mount || self.client.send("POST", &path, &[], b"").status != 201 {
                        self.client.push_blob(name, &bytes);
                    }
                    digest
                })
                .collect();
            let bytes = manifest(&config, &layers.iter().collect::<Vec<_>>()).to_string().into_bytes();
            let path = format!("/v2/{name}/manifests/t{tag}");
            let answer = self.client.send("PUT", &path, &[&format!("content-type: {OCI_MANIFEST}")], &bytes);
            if answer.status == 201 {
                self.live[usize::from(tag)] = Some((Digest::sha256_of(&bytes), contents.to_vec()));
                return;
            }
            assert!(text(&answer).contains("MANIFEST_BLOB_UNKNOWN"), "{}", text(&answer));
        }
        panic!("200 pushes in a row lost a blob before the manifest came");
    }

    fn look(&self) {
        for (tag, live) in self.live.iter().enumerate() {
            let Some((digest, contents)) = live else { continue };
            let got = self.client.get(&format!("/v2/{}/manifests/t{tag}", self.repository));
            assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()), "{}", text(&got));
            for number in contents {
                let blob = Digest::sha256_of(&content(*number));
                let got = self.client.get(&format!("/v2/{}/blobs/{blob}", self.repository));
                assert!(got.status == 200 && got.body == content(*number), "a live blob is lost: {}", text(&got));
            }
        }
    }
}

#[test]
fn no_live_blob_is_lost_whatever_happens_at_the_same_time() {
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let scripts = proptest::collection::vec(proptest::collection::vec(step(), 1..14), 2..5);
    let outcome = runner.run(&scripts, |scripts| {
        let server = Server::start_with(|settings| settings.gc.grace = Span::seconds(0));
        let done = AtomicBool::new(false);
        let removed = std::thread::scope(|scope| {
            let collector = scope.spawn(|| {
                let mut removed = 0;
                while !done.load(Ordering::Relaxed) {
                    removed += server.registry.collect_garbage().expect("collected");
                }
                removed
            });
            let authors: Vec<_> = scripts
                .iter()
                .enumerate()
                .map(|(number, script)| {
                    let client = &server.client;
                    scope.spawn(move || {
                        let mut author = Author { client, repository: format!("r{number}"), live: [None, None, None] };
                        script.iter().for_each(|step| author.act(step));
                        author
                    })
                })
                .collect();
            let authors: Vec<Author> = authors.into_iter().map(|author| author.join().expect("an author")).collect();
            done.store(true, Ordering::Relaxed);
            let removed = collector.join().expect("the collector");
            server.registry.collect_garbage().expect("collected");
            authors.iter().for_each(Author::look);
            removed
        });
        println!("{} scripts, {removed} blobs collected", scripts.len());
        Ok(())
    });
    outcome.expect("no live blob is lost");
}
