//! Blobs and their making.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use knarr_spec::Digest;
use knarr_store::{Error, IngestState};

use crate::support::{fresh, partial, put};

const CONTENT: &[u8] = b"what was pulled";

#[test]
fn a_blob_comes_back_byte_for_byte_and_read_only() {
    let fresh = fresh();
    let digest = put(&fresh.store, CONTENT);
    let mut file = fresh.again().blob_file(&digest).unwrap().unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(content, CONTENT);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o444);
}

#[test]
fn an_unknown_blob_is_none_not_an_error() {
    let fresh = fresh();
    assert!(fresh.store.blob_file(&Digest::sha256_of(b"never stored")).unwrap().is_none());
    assert!(fresh.store.blob_bytes(&Digest::sha256_of(b"never stored"), 10).unwrap().is_none());
}

#[test]
fn a_document_larger_than_allowed_is_not_read() {
    let fresh = fresh();
    let digest = put(&fresh.store, CONTENT);
    assert!(matches!(fresh.store.blob_bytes(&digest, 3), Err(Error::TooBig { bytes: 15, max: 3, .. })));
    assert_eq!(fresh.store.blob_bytes(&digest, 15).unwrap().unwrap(), CONTENT);
}

#[test]
fn a_document_whose_bytes_changed_on_disk_is_an_error_that_names_it() {
    let fresh = fresh();
    let digest = put(&fresh.store, CONTENT);
    let path = fresh.store.blob_path(&digest);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&path, b"what was PULLED").unwrap();
    let error = fresh.store.blob_bytes(&digest, 100).unwrap_err();
    assert!(error.to_string().contains(digest.as_str()), "{error}");
}

#[test]
fn a_dropped_ingest_goes_on_where_it_was() {
    let fresh = fresh();
    let digest = Digest::sha256_of(CONTENT);
    let mut ingest = partial(&fresh.store, &digest, Some(CONTENT.len() as u64));
    ingest.write_all(&CONTENT[..5]).unwrap();
    drop(ingest);
    let mut ingest = partial(&fresh.again(), &digest, Some(CONTENT.len() as u64));
    assert_eq!(ingest.offset(), 5);
    ingest.write_all(&CONTENT[5..]).unwrap();
    assert_eq!(ingest.commit().unwrap().bytes, 15);
    assert!(fresh.store.blob_file(&digest).unwrap().is_some());
}

#[test]
fn bytes_written_after_the_last_saved_hash_are_hashed_again() {
    let fresh = fresh();
    let digest = Digest::sha256_of(CONTENT);
    let mut ingest = partial(&fresh.store, &digest, None);
    ingest.write_all(&CONTENT[..5]).unwrap();
    drop(ingest);
    // As a killed writer leaves it: more bytes than the saved hash knows.
    let path = fresh.store.state().join("ingest/sha256").join(digest.encoded());
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&CONTENT[5..9]).unwrap();
    let mut ingest = partial(&fresh.store, &digest, None);
    assert_eq!(ingest.offset(), 9);
    ingest.write_all(&CONTENT[9..]).unwrap();
    ingest.commit().unwrap();
}

#[test]
fn a_saved_hash_of_another_boot_is_not_believed() {
    let fresh = fresh();
    let digest = Digest::sha256_of(CONTENT);
    let mut ingest = partial(&fresh.store, &digest, None);
    ingest.write_all(&CONTENT[..5]).unwrap();
    drop(ingest);
    let partial_path = fresh.store.state().join("ingest/sha256").join(digest.encoded());
    // The power cut changed what the hash was made from.
    std::fs::write(&partial_path, b"WHAT ").unwrap();
    let state = partial_path.with_extension("state");
    let text = std::fs::read_to_string(&state).unwrap();
    let mut words: Vec<&str> = text.split(' ').collect();
    words[1] = "another-boot";
    std::fs::write(&state, words.join(" ")).unwrap();
    let mut ingest = partial(&fresh.store, &digest, None);
    ingest.write_all(&CONTENT[5..]).unwrap();
    assert!(matches!(ingest.commit(), Err(Error::WrongDigest { .. })));
    assert_eq!(partial(&fresh.store, &digest, None).offset(), 0, "bytes that proved wrong are dropped");
}

