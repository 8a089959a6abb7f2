//! Drawing pulls, pushes and copies: bars on a terminal, docker's plain lines elsewhere, nothing with `--quiet`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use knarr_distribution::{LayerState, Outcome, Progress};
use knarr_spec::Digest;

use crate::output::print;

/// One line per layer.
pub(crate) struct Bars {
    quiet: bool,
    lines: Option<MultiProgress>,
    bars: Mutex<BTreeMap<Digest, ProgressBar>>,
}

impl Bars {
    pub(crate) fn new(quiet: bool) -> Bars {
        let drawn = !quiet && std::io::stderr().is_terminal();
        Bars { quiet, lines: drawn.then(MultiProgress::new), bars: Mutex::default() }
    }

    fn draw(&self, lines: &MultiProgress, digest: &Digest, state: LayerState) {
        let mut bars = self.bars.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bar = bars.entry(digest.clone()).or_insert_with(|| {
            let bar = lines.add(ProgressBar::no_length());
            bar.set_style(plain_style());
            bar.set_prefix(digest.short().to_owned());
            bar
        });
        match state {
            LayerState::Downloading { bytes, total } => {
                if bar.length() != Some(total) {
                    bar.set_style(download_style());
                    bar.set_length(total);
                }
                bar.set_position(bytes);
            }
            LayerState::Done | LayerState::AlreadyExists => {
                bar.set_style(plain_style());
                bar.finish_with_message(words(state));
            }
            state => {
                bar.set_style(plain_style());
                bar.set_message(words(state));
            }
        }
    }
}

fn plain_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix}: {msg}").expect("a valid template")
}

fn download_style() -> ProgressStyle {
    let template = "{prefix}: Downloading [{bar:40}] {bytes}/{total_bytes}";
    ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ")
}

/// Docker's.
fn words(state: LayerState) -> String {
    match state {
        LayerState::Waiting => "Pulling fs layer".to_owned(),
        LayerState::Downloading { .. } => "Downloading".to_owned(),
        LayerState::WaitingForOther => "Waiting for another pull".to_owned(),
        LayerState::Downloaded => "Download complete".to_owned(),
        LayerState::Extracting => "Extracting".to_owned(),
        LayerState::Done => "Pull complete".to_owned(),
        LayerState::AlreadyExists => "Already exists".to_owned(),
        LayerState::Uploading { .. } => "Pushing".to_owned(),
        LayerState::Uploaded => "Pushed".to_owned(),
        LayerState::AlreadyThere => "Layer already exists".to_owned(),
        LayerState::Compressing => "Compressing".to_owned(),
        LayerState::Retrying { attempt } => format!("Retrying ({attempt})"),
    }
}

impl Progress for Bars {
    fn layer(&self, digest: &Digest, state: LayerState) {
        match &self.lines {
            Some(lines) => self.draw(lines, digest, state),
            None if self.quiet || matches!(state, LayerState::Downloading { .. } | LayerState::Extracting) => {}
            None => eprintln!("{}: {}", digest.short(), words(state)),
        }
    }

    fn resolved(&self, subject: &str, digest: &Digest) {
        if !self.quiet {
            let text = format!("{subject}: Pulling\nDigest: {digest}");
            match &self.lines {
                Some(lines) => drop(lines.println(text)),
                None => eprintln!("{text}"),
            }
        }
    }

    fn rate_limit(&self, host: &str, remaining: u64, limit: u64) {
        note_rate_limit(self.quiet, host, remaining, limit);
    }

    fn finished(&self, subject: &str, outcome: Outcome) {
        if !self.quiet {
            match outcome {
                Outcome::Downloaded => eprintln!("Status: Downloaded newer image for {subject}"),
                Outcome::UpToDate => eprintln!("Status: Image is up to date for {subject}"),
            }
        }
    }
}

/// Said when a tenth of what the registry allows is left.
fn note_rate_limit(quiet: bool, host: &str, remaining: u64, limit: u64) {
    if !quiet && remaining.saturating_mul(10) <= limit {
        anstream::eprintln!("note: {host} allows {remaining} more pulls of {limit} for now");
    }
}

/// A push in docker's lines on standard output.
pub(crate) struct PushLines {
    quiet: bool,
}

impl PushLines {
    pub(crate) fn new(quiet: bool) -> PushLines {
        PushLines { quiet }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            // A reader that has gone does not stop a push.
            let _ = print(&format!("{text}\n"));
        }
    }
}

impl Progress for PushLines {
    fn layer(&self, digest: &Digest, state: LayerState) {
        let short = digest.short();
        match state {
            LayerState::Waiting => self.line(&format!("{short}: Preparing")),
            LayerState::Uploaded | LayerState::AlreadyThere | LayerState::Retrying { .. } => {
                self.line(&format!("{short}: {}", words(state)));
            }
            _ => {}
        }
    }

    fn mounted(&self, digest: &Digest, from: &str) {
        self.line(&format!("{}: Mounted from {from}", digest.short()));
    }

    fn rate_limit(&self, host: &str, remaining: u64, limit: u64) {
        note_rate_limit(self.quiet, host, remaining, limit);
    }
}

/// A copy in skopeo's lines on standard output.
pub(crate) struct CopyLines {
    quiet: bool,
}

impl CopyLines {
    pub(crate) fn new(quiet: bool) -> CopyLines {
        CopyLines { quiet }
    }

    /// One line, unless nothing is to be said.
    pub(crate) fn line(&self, text: &str) {
        if !self.quiet {
            let _ = print(&format!("{text}\n"));
        }
    }
}

impl Progress for CopyLines {
    fn layer(&self, digest: &Digest, state: LayerState) {
        match state {
            LayerState::Uploaded | LayerState::Done => self.line(&format!("Copying blob {digest}")),
            LayerState::AlreadyThere | LayerState::AlreadyExists => {
                self.line(&format!("Copying blob {digest} skipped: already exists"));
            }
            LayerState::Retrying { attempt } => self.line(&format!("Retrying blob {digest} ({attempt})")),
            _ => {}
        }
    }

    fn mounted(&self, digest: &Digest, from: &str) {
        self.line(&format!("Copying blob {digest} skipped: mounted from {from}"));
    }

    fn resolved(&self, _: &str, _: &Digest) {
        self.line("Getting image source signatures");
    }

    fn rate_limit(&self, host: &str, remaining: u64, limit: u64) {
        note_rate_limit(self.quiet, host, remaining, limit);
    }
}
