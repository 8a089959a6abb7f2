//! What every place for blobs must do.

use std::path::Path;

use knarr_spec::Digest;

use super::Blobs;

/// Checks an empty place; `scratch` is a directory files can be made in, `reads_on` says whether who reads goes on reading what
/// was removed.
pub fn check(blobs: &dyn Blobs, scratch: &Path, reads_on: bool) {
    let put = |bytes: &[u8]| {
        let from = scratch.join("from");
        std::fs::write(&from, bytes).unwrap();
        let digest = Digest::sha256_of(bytes);
        blobs.put(&digest, &from).unwrap();
        // The source stays, and is the caller's to remove; he must not write to it any more.
        std::fs::remove_file(&from).unwrap();
        digest
    };
    let read = |digest: &Digest| {
        let content = blobs.open(digest).unwrap()?;
        let mut bytes = vec![0; content.size() as usize];
        content.read_at(&mut bytes, 0).unwrap();
        Some(bytes)
    };
    let list = || {
        let mut seen = Vec::new();
        blobs
            .list(&mut |stored| {
                seen.push((stored.digest, stored.size));
                Ok(())
            })
            .unwrap();
        seen.sort();
        seen
    };

    let missing = Digest::sha256_of(b"missing");
    assert!(blobs.open(&missing).unwrap().is_none() && !blobs.contains(&missing).unwrap());
    blobs.remove(&missing).unwrap();
    assert_eq!(list(), []);

    let (empty, abc) = (put(b""), put(b"abc"));
    assert_eq!((read(&empty), read(&abc)), (Some(Vec::new()), Some(b"abc".to_vec())));
    let mut middle = [0];
    blobs.open(&abc).unwrap().unwrap().read_at(&mut middle, 1).unwrap();
    assert_eq!(&middle, b"b");
    let mut beyond = [0; 2];
    assert!(blobs.open(&abc).unwrap().unwrap().read_at(&mut beyond, 2).is_err(), "bytes behind the end");
    put(b"abc");
    let mut expect = vec![(empty.clone(), 0), (abc.clone(), 3)];
    expect.sort();
    assert_eq!(list(), expect);

    let open = blobs.open(&abc).unwrap().unwrap();
    blobs.remove(&abc).unwrap();
    let mut bytes = [0; 3];
    let read_on = open.read_at(&mut bytes, 0).is_ok();
    assert_eq!((read_on, read_on && &bytes == b"abc", blobs.contains(&abc).unwrap()), (reads_on, reads_on, false));

    let document = Digest::sha256_of(b"{}");
    blobs.put_manifest(&document, b"{}").unwrap();
    blobs.put_manifest(&document, b"{}").unwrap();
    assert_eq!(read(&document), Some(b"{}".to_vec()));
    blobs.set_aside(&document).unwrap();
    assert_eq!((read(&document), list()), (None, vec![(empty, 0)]));

    let records = || {
        let mut seen = Vec::new();
        blobs
            .records(&mut |text| {
                seen.push(String::from_utf8(text.to_vec()).unwrap());
                Ok(())
            })
            .unwrap();
        seen.sort();
        seen
    };
    for (repository, text) in [("a", "1"), ("a/b", "2"), ("a", "3")] {
        blobs.put_record(repository, &abc, text.as_bytes()).unwrap();
    }
    assert_eq!(records(), ["2", "3"]);
    blobs.remove_record("a", &abc).unwrap();
    blobs.remove_record("a", &abc).unwrap();
    assert_eq!(records(), ["2"]);
    blobs.put_record("a", &abc, b"4").unwrap();
    assert_eq!(records(), ["2", "4"]);
}
