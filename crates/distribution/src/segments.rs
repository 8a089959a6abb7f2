//! Several parts of one big blob at once, given out in order.
//!
//! ```text
//! part 0 ▓▓▓▓▓▓▓▓ ► taken          part 1 ▓▓▓▓▓░░░ ► being taken as it comes
//! part 2 ▓▓░░░░░░   part 3 ▓▓▓░░░░░   fetched meanwhile      part 4 … waits for room
//! ```
//! Law: whoever takes gets every byte once and in order, so that what is kept is whole up to its end and a killed pull goes on
//! at that byte; what is ahead of it is bounded in memory. The whole is verified by its digest as always.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use bytes::Bytes;
use knarr_spec::Descriptor;

use crate::Problem;
use crate::origin::Origin;

/// Blobs with less than this to come are fetched in one piece: parts would save less than they cost.
pub(crate) const LEFT_BYTES_MIN: u64 = 16 << 20;

/// Bytes of one part: small enough that four in memory do not matter, large enough that a round trip does not.
const PART_BYTES: u64 = 4 << 20;

/// Most parts of one blob at once. More connections to one registry are impolite and seldom faster.
const WORKERS_MAX: usize = 4;

/// Connections that may be used; each layer being fetched has one, more are taken where they are idle.
#[derive(Debug)]
pub(crate) struct Connections(AtomicUsize);

impl Connections {
    pub(crate) fn new(total: usize) -> Connections {
        Connections(AtomicUsize::new(total))
    }

    /// One, if there is an idle one.
    pub(crate) fn take(&self) -> Option<Connection<'_>> {
        let less = |free: usize| free.checked_sub(1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok().map(|_| Connection(self))
    }
}

/// Given back when it is dropped.
pub(crate) struct Connection<'c>(&'c Connections);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// A blob being fetched in parts.
struct Parts<'p> {
    origin: &'p dyn Origin,
    blob: &'p Descriptor,
    first: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Next part nobody fetches yet.
    next: u64,
    /// Part that is being taken.
    taking: u64,
    arrived: BTreeMap<u64, Part>,
    workers: usize,
    /// The first part that cannot be had, and why. Those before it still come.
    failed: Option<(u64, Problem)>,
    /// Nobody takes any more.
    over: bool,
}

#[derive(Default)]
struct Part {
    pieces: VecDeque<Bytes>,
    complete: bool,
}

/// Gives `take` the bytes of `blob` from `from` on.
pub(crate) fn fetch(
    origin: &dyn Origin,
    blob: &Descriptor,
    from: u64,
    connections: &Connections,
    take: &mut dyn FnMut(Bytes) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let parts = Parts { origin, blob, first: from, state: Mutex::default(), changed: Condvar::new() };
    std::thread::scope(|scope| {
        let begin = || {
            parts.lock().workers += 1;
            scope.spawn(|| parts.work());
        };
        let more = || {
            while parts.lock().workers < WORKERS_MAX {
                let Some(connection) = connections.take() else { return };
                parts.lock().workers += 1;
                let parts = &parts;
                scope.spawn(move || {
                    let _held = connection;
                    parts.work();
                });
            }
        };
        begin();
        let done = (0..parts.count()).try_for_each(|part| {
            more();
            parts.take(part, take)
        });
        parts.lock().over = true;
        parts.changed.notify_all();
        done
    })
}

