//! Several parts of one big blob at once, given out in order.
//!
//! ```text
//! part 0 ▓▓▓▓▓▓▓▓▓▓▓▓▓▓ ► taken     part 1 ▓▓▓▓▓░░░ ► being taken as it comes
//! part 2 ▓▓░░░░░░   part 3 ▓▓▓░░░░░   fetched meanwhile      part 4 … waits for room
//! ```
//! Who takes fetches too, what no helper has begun. Alone it asks for all that is left, like any stream; a helper that comes
//! later takes over the second half of it.
//! Law: whoever takes gets every byte once and in order, so that what is kept is whole up to its end and a killed pull goes on
//! at that byte; what is ahead of it is bounded in memory. The whole is verified by its digest as always.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::Scope;

use bytes::Bytes;
use knarr_spec::Descriptor;

use crate::Problem;
use crate::origin::{Origin, Stream};

/// Blobs with less than this to come are fetched in one piece: parts would save less than they cost.
pub(crate) const LEFT_BYTES_MIN: u64 = 16 << 20;

/// Bytes of one part among several: small enough that four in memory do not matter, large enough that a round trip does not.
const PART_BYTES: u64 = 4 << 20;

/// What must be left to a lonely reader for somebody to help with half of it.
const HALVED_BYTES_MIN: u64 = 4 * PART_BYTES;

/// Most parts of one blob at once. More connections to one registry are impolite and seldom faster.
const CONNECTIONS_MAX: usize = 4;

/// Idle connections. Each blob being fetched has one of its own; helpers take those that are left over, which become more
/// when blobs are through.
#[derive(Debug)]
pub(crate) struct Connections {
    idle: AtomicUsize,
    total: usize,
    blobs: usize,
}

impl Connections {
    /// Of `total` connections for `blobs` blobs.
    pub(crate) fn new(total: usize, blobs: usize) -> Connections {
        Connections { idle: AtomicUsize::new(total.saturating_sub(blobs)), total, blobs }
    }

    /// That of the blob number `at`, idle once it is dropped; `None` where another blob takes it over then.
    pub(crate) fn of_blob(&self, at: usize) -> Option<Connection<'_>> {
        (at + self.total >= self.blobs).then(|| Connection(self))
    }

    /// One, if there is an idle one.
    pub(crate) fn take(&self) -> Option<Connection<'_>> {
        let less = |free: usize| free.checked_sub(1);
        self.idle.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok().map(|_| Connection(self))
    }
}

/// Given back when it is dropped.
pub(crate) struct Connection<'c>(&'c Connections);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.idle.fetch_add(1, Ordering::AcqRel);
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
    std::thread::scope(|scope| {
        let mut stream = open(scope, origin, blob, from, connections)?;
        while let Some(piece) = stream.chunk()? {
            take(piece)?;
        }
        Ok(())
    })
}

/// The same as a stream; threads of `scope` help whoever reads it.
pub(crate) fn open<'s>(
    scope: &'s Scope<'s, '_>,
    origin: &'s dyn Origin,
    blob: &'s Descriptor,
    from: u64,
    connections: &'s Connections,
) -> Result<Box<dyn Stream + 's>, Problem> {
    if blob.size.saturating_sub(from) < LEFT_BYTES_MIN || origin.open_part(blob, from, from).is_none() {
        return origin.open(blob, from);
    }
    let state = Mutex::new(State { next_byte: from, ..State::default() });
    let parts = Arc::new(Parts { origin, blob, connections, state, changed: Condvar::new() });
    Ok(Box::new(Parted { scope, parts, part: 0, own: None, pieces: VecDeque::new(), taken: from }))
}

/// A blob that is read in parts.
struct Parted<'s, 'e> {
    scope: &'s Scope<'s, 'e>,
    parts: Arc<Parts<'s>>,
    /// The part that is being taken.
    part: u64,
    /// It, where the reader fetches it itself: nobody helped in time.
    own: Option<Box<dyn Stream + 's>>,
    /// What came of it, where a helper fetches it.
    pieces: VecDeque<Bytes>,
    /// Where the next byte is.
    taken: u64,
}

/// A blob being fetched in parts.
struct Parts<'p> {
    origin: &'p dyn Origin,
    blob: &'p Descriptor,
    connections: &'p Connections,
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
    /// Where it ends, while the reader fetches it itself.
    own_end: Option<u64>,
    arrived: BTreeMap<u64, Part>,
    helpers: usize,
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

/// A part somebody fetches.
struct Claim {
    part: u64,
    start: u64,
    end: u64,
}

