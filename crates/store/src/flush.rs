//! Brings to the disk what is being written, while it is being written.
//!
//! Law: promises nothing: what must be on the disk is synced by whoever says that it is there. But who has written a gigabyte and
//! syncs only then waits for the disk after having waited for the processor; this way both work at once, and the last sync finds
//! little to do.

use std::fs::File;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::store::Store;

/// Time between two syncs: long enough that small work is through before the first.
const EVERY: Duration = Duration::from_millis(400);

impl Store {
    /// Does `work`; what it writes goes to the disk along with it.
    pub fn flush_while<T>(&self, work: impl FnOnce() -> T) -> T {
        let (over, changed) = (Mutex::new(false), Condvar::new());
        let flush = || {
            let Ok(dir) = File::open(self.state()) else { return };
            let mut is_over = over.lock().expect("nothing panics while it is held");
            loop {
                let waited = changed.wait_timeout_while(is_over, EVERY, |over| !*over);
                is_over = waited.expect("nothing panics while it is held").0;
                if *is_over {
                    return;
                }
                drop(is_over);
                // A disk that fails is told by the sync that counts.
                let _ = knarr_sys::syncfs::syncfs(&dir);
                is_over = over.lock().expect("nothing panics while it is held");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(flush);
            let _over = Over(&over, &changed);
            work()
        })
    }
}

/// Ends the syncing, also where the work panics.
struct Over<'w>(&'w Mutex<bool>, &'w Condvar);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        *self.0.lock().expect("nothing panics while it is held") = true;
        self.1.notify_all();
    }
}
