//! Users and the hashes of their passwords, as Apache's htpasswd writes them.
//!
//! Spec: htpasswd(1), lines of `user:hash`; only bcrypt (`htpasswd -B`), as distribution has it.
//! Law: an unknown user costs the same time as a wrong password. At most so many hashes are computed at once, and at most so
//! many requests wait for that; the others are told to come again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::hmac;
use tokio::sync::Semaphore;

/// Passwords hashed at once. One takes a core for 50 to 300 ms; the others serve.
const HASHES_AT_ONCE: usize = 2;
/// Requests that may wait for their turn: with two at once and 100 ms each, the last waits for a second and a half.
const HASHES_WAITING_MAX: usize = 32;
/// A password found right is not hashed again for so long; clients with Basic authentication send it with every request.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Passwords remembered at once, as 32 bytes each.
const REMEMBERED_MAX: usize = 4096;
/// Bytes of a name or a password looked at; bcrypt reads 72.
const CREDENTIAL_BYTES_MAX: usize = 1024;
/// Highest cost accepted: 2^16 rounds take 4 seconds.
const COST_MAX: u32 = 16;
/// Longest password a hash is made of.
const PASSWORD_BYTES_MAX: usize = 72;
/// The cost of hashes we make.
const COST: u32 = 10;

/// The name that stands for those who give none.
pub const ANONYMOUS: &str = "anonymous";

/// The file, read.
pub struct Users {
    hashes: HashMap<String, String>,
    /// A hash that no password has, of the cost most hashes have.
    decoy: String,
    running: Semaphore,
    waiting: Semaphore,
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    secret: hmac::Key,
}

/// What became of a password.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is right.
    Right,
    /// The user or the password is wrong.
    Wrong,
    /// Too many wait already.
    Busy,
}

/// A line that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct LineError {
    line: usize,
    what: String,
}

impl Users {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Users, LineError> {
        let mut hashes = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |what: &str| LineError { line: at + 1, what: what.to_owned() };
            let (user, hash) = line.split_once(':').ok_or_else(|| fail("expected user:hash"))?;
            if user.is_empty() || user == ANONYMOUS || user.len() > CREDENTIAL_BYTES_MAX {
                return Err(fail("this is no name a user may have"));
            }
            if cost(hash).is_none_or(|cost| cost > COST_MAX) {
                return Err(fail("not a bcrypt hash of cost 4 to 16; htpasswd -B makes one"));
            }
            hashes.insert(user.to_owned(), hash.to_owned());
        }
        let usual = hashes.values().filter_map(|hash| cost(hash)).max().unwrap_or(COST);
        Ok(Users {
            hashes,
            decoy: format!("$2b${usual:02}$abcdefghijklmnopqrstuuO2dyz1A5EPIW9H1xZ1lXSvCpAYqS6Zy"),
            running: Semaphore::new(HASHES_AT_ONCE),
            waiting: Semaphore::new(HASHES_AT_ONCE + HASHES_WAITING_MAX),
            remembered: Mutex::default(),
            secret: super::random_key(),
        })
    }

    /// Whether `user` has this password.
    pub async fn check(&self, user: &str, password: &str) -> Checked {
        if user.len() > CREDENTIAL_BYTES_MAX || password.len() > CREDENTIAL_BYTES_MAX {
            return Checked::Wrong;
        }
        let known = self.hashes.get(user);
        let hash = known.unwrap_or(&self.decoy).clone();
        let key = self.key(&[user, password, &hash]);
        if known.is_some() && self.is_remembered(&key) {
            return Checked::Right;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Checked::Busy };
        let Ok(_turn) = self.running.acquire().await else { return Checked::Busy };
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        if known.is_some() && right.unwrap_or(false) {
            self.remember(key);
            return Checked::Right;
        }
        Checked::Wrong
    }

    /// Stands for the password a user has now: a token that carries it ends when the password changes.
    pub fn fingerprint(&self, user: &str) -> Option<String> {
        let hash = self.hashes.get(user)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, hash.as_bytes());
        Some(digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn key(&self, parts: &[&str]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.secret);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    fn is_remembered(&self, key: &[u8; 32]) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(key).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    fn remember(&self, key: [u8; 32]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, since| since.elapsed() < REMEMBERED);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(key, Instant::now());
        }
    }
}