/// What the reader does next.
enum Next {
    /// Fetch a part.
    Fetch(Claim),
    /// Take what came.
    Take(VecDeque<Bytes>),
    /// Go to the next part.
    Through,
}

impl Stream for Parted<'_, '_> {
    fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        match self.next() {
            Err(Problem::NoRanges { .. }) => {
                // Whoever sends all to everybody is asked once more, for all.
                self.parts.end();
                let whole = self.parts.origin.open(self.parts.blob, self.taken)?;
                self.own = Some(whole);
                self.parts.lock().own_end = Some(self.parts.blob.size);
                self.next()
            }
            other => other,
        }
    }
}

impl Parted<'_, '_> {
    fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(self.given(piece)));
            }
            if let Some(own) = &mut self.own {
                let Some(mut piece) = own.chunk()? else { return Err(self.parts.cut_off(self.taken)) };
                let (ours, ends) = self.parts.ours(self.taken, piece.len());
                piece.truncate(ours);
                if ends {
                    (self.own, self.part) = (None, self.part + 1);
                }
                let piece = self.given(piece);
                self.call_for_help();
                return Ok(Some(piece));
            }
            if self.taken == self.parts.blob.size {
                return Ok(None);
            }
            self.call_for_help();
            match self.parts.next_of(self.part)? {
                Next::Fetch(claim) => self.own = Some(self.parts.open(&claim)?),
                Next::Take(pieces) => self.pieces = pieces,
                Next::Through => self.part += 1,
            }
        }
    }

    fn given(&mut self, piece: Bytes) -> Bytes {
        self.taken += piece.len() as u64;
        piece
    }

    /// Where connections are idle, they fetch what comes next.
    fn call_for_help(&self) {
        while self.parts.lacks_help(self.taken) {
            let Some(connection) = self.parts.connections.take() else { return };
            self.parts.make_room(self.taken);
            let parts = Arc::clone(&self.parts);
            self.scope.spawn(move || {
                let _held = connection;
                parts.help();
            });
        }
    }
}

impl Drop for Parted<'_, '_> {
    fn drop(&mut self) {
        self.parts.end();
    }
}

impl<'p> Parts<'p> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    fn wait<'l>(&self, state: MutexGuard<'l, State>) -> MutexGuard<'l, State> {
        self.changed.wait(state).expect("nothing panics while it is held")
    }

    /// Ends the helpers.
    fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn lacks_help(&self, taken: u64) -> bool {
        let state = self.lock();
        let left = state.own_end.unwrap_or(taken).saturating_sub(taken);
        let work = state.next_byte < self.blob.size || left >= HALVED_BYTES_MIN;
        work && !state.over && state.failed.is_none() && state.helpers + 1 < CONNECTIONS_MAX
    }

    /// For one more helper: where nothing is left to claim, half of what the reader was to fetch.
    fn make_room(&self, taken: u64) {
        let mut state = self.lock();
        state.helpers += 1;
        if let Some(end) = state.own_end.filter(|end| *end == self.blob.size && state.next_byte == self.blob.size) {
            let half = taken + (end - taken) / 2;
            (state.own_end, state.next_byte) = (Some(half), half);
        }
    }

    /// How much of `bytes` more bytes after `taken` is the reader's own, and whether its part ends with them: a helper may
    /// have taken over what follows.
    fn ours(&self, taken: u64, bytes: usize) -> (usize, bool) {
        let mut state = self.lock();
        let left = state.own_end.unwrap_or(self.blob.size).saturating_sub(taken);
        let ends = left <= bytes as u64;
        if ends {
            state.own_end = None;
        }
        (bytes.min(usize::try_from(left).unwrap_or(usize::MAX)), ends)
    }

    fn open(&self, claim: &Claim) -> Result<Box<dyn Stream + 'p>, Problem> {
        let stream = self.origin.open_part(self.blob, claim.start, claim.end);
        stream.ok_or_else(|| Problem::NoRanges { host: self.origin.who().to_owned() })
    }

    /// Fetches part after part until there is none, or something failed.
    fn help(&self) {
        while let Some(claim) = self.claim() {
            let fetched = self.fetch(&claim);
            let mut state = self.lock();
            match fetched {
                // The reader goes on to the end as it began.
                Err(Problem::NoRanges { .. }) if state.own_end.is_some() && state.arrived.is_empty() => {
                    (state.own_end, state.over) = (Some(self.blob.size), true);
                }
                Ok(()) => state.arrived.entry(claim.part).or_default().complete = true,
                Err(problem) => match &state.failed {
                    Some((earlier, _)) if *earlier < claim.part => {}
                    _ => state.failed = Some((claim.part, problem)),
                },
            }
            self.changed.notify_all();
        }
        self.lock().helpers -= 1;
    }

    /// The next part for a helper, once there is room for it.
    fn claim(&self) -> Option<Claim> {
        let mut state = self.lock();
        loop {
            if state.over || state.failed.is_some() || state.next_byte == self.blob.size {
                return None;
            }
            if state.next <= state.taking + state.helpers as u64 {
                return Some(state.claim(PART_BYTES, self.blob.size));
            }
            state = self.wait(state);
        }
    }

    fn fetch(&self, claim: &Claim) -> Result<(), Problem> {
        let Claim { part, start, end } = *claim;
        let mut stream = self.open(claim)?;
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
            false => Err(self.cut_off(start + got)),
        }
    }

    fn cut_off(&self, got: u64) -> Problem {
        Problem::CutOff { host: self.origin.who().to_owned(), got, promised: self.blob.size }
    }

    /// What the reader does at `part`.
    fn next_of(&self, part: u64) -> Result<Next, Problem> {
        let mut state = self.lock();
        (state.taking, state.own_end) = (part, None);
        self.changed.notify_all();
        loop {
            if state.next == part {
                let bytes = if state.helpers > 0 { PART_BYTES } else { self.blob.size };
                let claim = state.claim(bytes, self.blob.size);
                state.own_end = Some(claim.end);
                return Ok(Next::Fetch(claim));
            }
            let arrived = state.arrived.entry(part).or_default();
            if !arrived.pieces.is_empty() {
                return Ok(Next::Take(std::mem::take(&mut arrived.pieces)));
            }
            if arrived.complete {
                state.arrived.remove(&part);
                return Ok(Next::Through);
            }
            if let Some((_, problem)) = state.failed.take_if(|(failed, _)| *failed == part) {
                state.over = true;
                return Err(problem);
            }
            state = self.wait(state);
        }
    }
}

