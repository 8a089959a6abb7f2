//! What may be tried again, and when.
//!
//! Law: waits are bounded one by one ([`Retry`], [`limits::RETRY_AFTER_MAX_S`]) and in number; what a second attempt cannot
//! change is not tried a second time.

use std::time::Duration;

use crate::http::Http;
use crate::network::Retry;
use crate::{Problem, limits};

/// How a problem is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It will not get better.
    Final,
    /// It may, after the wait the server asked for, if it did.
    Again(Option<Duration>),
}

/// Whether `problem` may pass. Before anything was exchanged (`met` false) a refused connection is an answer.
pub(crate) fn verdict(problem: &Problem, met: bool) -> Verdict {
    match problem {
        Problem::Transport { cause, .. } if cause.is_connect() && !met => Verdict::Final,
        Problem::Transport { .. } | Problem::CutOff { .. } => Verdict::Again(None),
        Problem::Stalled { .. } | Problem::TooSlow { .. } => Verdict::Again(None),
        Problem::RateLimited { wait: Some(wait), .. } if too_long(*wait) => Verdict::Final,
        Problem::RateLimited { wait, .. } => Verdict::Again(*wait),
        Problem::Status { code: 408 | 500 | 502 | 503 | 504, wait, .. } if !wait.is_some_and(too_long) => {
            Verdict::Again(*wait)
        }
        _ => Verdict::Final,
    }
}

fn too_long(wait: Duration) -> bool {
    wait > Duration::from_secs(limits::RETRY_AFTER_MAX_S)
}

/// The wait before repetition `attempt` (1 for the first).
pub(crate) fn delay(retry: &Retry, attempt: u32, asked: Option<Duration>) -> Duration {
    let doubled = retry.delay.saturating_mul(1 << (attempt - 1).min(16)).min(retry.delay_max);
    asked.unwrap_or_default().max(doubled)
}

/// Does `step` until it succeeds, fails for good or has failed too often.
pub(crate) fn patiently<T>(http: &Http, step: impl Fn() -> Result<T, Problem>) -> Result<T, Problem> {
    let retry = &http.network().retry;
    let mut attempt = 0;
    loop {
        let problem = match step() {
            Ok(done) => return Ok(done),
            Err(problem) => problem,
        };
        attempt += 1;
        match verdict(&problem, false) {
            Verdict::Again(asked) if attempt < retry.attempts => http.sleep(delay(retry, attempt, asked))?,
            _ => return Err(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u16, wait: Option<u64>, expect: Verdict) {
        let wait = wait.map(Duration::from_secs);
        let problem = Problem::Status { url: String::new(), code, status: String::new(), message: String::new(), wait };
        assert_eq!(verdict(&problem, true), expect);
    }

    #[test]
    fn a_server_in_trouble_is_asked_again() {
        check(503, None, Verdict::Again(None));
        check(502, Some(3), Verdict::Again(Some(Duration::from_secs(3))));
    }

    #[test]
    fn a_final_answer_and_an_endless_wait_are_not() {
        check(400, None, Verdict::Final);
        check(503, Some(3600), Verdict::Final);
    }

    #[test]
    fn waits_double_up_to_a_limit_and_never_undercut_the_server() {
        let retry = Retry::default();
        assert_eq!(delay(&retry, 1, None), retry.delay);
        assert_eq!(delay(&retry, 2, None), retry.delay * 2);
        assert_eq!(delay(&retry, 30, None), retry.delay_max);
        assert_eq!(delay(&retry, 1, Some(Duration::from_secs(7))), Duration::from_secs(7));
    }
}
