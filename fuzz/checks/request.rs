//! What a registry is sent: the first byte says what the others are.

use knarr_registry::reading;
use knarr_spec::Digest;
use knarr_spec::reference::{is_repository, is_tag};

/// Panics where a law is broken.
pub fn check(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = std::str::from_utf8(rest);
    match kind {
        b'p' => {
            let Some((name, reference)) = text.ok().and_then(reading::path) else { return };
            assert!(is_repository(&name), "{name:?}");
            let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            let known = |text: &str| is_tag(text) || text.parse::<Digest>().is_ok() || is_word(text);
            assert!(reference.as_deref().is_none_or(known), "{reference:?}");
        }
        b'q' => {
            let _ = text.map(reading::query);
        }
        b'r' => {
            let Some((size, range)) = rest.split_first_chunk::<8>() else { return };
            let size = u64::from_le_bytes(*size);
            if let Some((start, length)) = reading::range(range, size) {
                assert!(length > 0 && start < size && length <= size - start, "{start} {length} {size}");
            }
        }
        b'a' => {
            let _ = reading::authorization(rest);
        }
        _ => {
            let Some((digest, descriptors)) = reading::manifest(rest) else { return };
            assert_eq!(digest, Digest::sha256_of(rest).to_string());
            assert!(descriptors <= rest.len() / 8, "{descriptors} in {} bytes", rest.len());
        }
    }
}
