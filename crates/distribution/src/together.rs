//! Several jobs at once, the first failure stops the others.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Problem;

/// Does jobs `0..count`, at most `threads` at once, in their order. After a failure no other begins, `interrupt` is called,
/// and the first failure is returned.
pub(crate) fn together(
    count: usize,
    threads: usize,
    interrupt: &(dyn Fn() + Sync),
    job: &(dyn Fn(usize) -> Result<(), Problem> + Sync),
) -> Result<(), Problem> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Problem>> = Mutex::default();
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || failed.lock().expect("no panic while failing").is_some() {
                return;
            }
            if let Err(problem) = job(at) {
                failed.lock().expect("no panic while failing").get_or_insert(problem);
                interrupt();
            }
        }
    };
    match threads.clamp(1, count.max(1)) {
        1 => work(),
        threads => std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work)))),
    }
    failed.into_inner().expect("no panic while failing").map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_jobs_are_done_and_a_failure_stops_what_has_not_begun() {
        let done = AtomicUsize::new(0);
        let job = |_| {
            done.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        together(20, 4, &|| {}, &job).unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 20);
        let failing = |at| if at == 1 { Err(Problem::BlobUnknown) } else { Ok(()) };
        let stopped = AtomicUsize::new(0);
        let interrupt = || {
            stopped.fetch_add(1, Ordering::SeqCst);
        };
        assert!(matches!(together(20, 1, &interrupt, &failing), Err(Problem::BlobUnknown)));
        assert_eq!(stopped.load(Ordering::SeqCst), 1);
    }
}
