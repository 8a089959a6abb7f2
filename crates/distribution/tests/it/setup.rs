//! A store in a temporary directory, options for impatient tests, and looks at what came out.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use knarr_distribution::{Error, LayerState, Network, Progress, PullOptions, Retry, Timeouts, pull};
use knarr_layer::{IdMap, IdRange, Limits, Owners, UnpackOptions, WhiteoutForm};
use knarr_spec::Digest;
use knarr_store::{ImageRecord, Store, StoreOptions};

/// A store that goes away with the test.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state"), &StoreOptions { rootless: !is_root() }).unwrap();
        Place { dir, store }
    }

    pub fn pull(&self, source: &str) -> Result<ImageRecord, Error> {
        self.pull_with(source, &options())
    }

    pub fn pull_with(&self, source: &str, options: &PullOptions<'_>) -> Result<ImageRecord, Error> {
        pull(&self.store, &source.parse::<knarr_distribution::Place>().unwrap(), options)
    }

    /// A file of the image's layer number `layer`, counted from the base.
    pub fn file(&self, image: &ImageRecord, layer: usize, name: &str) -> Vec<u8> {
        let number = image.layers[layer].number.to_string();
        std::fs::read(self.dir.path().join("state/layers").join(number).join("fs").join(name)).unwrap()
    }

    /// The bytes of a blob that were kept from an interrupted pull.
    pub fn partial(&self, digest: &Digest) -> PathBuf {
        self.dir.path().join("state/ingest").join(digest.algorithm().as_str()).join(digest.encoded())
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

pub fn unpack_options() -> UnpackOptions {
    UnpackOptions {
        compression: None,
        whiteouts: if is_root() { WhiteoutForm::OverlayTrusted } else { WhiteoutForm::OverlayUser },
        ids: ids(),
        owners: Owners::Set,
        limits: Limits::default(),
        rootless: !is_root(),
        pipeline: false,
    }
}

/// Without a user namespace an ordinary user has one id, which must do for root.
fn ids() -> IdMap {
    let us = std::fs::metadata("/proc/self").unwrap();
    let only = |here| vec![IdRange { layer: 0, here, count: 1 }];
    if is_root() { IdMap::identity() } else { IdMap { uids: only(us.uid()), gids: only(us.gid()) } }
}

/// As by default, but silence is waited for no longer than a busy machine may take to say something.
pub fn options() -> PullOptions<'static> {
    let network = Network {
        retry: Retry { attempts: 3, delay: Duration::from_millis(1), delay_max: Duration::from_millis(5) },
        timeouts: Timeouts { stall: Duration::from_secs(3), ..Timeouts::default() },
        ..Network::default()
    };
    PullOptions { network, ..PullOptions::new(unpack_options()) }
}

/// Remembers what it was told.
#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<(Digest, LayerState)>>);

impl Recorder {
    pub fn states(&self, digest: &Digest) -> Vec<LayerState> {
        let events = self.0.lock().unwrap();
        events.iter().filter(|(of, _)| of == digest).map(|(_, state)| *state).collect()
    }
}

impl Progress for Recorder {
    fn layer(&self, digest: &Digest, state: LayerState) {
        self.0.lock().unwrap().push((digest.clone(), state));
    }
}

/// The whole of an error as it is printed: with its sources.
pub fn told(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// That a pull fails, and says `expect`.
pub fn fails(result: Result<ImageRecord, Error>, expect: &str) -> Error {
    let error = result.expect_err("the pull succeeded");
    let text = told(&error);
    assert!(text.contains(expect), "expected {expect:?} in {text:?}");
    error
}