impl Parts<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    fn count(&self) -> u64 {
        (self.blob.size - self.first).div_ceil(PART_BYTES)
    }

    /// Fetches part after part until there is none, or something failed.
    fn work(&self) {
        while let Some(part) = self.claim() {
            let start = self.first + part * PART_BYTES;
            let end = (start + PART_BYTES).min(self.blob.size);
            let fetched = self.fetch_part(part, start, end);
            let mut state = self.lock();
            match fetched {
                Ok(()) => state.arrived.entry(part).or_default().complete = true,
                Err(problem) => match &state.failed {
                    Some((earlier, _)) if *earlier < part => {}
                    _ => state.failed = Some((part, problem)),
                },
            }
            self.changed.notify_all();
        }
    }

    /// The next part to fetch, once there is room for it.
    fn claim(&self) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if state.over || state.failed.is_some() || state.next == self.count() {
                return None;
            }
            if state.next <= state.taking + state.workers as u64 {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.changed.wait(state).expect("nothing panics while it is held");
        }
    }

    fn fetch_part(&self, part: u64, start: u64, end: u64) -> Result<(), Problem> {
        let stream = self.origin.open_part(self.blob, start, end);
        let mut stream = stream.ok_or_else(|| Problem::NoRanges { host: self.origin.who().to_owned() })?;
        let mut got = 0;
        while let Some(piece) = stream.chunk()? {
            got += piece.len() as u64;
            let mut state = self.lock();
            if state.over || state.failed.as_ref().is_some_and(|(failed, _)| *failed < part) {
                return Err(Problem::Interrupted);
            }
            state.arrived.entry(part).or_default().pieces.push_back(piece);
            if state.taking == part {
                self.changed.notify_all();
            }
        }
        match got == end - start {
            true => Ok(()),
            false => {
                Err(Problem::CutOff { host: self.origin.who().to_owned(), got: start + got, promised: self.blob.size })
            }
        }
    }

    /// Takes one part as it comes.
    fn take(&self, part: u64, take: &mut dyn FnMut(Bytes) -> Result<(), Problem>) -> Result<(), Problem> {
        self.lock().taking = part;
        self.changed.notify_all();
        while let Some(pieces) = self.arrived(part)? {
            pieces.into_iter().try_for_each(&mut *take)?;
        }
        Ok(())
    }

    /// What has come of `part` since the last time; `None` when it is through.
    fn arrived(&self, part: u64) -> Result<Option<VecDeque<Bytes>>, Problem> {
        let mut state = self.lock();
        loop {
            let arrived = state.arrived.entry(part).or_default();
            if !arrived.pieces.is_empty() {
                return Ok(Some(std::mem::take(&mut arrived.pieces)));
            }
            if arrived.complete {
                state.arrived.remove(&part);
                return Ok(None);
            }
            if let Some((_, problem)) = state.failed.take_if(|(failed, _)| *failed == part) {
                state.over = true;
                return Err(problem);
            }
            state = self.changed.wait(state).expect("nothing panics while it is held");
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_spec::{Digest, media_type};

    use super::*;
    use crate::origin::{Document, Stream};

    /// A blob of bytes that tell where they are, with parts that fail from `broken` on.
    struct Memory {
        content: Vec<u8>,
        broken: u64,
    }

    struct Slice(Bytes);

    impl Stream for Slice {
        fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
            let piece = self.0.split_to(self.0.len().min(100_000));
            Ok((!piece.is_empty()).then_some(piece))
        }
    }

    impl Origin for Memory {
        fn root(&self) -> Result<Document, Problem> {
            unreachable!("no document is asked for")
        }

        fn manifest(&self, _: &Descriptor) -> Result<Vec<u8>, Problem> {
            unreachable!("no document is asked for")
        }

        fn open<'a>(&'a self, _: &'a Descriptor, _: u64) -> Result<Box<dyn Stream + 'a>, Problem> {
            unreachable!("only parts are asked for")
        }

        fn open_part<'a>(&'a self, _: &'a Descriptor, offset: u64, end: u64) -> Option<Box<dyn Stream + 'a>> {
            let end = if offset >= self.broken { offset } else { end };
            Some(Box::new(Slice(Bytes::copy_from_slice(&self.content[offset as usize..end as usize]))))
        }

        fn who(&self) -> &'static str {
            "memory"
        }
    }

    fn check(bytes: u64, from: u64, idle: usize, broken: u64) -> Result<(), Problem> {
        let content: Vec<u8> = (0..bytes).map(|at| (at / 1000) as u8).collect();
        let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256_of(b""), bytes);
        let origin = Memory { content, broken };
        let mut taken = Vec::new();
        let done = fetch(&origin, &blob, from, &Connections::new(idle), &mut |piece| {
            taken.extend_from_slice(&piece);
            Ok(())
        });
        assert!(origin.content[from as usize..].starts_with(&taken), "{bytes} {from}");
        assert!(done.is_err() || taken.len() as u64 == bytes - from);
        done
    }

    #[test]
    fn parts_come_out_in_order_and_whole() {
        check(30 << 20, 0, 3, u64::MAX).unwrap();
        check((17 << 20) + 1, 12345, 0, u64::MAX).unwrap();
        check(5, 4, 1, u64::MAX).unwrap();
    }

    #[test]
    fn a_part_that_breaks_ends_it_and_leaves_what_came_before() {
        assert!(matches!(check(40 << 20, 7, 3, 20 << 20), Err(Problem::CutOff { .. })));
    }

    #[test]
    fn connections_are_given_back() {
        let connections = Connections::new(1);
        let held = connections.take();
        assert!(held.is_some() && connections.take().is_none());
        drop(held);
        assert!(connections.take().is_some());
    }
}
