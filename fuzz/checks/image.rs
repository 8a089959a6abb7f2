//! What a registry says in words: documents, names, and who it wants to see.

use std::str::FromStr;

use knarr_spec::{Digest, ImageConfig, Index, Manifest, Platform, Raw, Reference};

#[path = "../../crates/distribution/src/auth/challenge.rs"]
mod challenge;

/// Panics where a law is broken: the first byte says what the others are.
pub fn check(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match (kind % 6, std::str::from_utf8(rest)) {
        (0, _) => keeps_its_bytes::<Manifest>(rest),
        (1, _) => keeps_its_bytes::<Index>(rest),
        (2, _) => keeps_its_bytes::<ImageConfig>(rest),
        (3, Ok(text)) => {
            means_the_same_again::<Reference>(text);
            means_the_same_again::<Digest>(text);
        }
        (4, Ok(text)) => means_the_same_again::<Platform>(text),
        (5, Ok(text)) => {
            for challenge in challenge::parse(text) {
                assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
                let realm = challenge.param("realm");
                assert!(realm.is_none_or(|realm| realm.len() <= text.len()));
            }
        }
        _ => {}
    }
}

/// A document that is read stays as it came, and what we would write of it is read again.
fn keeps_its_bytes<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(document) = Raw::<T>::parse(bytes.to_vec()) else { return };
    assert_eq!(document.bytes(), bytes);
    let written = serde_json::to_vec(document.document()).expect("what was read is written");
    let again: T = serde_json::from_slice(&written).expect("what is written is read");
    assert_eq!(&again, document.document());
}

/// A text that means something is shown as one that means the same.
fn means_the_same_again<T: FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(meant) = text.parse::<T>() else { return };
    let shown = meant.to_string();
    let again = shown.parse::<T>().unwrap_or_else(|_| panic!("{text:?} is shown as {shown:?}, which is nothing"));
    assert_eq!(again, meant);
}
