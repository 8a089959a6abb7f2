//! A blob as a stream that survives its connections.
//!
//! Spec: distribution-spec "Pulling blobs", RFC 9110 ranges.
//! Law: bytes come out in order, each once, whatever connections and endpoints they came over. `If-Range` is not sent: the
//! name of a blob is its digest, so what another server or another day gives is the same or will be found out.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use knarr_spec::Descriptor;
use reqwest::StatusCode;
use reqwest::Url;

use super::Registry;
use super::patience::{Verdict, delay, verdict};
use crate::Problem;
use crate::http::{Answer, Request, Trust};
use crate::origin::Stream;
use crate::progress::LayerState;

/// A blob on its way.
pub(super) struct BlobStream<'r> {
    registry: &'r Registry<'r>,
    descriptor: &'r Descriptor,
    /// Bytes given out, or skipped by the caller's choice.
    position: u64,
    /// Where the caller wants to stop: the size, or the end of a part of it.
    end: u64,
    answer: Option<Answer<'r>>,
    /// Bytes of the answer to be dropped because they are here already.
    skip: u64,
    /// Which endpoint is being asked, counted from the one that answered the manifest.
    turn: usize,
    /// Attempts at this endpoint that brought next to nothing.
    attempts: u32,
    pace: Pace,
}

/// How fast an answer comes; only the time spent waiting for it counts.
#[derive(Default)]
struct Pace {
    /// Of this connection.
    bytes: u64,
    window_bytes: u64,
    window: Duration,
}

impl<'r> BlobStream<'r> {
    /// The bytes from `offset` to `end`.
    pub(super) fn new(registry: &'r Registry<'r>, descriptor: &'r Descriptor, offset: u64, end: u64) -> BlobStream<'r> {
        let pace = Pace::default();
        BlobStream { registry, descriptor, position: offset, end, answer: None, skip: 0, turn: 0, attempts: 0, pace }
    }

    /// Whether only a part of the blob is wanted, which is of use only where the server has ranges.
    fn is_part(&self) -> bool {
        self.end < self.size()
    }

    fn size(&self) -> u64 {
        self.descriptor.size
    }

    /// The next piece from the connection there is, or from a new one.
    fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.answer.is_none() {
            self.connect()?;
        }
        let begun = Instant::now();
        let chunk = self.answer.as_mut().expect("connected above").chunk()?;
        self.check_pace(chunk.as_ref().map_or(0, Bytes::len) as u64, begun.elapsed())?;
        Ok(chunk)
    }

    fn connect(&mut self) -> Result<(), Problem> {
        let first = self.registry.current.load(std::sync::atomic::Ordering::Relaxed);
        let endpoint = &self.registry.endpoints[(first + self.turn) % self.registry.endpoints.len()];
        let end = Some(self.end).filter(|_| self.is_part());
        let mut answer = endpoint.blob(&self.descriptor.digest, self.position, end)?;
        if answer.status() == StatusCode::NOT_FOUND && !self.descriptor.urls.is_empty() {
            answer = self.foreign()?;
        }
        self.skip = match answer.status() {
            StatusCode::PARTIAL_CONTENT => self.check_range(&answer)?,
            StatusCode::RANGE_NOT_SATISFIABLE if self.position > 0 => return Err(self.shorter(self.position)),
            StatusCode::OK if self.is_part() => return Err(Problem::NoRanges { host: answer.host().to_owned() }),
            _ => {
                answer = endpoint.checked(answer, None)?;
                self.check_length(&answer)?;
                self.position
            }
        };
        self.pace = Pace::default();
        self.answer = Some(answer);
        Ok(())
    }

