//! What a URL leads to, for `import`: no image, and nothing that says what it must be.
//!
//! Law: https is verified, http is taken where the user wrote it and by no redirect from https; what comes is bounded by the
//! same limit as a blob.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use reqwest::{StatusCode, Url};

use crate::http::{Answer, Http, Request, Trust};
use crate::{Error, Network, Problem, limits};

/// Opens `url` and gives `read` its bytes as they come.
pub fn download<T>(url: &str, network: &Network, read: impl FnOnce(&mut dyn Read) -> T) -> Result<T, Error> {
    let failed = |problem| Error { verb: "download", subject: url.to_owned(), problem: Box::new(problem) };
    let http = Http::new(network).map_err(failed)?;
    let answer = open(url, &http).map_err(failed)?;
    Ok(read(&mut Body { answer, piece: Bytes::new(), taken: 0 }))
}

fn open<'h>(url: &str, http: &'h Http) -> Result<Answer<'h>, Problem> {
    let parsed = Url::parse(url).map_err(|error| Problem::Unsupported(format!("{url:?} is no URL: {error}")))?;
    let answer = http.send(&Request::get(parsed, Trust::Verified))?;
    match answer.status() {
        StatusCode::OK => Ok(answer),
        status => Err(Problem::Status {
            url: answer.shown_url(),
            code: status.as_u16(),
            status: status.to_string(),
            message: String::new(),
            wait: None,
        }),
    }
}

/// The body of an answer.
struct Body<'h> {
    answer: Answer<'h>,
    piece: Bytes,
    taken: u64,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let Some(piece) = self.answer.chunk().map_err(io::Error::other)? else { return self.end() };
            self.piece = piece;
        }
        let take = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..take]);
        self.taken += take as u64;
        if self.taken > limits::BLOB_BYTES_MAX {
            return Err(io::Error::other(Problem::TooLarge { bytes_max: limits::BLOB_BYTES_MAX }));
        }
        Ok(take)
    }
}

impl Body<'_> {
    fn end(&self) -> io::Result<usize> {
        match self.answer.content_length() {
            Some(promised) if promised != self.taken => {
                let host = self.answer.host().to_owned();
                Err(io::Error::other(Problem::CutOff { host, got: self.taken, promised }))
            }
            _ => Ok(0),
        }
    }
}
