//! What every place for uploads must do.

use std::collections::HashSet;
use std::time::Duration;

use knarr_spec::{Algorithm, Digest};

use super::{Session, Uploads};
use crate::blobs::Blobs;
use crate::error::{Code, Failure};

fn refusal<T>(outcome: Result<T, Failure>) -> Code {
    outcome.err().expect("refused").code()
}

fn read(blobs: &dyn Blobs, digest: &Digest) -> Option<Vec<u8>> {
    let content = blobs.open(digest).unwrap()?;
    let mut bytes = vec![0; content.size() as usize];
    content.read_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

fn finish(session: &mut dyn Session, digest: &Digest) {
    session.verify(digest).unwrap();
    session.store(digest).unwrap();
    session.store(digest).unwrap();
}

/// Checks an empty place; `opened` opens it as another process would.
pub fn check<U: Uploads>(opened: impl Fn() -> U, blobs: &dyn Blobs, part_bytes: usize) {
    let first = opened();

    // A whole blob.
    let mut session = first.whole("a", Algorithm::Sha512).unwrap();
    session.append(b"ab").unwrap();
    session.append(b"c").unwrap();
    assert_eq!(first.busy().unwrap(), HashSet::from(["a".to_owned()]));
    let digest: Digest = format!("sha512:{}", sha512(b"abc")).parse().unwrap();
    finish(&mut *session, &digest);
    let id = session.id().to_owned();
    drop(session);
    first.forget(&id);
    assert_eq!((read(blobs, &digest), first.busy().unwrap()), (Some(b"abc".to_vec()), HashSet::new()));
    assert_eq!(refusal(first.find("a", &id)), Code::BlobUploadUnknown);

    // What was acknowledged is found by another process; what was not may be there or not.
    let id = first.begin("a", Algorithm::Sha256).unwrap();
    let mut session = first.find("a", &id).unwrap();
    session.append(b"abc").unwrap();
    session.acknowledge().unwrap();
    // Who asks how far it is neither waits for who writes nor stands in the way.
    assert_eq!(first.offset("a", &id).unwrap(), 3);
    assert_eq!(refusal(first.offset("b", &id).map(drop)), Code::BlobUploadUnknown);
    drop(session);
    assert_eq!(refusal(first.find("b", &id)), Code::BlobUploadUnknown);
    let second = opened();
    assert_eq!(second.busy().unwrap(), HashSet::from(["a".to_owned()]));
    let mut session = second.find("a", &id).unwrap();
    assert_eq!((session.id(), session.offset()), (id.as_str(), 3));
    session.append(b"def").unwrap();
    session.acknowledge().unwrap();
    drop(session);
    let mut session = opened().find("a", &id).unwrap();
    assert_eq!(session.offset(), 6);
    session.append(b"g").unwrap();
    assert_eq!(refusal(session.verify(&Digest::sha256_of(b"another"))), Code::DigestInvalid);
    drop(session);

    // Nothing is lost by a refusal, and bytes acknowledged in several pieces are one blob.
    let mut session = opened().find("a", &id).unwrap();
    let rest: &[u8] = if session.offset() == 6 { b"g" } else { b"" };
    session.append(rest).unwrap();
    session.acknowledge().unwrap();
    finish(&mut *session, &Digest::sha256_of(b"abcdefg"));
    drop(session);
    second.forget(&id);
    assert_eq!(read(blobs, &Digest::sha256_of(b"abcdefg")), Some(b"abcdefg".to_vec()));

    // Other algorithms than the one it was begun with.
    let id = first.begin("a", Algorithm::Sha256).unwrap();
    let mut session = first.find("a", &id).unwrap();
    session.append(b"xyz").unwrap();
    session.acknowledge().unwrap();
    drop(session);
    let mut session = first.find("a", &id).unwrap();
    let digest: Digest = format!("sha512:{}", sha512(b"xyz")).parse().unwrap();
    finish(&mut *session, &digest);
    drop(session);
    first.forget(&id);
    assert_eq!(read(blobs, &digest), Some(b"xyz".to_vec()));

    // More than is held in memory, then a little, then nothing at all.
    let large: Vec<u8> = (0..part_bytes * 5 / 2).map(|number| (number / 7) as u8).collect();
    for (pieces, acknowledged) in
        [(vec![large.as_slice(), b"end"], true), (vec![&large], true), (vec![&large], false), (vec![], true)]
    {
        let id = first.begin("a", Algorithm::Sha256).unwrap();
        let mut session = first.find("a", &id).unwrap();
        for piece in &pieces {
            piece.chunks(700_000).for_each(|some| session.append(some).unwrap());
            if acknowledged {
                session.acknowledge().unwrap();
            }
        }
        if acknowledged {
            session.acknowledge().unwrap();
            drop(session);
            session = opened().find("a", &id).unwrap();
        }
        let whole = pieces.concat();
        finish(&mut *session, &Digest::sha256_of(&whole));
        drop(session);
        first.forget(&id);
        assert!(read(blobs, &Digest::sha256_of(&whole)) == Some(whole), "{} pieces", pieces.len());
    }

    // Two at once: one of them is told so, and what the other was told stays true.
    let id = first.begin("a", Algorithm::Sha256).unwrap();
    let mut winner = first.find("a", &id).unwrap();
    let outcome = opened_twice(&first, &id, &mut *winner);
    assert_eq!(outcome, Some(Code::BlobUploadInvalid));
    drop(winner);
    assert_eq!(first.find("a", &id).unwrap().offset(), 6);

    // Idle ones go.
    assert_eq!(first.expire(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(first.expire(Duration::ZERO).unwrap(), 1);
    assert_eq!((refusal(first.find("a", &id)), first.busy().unwrap()), (Code::BlobUploadUnknown, HashSet::new()));
    second.forget(&id);
}

/// Works on an upload somebody else works on, and is refused at the latest when it wants to be acknowledged.
fn opened_twice(uploads: &dyn Uploads, id: &str, winner: &mut dyn Session) -> Option<Code> {
    let loser = uploads.find("a", id);
    winner.append(b"winner").unwrap();
    winner.acknowledge().unwrap();
    let mut loser = match loser {
        Ok(loser) => loser,
        Err(failure) => return Some(failure.code()),
    };
    loser.append(b"loser").unwrap();
    loser.acknowledge().err().map(|failure| failure.code())
}

fn sha512(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