/// The cost of a bcrypt hash; `None` for anything else.
fn cost(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|version| hash.strip_prefix(version))?;
    let (cost, salted) = rest.split_once('$')?;
    let base64 = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/';
    let whole = cost.len() == 2 && salted.len() == 53 && salted.chars().all(base64);
    cost.parse().ok().filter(|cost| whole && *cost >= 4)
}

/// Why a line for the file cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("{0:?} is no name a user may have")]
    Name(String),
    #[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes: bcrypt reads no more")]
    Password,
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// A line for the file.
pub fn line(user: &str, password: &str) -> Result<String, UserError> {
    if user.is_empty()
        || user == ANONYMOUS
        || user.starts_with('#')
        || user.contains(|c: char| c == ':' || c.is_control())
    {
        return Err(UserError::Name(user.to_owned()));
    }
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(UserError::Password);
    }
    let hash = bcrypt::hash(password, COST).map_err(|error| UserError::Hash(error.to_string()))?;
    Ok(format!("{user}:{hash}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `hold-fast`, cost 4.
    const LINE: &str = "ship:$2b$04$idbh17aSb8o.wkWzX17yf.7xzMhB2WtjY6hXkVl9//27ssZcFJ47y";

    fn error(text: &str) -> String {
        Users::parse(text).err().expect("an error").to_string()
    }

    #[tokio::test]
    async fn the_right_password_is_right_and_remembered() {
        let users = Users::parse(&format!("# crew\n\n{LINE}\n")).unwrap();
        assert_eq!(users.check("ship", "hold-fast").await, Checked::Right);
        assert_eq!(users.check("ship", "hold-fast").await, Checked::Right);
        assert_eq!(users.remembered.lock().unwrap().len(), 1);
        assert_eq!(users.check("ship", "hold-fastly").await, Checked::Wrong);
        assert_eq!(users.check("boat", "hold-fast").await, Checked::Wrong);
        assert_eq!(users.check("ship", &"x".repeat(100_000)).await, Checked::Wrong);
        assert_eq!(users.remembered.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_unknown_user_costs_a_hash_like_a_wrong_password() {
        let users = Users::parse(&line("ship", "hold-fast").unwrap()).unwrap();
        let mut took = Vec::new();
        for user in ["ship", "boat"] {
            let begun = Instant::now();
            assert_eq!(users.check(user, "wrong").await, Checked::Wrong);
            took.push(begun.elapsed());
        }
        assert!(took[1] > took[0] / 4, "{took:?}");
    }

    #[tokio::test]
    async fn no_more_than_a_bounded_number_waits() {
        let users = Users::parse(LINE).unwrap();
        let _all = users.waiting.acquire_many((HASHES_AT_ONCE + HASHES_WAITING_MAX) as u32).await.unwrap();
        assert_eq!(users.check("ship", "hold-fast").await, Checked::Busy);
    }

    #[test]
    fn other_hashes_and_broken_lines_are_refused_with_their_line() {
        assert!(error("a:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=").starts_with("line 1: not a bcrypt hash"));
        assert!(error(&format!("{LINE}\nplain")).starts_with("line 2: expected user:hash"));
        assert!(error("anonymous:$2b$04$x").contains("no name"));
        assert!(error("a:$2b$31$idbh17aSb8o.wkWzX17yf.7xzMhB2WtjY6hXkVl9//27ssZcFJ47y").contains("cost 4 to 16"));
    }

    #[test]
    fn a_line_we_make_is_one_we_read() {
        let users = Users::parse(&line("ship", "hold-fast").unwrap()).unwrap();
        assert!(users.fingerprint("ship").is_some() && users.fingerprint("boat").is_none());
        assert!(line("a:b", "x").is_err() && line("a", "").is_err() && line("a", &"x".repeat(73)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_brings_the_reader_down(text in "(\\PC{0,20}:\\PC{0,70}\n?){0,4}") {
            let _ = Users::parse(&text);
        }
    }
}