impl State {
    fn claim(&mut self, bytes: u64, size: u64) -> Claim {
        let (part, start) = (self.next, self.next_byte);
        (self.next, self.next_byte) = (part + 1, start.saturating_add(bytes).min(size));
        Claim { part, start, end: self.next_byte }
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

        fn open<'a>(&'a self, _: &'a Descriptor, offset: u64) -> Result<Box<dyn Stream + 'a>, Problem> {
            let rest = &self.content[offset as usize..];
            Ok(Box::new(Slice(Bytes::copy_from_slice(rest))))
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
        let done = bring(&origin, &blob, from, &Connections::new(idle, 0), &mut |piece| {
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
        let connections = Connections::new(1, 0);
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            let mut whole = open(scope, &origin, &blob, 5, &connections).unwrap();
            while let Some(piece) = whole.chunk().unwrap() {
                taken.extend_from_slice(&piece);
            }
            open(scope, &origin, &blob, 0, &connections).unwrap().chunk().unwrap();
        });
        assert!(taken == origin.content[5..]);
    }

    #[test]
    fn a_helper_that_comes_later_takes_over_half_of_what_is_left() {
        let content: Vec<u8> = (0..40_u32 << 20).map(|at| (at / 1000) as u8).collect();
        let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256_of(b""), content.len() as u64);
        let origin = Memory { content, broken: u64::MAX };
        // Both connections are others' at first.
        let connections = Connections::new(2, 2);
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            let mut whole = open(scope, &origin, &blob, 0, &connections).unwrap();
            while let Some(piece) = whole.chunk().unwrap() {
                taken.extend_from_slice(&piece);
                if (1_000_000..1_100_000).contains(&taken.len()) {
                    drop(connections.of_blob(1));
                }
            }
        });
        assert!(taken == origin.content);
        let given_back = connections.take();
        assert!(given_back.is_some() && connections.take().is_none());
    }

    #[test]
    fn a_part_that_breaks_ends_it_and_leaves_what_came_before() {
        assert!(matches!(check(40 << 20, 7, 3, 20 << 20), Err(Problem::CutOff { .. })));
    }

    #[test]
    fn connections_are_given_back() {
        let connections = Connections::new(1, 0);
        let held = connections.take();
        assert!(held.is_some() && connections.take().is_none());
        drop(held);
        assert!(connections.take().is_some());
        // Two for three blobs: the first one's goes to the third, and only then is one idle.
        let connections = Connections::new(2, 3);
        assert!(connections.of_blob(0).is_none() && connections.take().is_none());
        drop(connections.of_blob(1));
        assert!(connections.take().is_some());
    }
}
