//! Ids nobody can guess, and names people can remember.

use crate::{Error, Result};

const FIRST: [&str; 48] = [
    "able", "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cool", "daring", "deep", "eager",
    "early", "fair", "fast", "firm", "fond", "frank", "free", "fresh", "gentle", "glad", "golden", "good", "grand",
    "happy", "hardy", "keen", "kind", "lively", "loyal", "lucky", "merry", "neat", "noble", "proud", "quick", "quiet",
    "ready", "sharp", "silent", "steady", "strong", "sunny", "swift", "warm", "wise",
];
/// People, places and parts of ships of the Norse seas.
const SECOND: [&str; 48] = [
    "aegir",
    "anchor",
    "asgerd",
    "astrid",
    "aud",
    "beacon",
    "bjarni",
    "bow",
    "bragi",
    "cove",
    "egil",
    "eirik",
    "fjord",
    "freydis",
    "frigg",
    "gale",
    "gudrid",
    "gull",
    "gunnar",
    "halyard",
    "harald",
    "harbor",
    "helga",
    "hull",
    "ingrid",
    "islet",
    "karlsefni",
    "keel",
    "leif",
    "mast",
    "mimir",
    "njord",
    "oar",
    "olaf",
    "osprey",
    "prow",
    "ran",
    "reef",
    "rigging",
    "rudder",
    "sail",
    "sigrid",
    "skald",
    "sound",
    "stern",
    "thora",
    "tide",
    "vinland",
];

/// 64 hex digits.
pub(super) fn new_id() -> Result<String> {
    let bytes = knarr_sys::random::bytes::<32>().map_err(Error::sys("invent an id"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A name for the container `id`; with `attempt` above 0 another one, as the first were taken.
pub(super) fn invent(id: &str, attempt: u32) -> String {
    let digits =
        |start: usize| id.get(start..start + 4).and_then(|hex| usize::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let shift = attempt as usize * 7;
    let name = format!("{}_{}", FIRST[(digits(0) + shift) % FIRST.len()], SECOND[(digits(4) + shift) % SECOND.len()]);
    if attempt < 2 { name } else { format!("{name}{}", digits(8) % 1000 + attempt as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wanted::check_container_name;

    #[test]
    fn ids_are_long_and_differ() {
        let (a, b) = (new_id().unwrap(), new_id().unwrap());
        assert!(a.len() == 64 && a != b);
    }

    #[test]
    fn invented_names_are_valid_and_differ_by_attempt() {
        let id = "0123456789abcdef".repeat(4);
        let names: std::collections::BTreeSet<String> = (0..6).map(|attempt| invent(&id, attempt)).collect();
        assert_eq!(names.len(), 6);
        assert!(names.iter().all(|name| check_container_name(name).is_ok()));
    }
}