    /// The layer from where its descriptor says it may be had, if that is allowed. Nobody is logged in there.
    fn foreign(&self) -> Result<Answer<'r>, Problem> {
        let urls = &self.descriptor.urls;
        if !self.registry.foreign_layers {
            return Err(Problem::Foreign(urls.clone()));
        }
        let https = urls.iter().filter_map(|url| Url::parse(url).ok()).find(|url| url.scheme() == "https");
        let url = https.ok_or_else(|| Problem::Foreign(urls.clone()))?;
        self.registry.http.send(&Request { offset: self.position, ..Request::get(url, Trust::Verified) })
    }

    /// A full answer must be as long as promised.
    fn check_length(&self, answer: &Answer<'_>) -> Result<(), Problem> {
        match answer.content_length() {
            Some(length) if length < self.size() => Err(self.shorter(length)),
            Some(length) if length > self.size() => Err(self.longer(length, false)),
            _ => Ok(()),
        }
    }

    /// A partial answer must begin where we are; returns the bytes to skip, which are none.
    fn check_range(&self, answer: &Answer<'_>) -> Result<u64, Problem> {
        let header = answer.header("content-range").unwrap_or_default();
        let wrong = || Problem::Protocol {
            host: answer.host().to_owned(),
            what: format!("asked for bytes from {} on, answered {header:?}", self.position),
        };
        let (first, total) = parse_content_range(header).ok_or_else(wrong)?;
        match total {
            _ if first != self.position => Err(wrong()),
            Some(total) if total < self.size() => Err(self.shorter(total)),
            Some(total) if total > self.size() => Err(self.longer(total, false)),
            _ => Ok(0),
        }
    }

    fn shorter(&self, got: u64) -> Problem {
        Problem::Size { by: "registry", got, more: false, promised: self.size() }
    }

    /// A body without a length may have been cut anywhere.
    fn cut_off(&self) -> Problem {
        let host = self.answer.as_ref().map_or_else(String::new, |answer| answer.host().to_owned());
        Problem::CutOff { host, got: self.position, promised: self.size() }
    }

    fn longer(&self, got: u64, more: bool) -> Problem {
        Problem::Size { by: "registry", got, more, promised: self.size() }
    }

    fn check_pace(&mut self, bytes: u64, waited: Duration) -> Result<(), Problem> {
        let timeouts = &self.registry.http.network().timeouts;
        self.pace.bytes += bytes;
        self.pace.window_bytes += bytes;
        self.pace.window += waited;
        if self.pace.window < timeouts.slow_window {
            return Ok(());
        }
        let (bytes, seconds) = (self.pace.window_bytes, self.pace.window.as_secs());
        (self.pace.window_bytes, self.pace.window) = (0, Duration::ZERO);
        match &self.answer {
            Some(answer) if bytes < timeouts.slow_bytes_min => {
                Err(Problem::TooSlow { host: answer.host().to_owned(), bytes, seconds })
            }
            _ => Ok(()),
        }
    }

    /// Takes what is new of `chunk`.
    fn accept(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, Problem> {
        let known = self.skip.min(chunk.len() as u64);
        chunk.advance(known as usize);
        self.skip -= known;
        if chunk.len() as u64 > self.end - self.position {
            return Err(self.longer(self.size(), true));
        }
        self.position += chunk.len() as u64;
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// After a failure: waits for the next attempt, goes to the next endpoint, or gives up with `problem`.
    fn recover(&mut self, problem: Problem) -> Result<(), Problem> {
        self.answer = None;
        let timeouts = &self.registry.http.network().timeouts;
        let retry = &self.registry.http.network().retry;
        if self.pace.bytes >= timeouts.slow_bytes_min {
            self.attempts = 0;
        }
        self.pace = Pace::default();
        self.attempts += 1;
        match verdict(&problem, self.position > 0 || self.attempts > 1) {
            _ if matches!(problem, Problem::Interrupted | Problem::NoRanges { .. }) => Err(problem),
            Verdict::Again(asked) if self.attempts < retry.attempts => {
                let state = LayerState::Retrying { attempt: self.attempts };
                self.registry.progress.layer(&self.descriptor.digest, state);
                self.registry.http.sleep(delay(retry, self.attempts, asked))
            }
            _ if self.turn + 1 < self.registry.endpoints.len() => {
                (self.turn, self.attempts) = (self.turn + 1, 0);
                Ok(())
            }
            _ => Err(problem),
        }
    }
}

impl Stream for BlobStream<'_> {
    fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if self.position == self.end && (self.answer.is_none() || self.is_part()) {
                return Ok(None);
            }
            let step = match self.next() {
                Ok(Some(chunk)) => self.accept(chunk),
                // All there; and nothing came behind it.
                Ok(None) if self.position == self.end => return Ok(None),
                Ok(None) => Err(self.cut_off()),
                Err(problem) => Err(problem),
            };
            match step {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) => {}
                Err(problem) => self.recover(problem)?,
            }
        }
    }
}

/// First byte and total of `bytes 5-9/10`; the total may be `*`.
fn parse_content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expect: Option<(u64, Option<u64>)>) {
        assert_eq!(parse_content_range(header), expect, "{header:?}");
    }

    #[test]
    fn content_ranges_are_read_and_nonsense_is_refused() {
        check("bytes 5-9/10", Some((5, Some(10))));
        check("bytes 5-9/*", Some((5, None)));
        check("bytes */10", None);
        check("bytes 9-5/10", None);
        check("bytes 5-10/10", None);
        check("items 5-9/10", None);
        check("", None);
    }
}
