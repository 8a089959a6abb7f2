//! Several parts of one big blob at once, given out in order.
//!
//! ```text
//! part 0 ▓▓▓▓▓▓▓▓▓▓▓▓▓▓ ► taken     part 1 ▓▓▓▓▓░░░ ► being taken as it comes
//! part 2 ▓▓░░░░░░   part 3 ▓▓▓░░░░░   fetched meanwhile      part 4 … waits for room
//! ```
//! Law: whoever takes gets every byte once and in order, so that what is kept is whole up to its end and a killed pull goes on
//! at that byte; what is ahead of it is bounded in memory. The whole is verified by its digest as always.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::Scope;

use bytes::Bytes;
use knarr_spec::Descriptor;

use crate::Problem;
use crate::origin::{Origin, Stream};

/// Blobs with less than this to come are fetched in one piece: parts would save less than they cost.
pub(crate) const LEFT_BYTES_MIN: u64 = 16 << 20;

/// Bytes of one part among several: small enough that four in memory do not matter, large enough that a round trip does not.
const PART_BYTES: u64 = 4 << 20;

/// Bytes of one part while only one is fetched: a request costs the server something, and others may soon have time to help.
const LONELY_PART_BYTES: u64 = 32 << 20;

/// Bytes of one part that may wait in memory.
const WAITING_BYTES_MAX: usize = PART_BYTES as usize;

/// Most parts of one blob at once. More connections to one registry are impolite and seldom faster.
const WORKERS_MAX: usize = 4;

/// Pieces between the thread that fetches a stream and the one that takes it.
const STREAM_PIECES: usize = 16;

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

/// Gives `take` the bytes of `blob` from `from` on: of a big one several parts at once, if the server has them.
pub(crate) fn bring(
    origin: &dyn Origin,
    blob: &Descriptor,
    from: u64,
    connections: &Connections,
    take: &mut dyn FnMut(Bytes) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let at = Cell::new(from);
    let mut take = |piece: Bytes| {
        at.set(at.get() + piece.len() as u64);
        take(piece)
    };
    if are_worth_it(origin, blob, from) {
        match fetch(origin, blob, from, connections, &mut take) {
            Err(Problem::NoRanges { .. }) => {}
            other => return other,
        }
    }
    let mut stream = origin.open(blob, at.get())?;
    while let Some(piece) = stream.chunk()? {
        take(piece)?;
    }
    Ok(())
}

/// Whether parts of `blob` from `from` on are worth their requests, and can be had.
pub(crate) fn are_worth_it(origin: &dyn Origin, blob: &Descriptor, from: u64) -> bool {
    blob.size.saturating_sub(from) >= LEFT_BYTES_MIN && origin.open_part(blob, from, from).is_some()
}

/// A blob being fetched in parts.
struct Parts<'p> {
    origin: &'p dyn Origin,
    blob: &'p Descriptor,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Next part nobody fetches yet, and where it begins.
    next: u64,
    next_byte: u64,
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
    bytes: usize,
    complete: bool,
}

/// A part somebody fetches.
struct Claim {
    part: u64,
    start: u64,
    end: u64,
}

/// The same in parts, or not at all.
fn fetch(
    origin: &dyn Origin,
    blob: &Descriptor,
    from: u64,
    connections: &Connections,
    take: &mut dyn FnMut(Bytes) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let state = Mutex::new(State { next_byte: from, workers: 1, ..State::default() });
    let parts = Parts { origin, blob, state, changed: Condvar::new() };
    std::thread::scope(|scope| {
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
        // Helpers first: whoever claims a part then knows that it is one of several.
        more();
        scope.spawn(|| parts.work());
        let done = parts.take_all(from, &more, take);
        parts.lock().over = true;
        parts.changed.notify_all();
        done
    })
}

/// The bytes of `blob` from `from` on, fetched by threads of `scope`.
pub(crate) fn stream<'s>(
    scope: &'s Scope<'s, '_>,
    origin: &'s dyn Origin,
    blob: &'s Descriptor,
    from: u64,
    connections: &'s Connections,
) -> Box<dyn Stream + 's> {
    let (sender, receiver) = sync_channel(STREAM_PIECES);
    scope.spawn(move || {
        // Who takes no more has gone away.
        let mut take = |piece| sender.send(Ok(piece)).map_err(|_| Problem::Interrupted);
        if let Err(problem) = bring(origin, blob, from, connections, &mut take) {
            let _ = sender.send(Err(problem));
        }
    });
    Box::new(Fetched(receiver))
}

struct Fetched(Receiver<Result<Bytes, Problem>>);

