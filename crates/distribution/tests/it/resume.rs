//! Interrupted pulls go on where they were, whoever interrupted them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use knarr_distribution::{LayerState, PullOptions};

use crate::image::{Layer, Shelf, ranged};
use crate::server::{Reply, Request, Sending, Server};
use crate::setup::{Place, Recorder, fails, options};

/// A server of one big layer; `blob` answers for it and is told which attempt it is, from 0.
fn server(layer: &Layer, blob: impl Fn(usize, &Request, &[u8]) -> Reply + Send + Sync + 'static) -> Server {
    let (shelf, of_blob) = (Shelf::of(std::slice::from_ref(layer)), layer.clone());
    let (path, attempts) = (format!("/v2/app/blobs/{}", layer.digest()), AtomicUsize::new(0));
    Server::start(move |request| match request.path == path {
        true => blob(attempts.fetch_add(1, Ordering::SeqCst), request, &of_blob.blob),
        false => shelf.answer(request),
    })
}

fn ranges(server: &Server, layer: &Layer) -> Vec<Option<String>> {
    let requests = server.requests();
    let blobs = requests.iter().filter(|request| request.path.ends_with(layer.digest().as_str()));
    blobs.map(|request| request.header("range").map(str::to_owned)).collect()
}

#[test]
fn a_cut_connection_goes_on_at_the_byte_it_had() {
    let layer = Layer::big();
    let server = server(&layer, |attempt, request, blob| match attempt {
        0 => Reply::new(200, blob).sent(Sending::CutAfter(1 << 20)),
        1 => ranged(request, blob).sent(Sending::CutAfter(1 << 20)),
        _ => ranged(request, blob),
    });
    let place = Place::new();
    place.pull(&format!("{}/app:v1", server.host())).unwrap();
    let expect = [None, Some(format!("bytes={}-", 1 << 20)), Some(format!("bytes={}-", 2 << 20))];
    assert_eq!(ranges(&server, &layer), expect);
}

#[test]
fn a_pull_that_failed_goes_on_in_the_next_one() {
    let layer = Layer::big();
    let server = server(&layer, |attempt, request, blob| match attempt {
        0 => Reply::new(200, blob).sent(Sending::CutAfter(1 << 20)),
        1..3 => Reply::new(503, ""),
        _ => ranged(request, blob),
    });
    let place = Place::new();
    let name = format!("{}/app:v1", server.host());
    fails(place.pull(&name), "503");
    assert_eq!(std::fs::metadata(place.partial(&layer.digest())).unwrap().len(), 1 << 20);
    let recorder = Recorder::default();
    let image = place.pull_with(&name, &PullOptions { progress: &recorder, ..options() }).unwrap();
    assert_eq!(place.file(&image, 0, "noise").len(), 3 << 20);
    assert_eq!(ranges(&server, &layer).pop().unwrap(), Some(format!("bytes={}-", 1 << 20)));
    let total = layer.blob.len() as u64;
    assert!(recorder.states(&layer.digest()).contains(&LayerState::Downloading { bytes: 1 << 20, total }));
}

#[test]
fn a_server_without_ranges_sends_all_again_and_each_byte_is_taken_once() {
    let layer = Layer::big();
    let server = server(&layer, |attempt, _, blob| match attempt {
        0 => Reply::new(200, blob).sent(Sending::CutAfter(1 << 20)),
        _ => Reply::new(200, blob),
    });
    let image = Place::new().pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(image.layers[0].diff_id, layer.diff_id);
}

#[test]
fn a_range_in_pieces_is_put_together() {
    let layer = Layer::big();
    let server = server(&layer, |_, request, blob| {
        let Some(first) = request.header("range").and_then(|range| range[6..].strip_suffix('-')?.parse::<usize>().ok())
        else {
            return Reply::new(200, blob).sent(Sending::CutAfter(1 << 20));
        };
        let last = (first + (1 << 20)).min(blob.len()) - 1;
        let range = format!("bytes {first}-{last}/{}", blob.len());
        Reply::new(206, &blob[first..=last]).with("Content-Range", range)
    });
    let image = Place::new().pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(image.layers[0].diff_id, layer.diff_id);
}

#[test]
fn spoiled_bytes_of_an_earlier_pull_are_thrown_away_and_fetched_again() {
    let layer = Layer::big();
    let server = server(&layer, |_, request, blob| ranged(request, blob));
    let place = Place::new();
    let partial = place.partial(&layer.digest());
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::fs::write(&partial, vec![0; 1 << 20]).unwrap();
    let image = place.pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(image.layers[0].diff_id, layer.diff_id);
    assert_eq!(ranges(&server, &layer), [Some(format!("bytes={}-", 1 << 20)), None]);
}

#[test]
fn a_blob_that_was_complete_but_not_committed_costs_no_byte() {
    let layer = Layer::big();
    let server = server(&layer, |_, _, _| Reply::new(500, ""));
    let place = Place::new();
    let partial = place.partial(&layer.digest());
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::fs::write(&partial, &layer.blob).unwrap();
    place.pull(&format!("{}/app:v1", server.host())).unwrap();
    assert!(ranges(&server, &layer).is_empty());
}

#[test]
fn a_busy_server_that_asks_for_a_moment_gets_it() {
    let layer = Layer::big();
    let server = server(&layer, |attempt, request, blob| match attempt {
        0 => Reply::new(429, "").with("Retry-After", "0"),
        1 => Reply::new(503, ""),
        _ => ranged(request, blob),
    });
    Place::new().pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(ranges(&server, &layer).len(), 3);
}

#[test]
fn a_server_that_stalls_is_left_and_asked_again() {
    let layer = Layer::big();
    let server = server(&layer, |attempt, request, blob| match attempt {
        0 => Reply::new(200, blob).sent(Sending::HangAfter(1 << 20)),
        _ => ranged(request, blob),
    });
    let recorder = Recorder::default();
    let options = PullOptions { progress: &recorder, ..options() };
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &options).unwrap();
    assert_eq!(ranges(&server, &layer), [None, Some(format!("bytes={}-", 1 << 20))]);
    assert!(recorder.states(&layer.digest()).contains(&LayerState::Retrying { attempt: 1 }));
}

#[test]
fn while_one_pull_waits_another_takes_over_when_the_first_dies() {
    let layer = Arc::new(Layer::big());
    // The first attempt brings a part and breaks; its pull is allowed no second one.
    let server = server(&layer, |attempt, request, blob| match attempt {
        0 => Reply::new(200, blob).sent(Sending::CutAfter(1 << 20)),
        _ => ranged(request, blob),
    });
    let place = Place::new();
    let name = format!("{}/app:v1", server.host());
    let mut impatient = options();
    impatient.network.retry.attempts = 1;
    let results: Vec<_> = std::thread::scope(|scope| {
        let pulls = [0, 1].map(|_| scope.spawn(|| place.pull_with(&name, &impatient).is_ok()));
        pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|ok| **ok).count(), 1, "{results:?}");
    assert_eq!(ranges(&server, &layer), [None, Some(format!("bytes={}-", 1 << 20))]);
}
