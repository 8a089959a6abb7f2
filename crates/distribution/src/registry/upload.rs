//! One blob on its way to a registry.
//!
//! ```text
//! POST uploads/ ─► Location ─► PATCH (all of it, streamed) ─► PUT ?digest=
//!                     ▲             │ broken
//!                     └─ GET: how much is there ◄┘            small blobs: PUT at once
//! ```
//! Spec: distribution-spec "Pushing blobs": "Pushing a blob in chunks", `OCI-Chunk-Min-Length`.
//! Law: each `Location` is used once and replaced by the next. After a break the registry is asked how much it has; where it
//! cannot tell, all is sent again. So does a later process, which finds the last `Location` in the store. A registry or proxy
//! that refuses a big request (413) gets pieces.

use std::cell::Cell;

use bytes::{Buf, Bytes};
use knarr_spec::{Descriptor, Digest};
use knarr_store::UploadNote;
use reqwest::{Method, StatusCode, Url};

use super::endpoint::{Call, Endpoint, Target};
use super::patience::{Verdict, delay, patiently, verdict};
use crate::http::{self, Answer};
use crate::origin::Stream;
use crate::progress::LayerState;
use crate::sink::Opener;
use crate::{Problem, limits};

/// Blobs up to this size go with the request that ends their upload: one round trip less.
const SINGLE_BYTES_MAX: u64 = 1 << 20;

/// Pieces for those who refuse more: what the smallest usual limit of a proxy lets through.
const PIECE_BYTES: u64 = 8 << 20;

/// A blob being sent.
pub(super) struct Upload<'u, 'o, 'a> {
    endpoint: &'u Endpoint<'a>,
    blob: &'u Descriptor,
    open: &'u Opener<'o>,
    tell: &'u dyn Fn(u64),
    /// Where the next request goes.
    location: Option<Url>,
    /// Bytes the registry has.
    offset: u64,
    /// The most that is sent in one request.
    piece_bytes: u64,
    /// The least the registry takes in one request, but for the last.
    piece_bytes_min: u64,
    /// What a later process is told.
    note: Option<UploadNote>,
}

