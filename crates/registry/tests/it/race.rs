//! Pushes, mounts, deletes and garbage collection at the same time: what was acknowledged is there.

use std::sync::mpsc::{Sender, channel};

use knarr_registry::config::values::Span;
use knarr_spec::Digest;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::{Client, OCI_MANIFEST, Server, manifest, text};

/// What one client does, in its own repository, with contents that all share.
#[derive(Debug, Clone)]
pub enum Step {
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

/// Pushes of one image that are raced with collections. A push whose every blob is raced may lose one each time for as long
/// as that goes on, as nothing here has a grace period: after these it is let through.
const RACED_TRIES: usize = 10;

/// A client and what it was told is there.
struct Author<'a> {
    /// Instances of one registry, asked in turn.
    clients: &'a [&'a Client],
    turn: usize,
    /// Asks for a collection, beside what the client does next.
    collector: Sender<()>,
    repository: String,
    live: Live,
}

impl<'a> Author<'a> {
    fn client(&mut self) -> &'a Client {
        self.turn += 1;
        self.clients[self.turn % self.clients.len()]
    }

    fn act(&mut self, step: &Step) {
        self.collect();
        match step {
            Step::Push { tag, contents } => self.push(*tag, contents, false),
            Step::Mount { tag, contents } => self.push(*tag, contents, true),
            Step::Delete { tag } => {
                let Some((digest, _)) = self.live[usize::from(*tag)].take() else { return };
                let path = format!("/v2/{}/manifests/{digest}", self.repository);
                let answer = self.client().delete(&path);
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
                    let path = format!("/v2/{}/blobs/{digest}", self.repository);
                    let answer = self.client().delete(&path);
                    assert!([202, 404].contains(&answer.status), "{}", text(&answer));
                }
            }
        }
        let client = self.client();
        look(client, &self.repository, &self.live);
    }

    fn collect(&self) {
        self.collector.send(()).expect("the collector waits for its authors");
    }

    /// Without any grace a blob may be gone before its manifest comes; then the server says so, and the client begins again.
    fn push(&mut self, tag: u8, contents: &[u8], mount: bool) {
        let name = self.repository.clone();
        // The collections asked for are one a blob at most, and those of all others end with their raced tries.
        for tried in 0..200 {
            let config = self.client().push_blob(&name, b"{}");
            let layers: Vec<Digest> = contents
                .iter()
                .map(|number| {
                    if tried < RACED_TRIES {
                        self.collect();
                    }
                    let bytes = content(*number);
                    let digest = Digest::sha256_of(&bytes);
                    let path = format!("/v2/{name}/blobs/uploads/?mount={digest}");
                    if !mount || self.client().send("POST", &path, &[], b"").status != 201 {
                        self.client().push_blob(&name, &bytes);
                    }
                    digest
                })
                .collect();
            let bytes = manifest(&config, &layers.iter().collect::<Vec<_>>()).to_string().into_bytes();
            let path = format!("/v2/{name}/manifests/t{tag}");
            let answer = self.client().send("PUT", &path, &[&format!("content-type: {OCI_MANIFEST}")], &bytes);
            if answer.status == 201 {
                self.live[usize::from(tag)] = Some((Digest::sha256_of(&bytes), contents.to_vec()));
                return;
            }
            assert!(text(&answer).contains("MANIFEST_BLOB_UNKNOWN"), "{}", text(&answer));
        }
        panic!("200 pushes in a row lost a blob before the manifest came");
    }
}

/// By tag: the manifest and its contents.
type Live = [Option<(Digest, Vec<u8>)>; 3];

/// What a client was told is there, is there.
fn look(client: &Client, repository: &str, live: &Live) {
    for (tag, live) in live.iter().enumerate() {
        let Some((digest, contents)) = live else { continue };
        let got = client.get(&format!("/v2/{repository}/manifests/t{tag}"));
        assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()), "{}", text(&got));
        for number in contents {
            let blob = Digest::sha256_of(&content(*number));
            let got = client.get(&format!("/v2/{repository}/blobs/{blob}"));
            assert!(got.status == 200 && got.body == content(*number), "a live blob is lost: {}", text(&got));
        }
    }
}

/// Runs scripts at the same time as collections, and looks whether anything is lost. Clients ask `servers` in turn, which are
/// instances of one registry.
pub fn run(scripts: &[Vec<Step>], servers: &[&Server]) {
    let clients: Vec<&Client> = servers.iter().map(|server| &server.client).collect();
    let removed = std::thread::scope(|scope| {
        // The collectors end with the last author, however that one ends.
        let (senders, collectors): (Vec<_>, Vec<_>) = servers
            .iter()
            .map(|server| {
                let (sender, asked) = channel();
                let collect = move |()| server.registry.collect_garbage().expect("collected");
                (sender, scope.spawn(move || asked.into_iter().map(collect).sum::<usize>()))
            })
            .unzip();
        let authors: Vec<_> = scripts
            .iter()
            .enumerate()
            .map(|(number, script)| {
                let (clients, collector) = (clients.as_slice(), senders[number % senders.len()].clone());
                scope.spawn(move || {
                    let repository = format!("r{number}");
                    let live = [None, None, None];
                    let mut author = Author { clients, turn: number, collector, repository, live };
                    script.iter().for_each(|step| author.act(step));
                    (author.repository, author.live)
                })
            })
            .collect();
        drop(senders);
        let lives: Vec<_> = authors.into_iter().map(|author| author.join().expect("an author")).collect();
        let removed: usize = collectors.into_iter().map(|collector| collector.join().expect("a collector")).sum();
        servers[0].registry.collect_garbage().expect("collected");
        for (repository, live) in &lives {
            clients.iter().for_each(|client| look(client, repository, live));
        }
        removed
    });
    println!("{} scripts, {removed} blobs collected", scripts.len());
}

/// What clients do, `cases` times.
pub fn race(cases: u32, run: impl Fn(&[Vec<Step>])) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let scripts = proptest::collection::vec(proptest::collection::vec(step(), 1..14), 2..5);
    let outcome = runner.run(&scripts, |scripts| {
        run(&scripts);
        Ok(())
    });
    outcome.expect("no live blob is lost");
}

#[test]
fn no_live_blob_is_lost_whatever_happens_at_the_same_time() {
    race(12, |scripts| run(scripts, &[&Server::start_with(|settings| settings.gc.grace = Span::seconds(0))]));
}