impl Stream for Fetched {
    fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        self.0.recv().ok().transpose()
    }
}

impl Parts<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    fn wait<'l>(&self, state: MutexGuard<'l, State>) -> MutexGuard<'l, State> {
        self.changed.wait(state).expect("nothing panics while it is held")
    }

    /// Fetches part after part until there is none, or something failed.
    fn work(&self) {
        while let Some(claim) = self.claim() {
            let fetched = self.fetch_part(&claim);
            let mut state = self.lock();
            match fetched {
                Ok(()) => state.arrived.entry(claim.part).or_default().complete = true,
                Err(problem) => match &state.failed {
                    Some((earlier, _)) if *earlier < claim.part => {}
                    _ => state.failed = Some((claim.part, problem)),
                },
            }
            self.changed.notify_all();
        }
    }

    /// The next part to fetch, once there is room for it.
    fn claim(&self) -> Option<Claim> {
        let mut state = self.lock();
        loop {
            if state.over || state.failed.is_some() || state.next_byte == self.blob.size {
                return None;
            }
            if state.next <= state.taking + state.workers as u64 {
                let (part, start) = (state.next, state.next_byte);
                // Half of the rest at most, so that there is something to help with.
                let lonely = ((self.blob.size - start) / 2).clamp(PART_BYTES, LONELY_PART_BYTES);
                let bytes = if state.workers > 1 { PART_BYTES } else { lonely };
                let end = (start + bytes).min(self.blob.size);
                (state.next, state.next_byte) = (part + 1, end);
                return Some(Claim { part, start, end });
            }
            state = self.wait(state);
        }
    }

    fn fetch_part(&self, claim: &Claim) -> Result<(), Problem> {
        let Claim { part, start, end } = *claim;
        let stream = self.origin.open_part(self.blob, start, end);
        let mut stream = stream.ok_or_else(|| Problem::NoRanges { host: self.origin.who().to_owned() })?;
        let mut got = 0;
        while let Some(piece) = stream.chunk()? {
            got += piece.len() as u64;
            let mut state = self.lock();
            while state.arrived.get(&part).is_some_and(|part| part.bytes >= WAITING_BYTES_MAX) && !state.over {
                state = self.wait(state);
            }
            if state.over || state.failed.as_ref().is_some_and(|(failed, _)| *failed < part) {
                return Err(Problem::Interrupted);
            }
            let arrived = state.arrived.entry(part).or_default();
            arrived.bytes += piece.len();
            arrived.pieces.push_back(piece);
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

    /// Takes part after part as they come; `more` looks for somebody to help.
    fn take_all(
        &self,
        from: u64,
        more: &dyn Fn(),
        take: &mut dyn FnMut(Bytes) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut taken = from;
        for part in 0.. {
            if taken == self.blob.size {
                break;
            }
            self.lock().taking = part;
            self.changed.notify_all();
            more();
            while let Some(pieces) = self.arrived(part)? {
                more();
                for piece in pieces {
                    taken += piece.len() as u64;
                    take(piece)?;
                }
            }
        }
        Ok(())
    }

    /// What has come of `part` since the last time; `None` when it is through.
    fn arrived(&self, part: u64) -> Result<Option<VecDeque<Bytes>>, Problem> {
        let mut state = self.lock();
        loop {
            let arrived = state.arrived.entry(part).or_default();
            if !arrived.pieces.is_empty() {
                arrived.bytes = 0;
                let pieces = std::mem::take(&mut arrived.pieces);
                // Whoever waits for room has some.
                self.changed.notify_all();
                return Ok(Some(pieces));
            }
            if arrived.complete {
                state.arrived.remove(&part);
                return Ok(None);
            }
            if let Some((_, problem)) = state.failed.take_if(|(failed, _)| *failed == part) {
                state.over = true;
                return Err(problem);
            }
            state = self.wait(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_spec::{Digest, media_type};

    use super::*;
    use crate::origin::Document;

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
    fn a_stream_has_the_same_bytes_and_ends_its_threads_when_it_is_dropped() {
        let content: Vec<u8> = (0..40_u32 << 20).map(|at| (at / 1000) as u8).collect();
        let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256_of(b""), content.len() as u64);
        let origin = Memory { content, broken: u64::MAX };
        let connections = Connections::new(1);
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            let mut whole = stream(scope, &origin, &blob, 5, &connections);
            while let Some(piece) = whole.chunk().unwrap() {
                taken.extend_from_slice(&piece);
            }
            stream(scope, &origin, &blob, 0, &connections).chunk().unwrap();
        });
        assert!(taken == origin.content[5..]);
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