impl<'u, 'o, 'a> Upload<'u, 'o, 'a> {
    pub(super) fn new(
        endpoint: &'u Endpoint<'a>,
        blob: &'u Descriptor,
        open: &'u Opener<'o>,
        tell: &'u dyn Fn(u64),
        note: Option<UploadNote>,
    ) -> Upload<'u, 'o, 'a> {
        let location = note.as_ref().and_then(|note| Url::parse(note.location()?).ok());
        Upload { endpoint, blob, open, tell, location, offset: 0, piece_bytes: u64::MAX, piece_bytes_min: 0, note }
    }

    /// Whether a later process could go on where this one dies: what goes in one request is sent again.
    pub(super) fn is_worth_a_note(blob: &Descriptor) -> bool {
        blob.size > SINGLE_BYTES_MAX
    }

    /// Asks the registry to take `digest` from its repository `from`; an upload it begins instead is cancelled.
    pub(super) fn mount(endpoint: &Endpoint<'_>, digest: &Digest, from: &str) -> Result<bool, Problem> {
        let path = format!("blobs/uploads/?mount={digest}&from={from}");
        let asked = patiently(endpoint.http(), || endpoint.ask(&Call::new(Method::POST, Target::Repository(&path))));
        let answer = asked?;
        if answer.status() == StatusCode::CREATED {
            return Ok(true);
        }
        if let (StatusCode::ACCEPTED, Ok(location)) = (answer.status(), location(&answer)) {
            // Whether it can be cancelled does not matter: uploads nobody touches end by themselves.
            let _ = endpoint.ask(&Call::new(Method::DELETE, Target::Url(&location)));
        }
        Ok(false)
    }

    pub(super) fn run(mut self) -> Result<(), Problem> {
        let http = self.endpoint.http();
        let retry = &http.network().retry;
        let mut attempts = 0;
        if self.location.is_some() {
            self.catch_up();
            (self.tell)(self.offset);
        }
        loop {
            let before = self.offset;
            let problem = match self.attempt() {
                Ok(()) => {
                    self.forget();
                    return Ok(());
                }
                Err(problem) => problem,
            };
            if matches!(problem, Problem::Status { code: 413, .. }) && self.piece_bytes > PIECE_BYTES {
                self.piece_bytes = PIECE_BYTES.max(self.piece_bytes_min);
                self.catch_up();
                continue;
            }
            attempts = if self.catch_up() > before { 1 } else { attempts + 1 };
            let verdict = match problem {
                // The registry was not through with what it had of an earlier request: now we know how much that is.
                Problem::Status { code: 416, .. } => Verdict::Again(None),
                _ => verdict(&problem, true),
            };
            match verdict {
                Verdict::Again(asked) if attempts < retry.attempts => {
                    self.endpoint.progress().layer(&self.blob.digest, LayerState::Retrying { attempt: attempts });
                    http.sleep(delay(retry, attempts, asked))?;
                }
                _ => return Err(problem),
            }
        }
    }

    fn restart(&mut self) {
        (self.location, self.offset) = (None, 0);
        self.forget();
    }

    /// Where the next request goes. What a later process is told is a convenience: a disk without room for it stops no push.
    fn go_on_at(&mut self, location: Url) {
        let _ = self.note.as_mut().map(|note| note.keep(location.as_str()));
        self.location = Some(location);
    }

    fn forget(&mut self) {
        let _ = self.note.as_mut().map(UploadNote::forget);
    }

    /// After a break: how much the registry has. Where it does not say, nothing.
    fn catch_up(&mut self) -> u64 {
        let known = self.location.take().and_then(|location| {
            let answer = self.endpoint.ask(&Call::new(Method::GET, Target::Url(&location))).ok()?;
            let next = self::location(&answer).unwrap_or(location);
            let there = (answer.status() == StatusCode::NO_CONTENT).then(|| bytes_there(&answer))??;
            (there <= self.blob.size).then_some((next, there))
        });
        match known {
            Some((location, there)) => {
                self.offset = there;
                self.go_on_at(location);
            }
            None => self.restart(),
        }
        self.offset
    }

    fn attempt(&mut self) -> Result<(), Problem> {
        if self.location.is_none() {
            self.begin()?;
        }
        if self.blob.size <= SINGLE_BYTES_MAX && self.offset == 0 {
            return self.end(self.blob.size);
        }
        while self.offset < self.blob.size {
            self.send_piece()?;
        }
        self.end(0)
    }

    fn begin(&mut self) -> Result<(), Problem> {
        let answer = self.endpoint.ask(&Call::new(Method::POST, Target::Repository("blobs/uploads/")))?;
        let answer = self.endpoint.checked(answer, None)?;
        if let Some(least) = answer.header("oci-chunk-min-length").and_then(|text| text.trim().parse().ok()) {
            (self.piece_bytes_min, self.piece_bytes) = (least, self.piece_bytes.max(least));
        }
        self.offset = 0;
        self.go_on_at(location(&answer)?);
        Ok(())
    }

    fn send_piece(&mut self) -> Result<(), Problem> {
        let length = (self.blob.size - self.offset).min(self.piece_bytes);
        let url = self.location.clone().expect("an upload was begun");
        let answer = self.send(Method::PATCH, &url, length, Some((self.offset, self.offset + length - 1)))?;
        let answer = self.endpoint.checked(answer, None)?;
        self.offset += length;
        self.go_on_at(location(&answer).unwrap_or(url));
        Ok(())
    }

    /// The last request, which carries the last `length` bytes.
    fn end(&mut self, length: u64) -> Result<(), Problem> {
        let mut url = self.location.clone().expect("an upload was begun");
        url.query_pairs_mut().append_pair("digest", self.blob.digest.as_str());
        let answer = match length {
            0 => self.endpoint.ask(&Call::new(Method::PUT, Target::Url(&url)))?,
            _ => self.send(Method::PUT, &url, length, None)?,
        };
        self.endpoint.checked(answer, None).map(drop)
    }

    fn send(&self, method: Method, url: &Url, length: u64, range: Option<(u64, u64)>) -> Result<Answer<'a>, Problem> {
        self.endpoint.send(method, url, &mut |request| {
            let mut stream = (self.open)(self.offset)?;
            let sent = Cell::new(0);
            let mut next = || {
                let piece = next_piece(&mut *stream, length - sent.get())?;
                sent.set(sent.get() + piece.as_ref().map_or(0, |piece| piece.len() as u64));
                (self.tell)(self.offset + sent.get());
                Ok(piece)
            };
            self.endpoint.http().upload(request, http::Upload { range, length, next: &mut next })
        })
    }
}

/// The next bytes, not more than `left`.
fn next_piece(stream: &mut dyn Stream, left: u64) -> Result<Option<Bytes>, Problem> {
    if left == 0 {
        return Ok(None);
    }
    let Some(mut piece) = stream.chunk()? else { return Ok(None) };
    if piece.len() as u64 > left {
        return Ok(Some(piece.copy_to_bytes(left as usize)));
    }
    Ok(Some(piece))
}

/// Where to go next; relative to what was asked.
fn location(answer: &Answer<'_>) -> Result<Url, Problem> {
    let wrong = |what: &str| Problem::Protocol { host: answer.host().to_owned(), what: what.to_owned() };
    let header = answer.header("location").ok_or_else(|| wrong("an upload without Location"))?;
    answer.url().join(header).map_err(|_| wrong("an upload whose Location is no URL"))
}

/// `Range: 0-<last>`; nothing is there where it is missing. `0-0` is said of one byte and of none, and none is believed.
fn bytes_there(answer: &Answer<'_>) -> Option<u64> {
    let Some(header) = answer.header("range") else { return Some(0) };
    let range = header.trim().strip_prefix("bytes=").unwrap_or(header.trim());
    let (first, last) = range.split_once('-')?;
    match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
        (0, 0) => Some(0),
        (0u64, last) if last < limits::BLOB_BYTES_MAX => Some(last + 1),
        _ => None,
    }
}
