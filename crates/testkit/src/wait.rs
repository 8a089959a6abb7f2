//! Waiting for a condition without sleeping for luck: ask often, give up loudly.

use std::time::{Duration, Instant};

/// How often the condition is asked.
const PAUSE: Duration = Duration::from_millis(5);

/// Patience of tests on an ordinary machine; `KNARR_E2E_PATIENCE` multiplies it where everything is slower.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a test may wait for anything.
pub fn patience() -> Duration {
    let factor = std::env::var("KNARR_E2E_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    PATIENCE * factor
}

/// Waits until `ask` answers with something.
///
/// # Panics
/// With `what` when patience ends.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {:?} in vain until {what}", patience());
        std::thread::sleep(PAUSE);
    }
}