#[test]
fn wrong_content_is_refused_and_dropped() {
    let fresh = fresh();
    let digest = Digest::sha256_of(CONTENT);
    let mut ingest = partial(&fresh.store, &digest, None);
    ingest.write_all(b"a lie").unwrap();
    let error = ingest.commit().unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    assert!(error.hint().is_some());
    assert!(fresh.store.blob_file(&digest).unwrap().is_none());
    assert_eq!(partial(&fresh.store, &digest, None).offset(), 0);
}

#[test]
fn more_bytes_than_announced_are_refused_when_they_come() {
    let fresh = fresh();
    let mut ingest = partial(&fresh.store, &Digest::sha256_of(CONTENT), Some(3));
    assert!(ingest.write_all(CONTENT).is_err());
}

#[test]
fn fewer_bytes_than_announced_are_kept_for_the_next_try() {
    let fresh = fresh();
    let digest = Digest::sha256_of(CONTENT);
    let mut ingest = partial(&fresh.store, &digest, Some(15));
    ingest.write_all(&CONTENT[..7]).unwrap();
    assert!(matches!(ingest.commit(), Err(Error::WrongSize { expected: 15, actual: 7, .. })));
    assert_eq!(partial(&fresh.store, &digest, Some(15)).offset(), 7);
}

#[test]
fn a_second_writer_is_told_to_wait_and_then_finds_the_blob() {
    let fresh = fresh();
    let digest = Digest::sha256_of(CONTENT);
    let mut ingest = partial(&fresh.store, &digest, None);
    let other = fresh.again();
    let IngestState::Busy(busy) = other.ingest(&digest, None).unwrap() else { panic!("two writers at once") };
    let waiter = std::thread::spawn(move || busy.wait().unwrap());
    ingest.write_all(CONTENT).unwrap();
    ingest.commit().unwrap();
    waiter.join().unwrap();
    assert!(matches!(other.ingest(&digest, None).unwrap(), IngestState::Present(_)));
}

#[test]
fn a_second_writer_takes_over_when_the_first_gives_up() {
    let fresh = fresh();
    let digest = Digest::sha256_of(CONTENT);
    let mut first = partial(&fresh.store, &digest, None);
    first.write_all(&CONTENT[..4]).unwrap();
    let IngestState::Busy(busy) = fresh.again().ingest(&digest, None).unwrap() else { panic!("two writers at once") };
    drop(first);
    busy.wait().unwrap();
    assert_eq!(partial(&fresh.again(), &digest, None).offset(), 4);
}

#[test]
fn a_finished_file_whose_row_was_never_written_is_adopted() {
    let fresh = fresh();
    let digest = Digest::sha256_of(CONTENT);
    let path = fresh.store.blob_path(&digest);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, CONTENT).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    let ingest = partial(&fresh.store, &digest, Some(15));
    assert_eq!(ingest.offset(), 15);
    ingest.commit().unwrap();
    assert_eq!(fresh.store.blob_bytes(&digest, 100).unwrap().unwrap(), CONTENT);
}

#[test]
fn a_row_that_lost_its_file_is_fetched_again() {
    let fresh = fresh();
    let digest = put(&fresh.store, CONTENT);
    std::fs::remove_file(fresh.store.blob_path(&digest)).unwrap();
    assert!(fresh.store.blob_file(&digest).unwrap().is_none());
    assert_eq!(put(&fresh.store, CONTENT), digest);
    assert!(fresh.store.blob_file(&digest).unwrap().is_some());
}

#[test]
fn a_blob_of_an_algorithm_nobody_here_computes_is_refused() {
    let fresh = fresh();
    let digest: Digest = "foo:00".parse().unwrap();
    assert!(matches!(fresh.store.ingest(&digest, None), Err(Error::UnknownAlgorithm(_))));
}

#[test]
fn sha512_blobs_are_verified_too() {
    use sha2::Digest as _;
    let fresh = fresh();
    let digest = Digest::from_hash(&knarr_spec::Algorithm::Sha512, &sha2::Sha512::digest(CONTENT));
    let mut ingest = partial(&fresh.store, &digest, None);
    ingest.write_all(CONTENT).unwrap();
    ingest.commit().unwrap();
    assert_eq!(fresh.store.blob_bytes(&digest, 100).unwrap().unwrap(), CONTENT);
}
