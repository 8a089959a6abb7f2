//! OpenPGP signatures, checked by gpgv.
//!
//! Spec: GnuPG's doc/DETAILS, "Format of the --status-fd output"; RFC 9580 6.2 for the armour of keys.
//! Law: gpgv sees the keys of the policy and no others, in a directory of its own. A signature is good when it is the only one,
//! gpgv says so, and neither it nor its key has expired or was revoked.
//!
//! Not a library: the smallest that is kept (rpgp) weighs 1.5 MB here, a tenth of the binary, for a requirement few policies
//! have; where they have it, gpgv is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Problem;

/// Where gpgv is. Not the caller's search path: who decides about signatures is not looked for.
const PLACES: [&str; 3] = ["/usr/bin/gpgv", "/bin/gpgv", "/usr/local/bin/gpgv"];

const ARMOUR_BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const ARMOUR_END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Words of gpgv that spoil a signature, whatever else it says.
const SPOILS: [&str; 6] = ["BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NO_PUBKEY"];

/// A signature that counts.
pub(crate) struct Opened {
    /// What was signed.
    pub(crate) payload: Vec<u8>,
    /// Of the key that made it; and of the key that one belongs to, where it is another.
    pub(crate) fingerprints: Vec<String>,
}

/// Public keys, as gpgv reads them.
pub(crate) struct Keyring {
    gpgv: PathBuf,
    dir: tempfile::TempDir,
}

impl Keyring {
    /// Of keys, armoured or not.
    pub(crate) fn of(keys: &[Vec<u8>]) -> Result<Keyring, Problem> {
        let gpgv = PLACES.iter().map(Path::new).find(|path| path.is_file()).ok_or_else(|| {
            let what = "an OpenPGP signature is wanted, and gpgv, which checks them, is not installed";
            Problem::Rejected(format!("{what}; install the package gpgv or gnupg"))
        })?;
        let mut ring = Vec::new();
        for key in keys {
            let unreadable = || Problem::Rejected("a key is neither an OpenPGP key nor an armoured one".into());
            ring.extend(binary(key).ok_or_else(unreadable)?);
        }
        let dir =
            tempfile::tempdir().map_err(|source| Problem::File { path: "a temporary directory".into(), source })?;
        let keyring = Keyring { gpgv: gpgv.to_owned(), dir };
        keyring.write("keys", &ring)?;
        Ok(keyring)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Problem> {
        let path = self.dir.path().join(name);
        fs::write(&path, content).map_err(|source| Problem::File { path: path.clone(), source })?;
        Ok(path)
    }

    /// What was signed, if a key of ours made the signature; else why it does not count.
    pub(crate) fn open(&self, signature: &[u8]) -> Result<Result<Opened, String>, Problem> {
        let signed = self.write("signed", signature)?;
        let mut command = Command::new(&self.gpgv);
        command.arg("--homedir").arg(self.dir.path()).arg("--keyring").arg(self.dir.path().join("keys"));
        command.args(["--status-fd", "2", "--output", "-"]).arg(signed);
        command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        let output = command.output().map_err(|source| Problem::File { path: self.gpgv.clone(), source })?;
        let said = String::from_utf8_lossy(&output.stderr);
        Ok(match refusal(&said) {
            None if output.status.success() => Ok(Opened { payload: output.stdout, fingerprints: fingerprints(&said) }),
            None => Err("gpgv failed".to_owned()),
            Some(why) => Err(why),
        })
    }
}

/// The key that gpgv says made a signature, and the one it belongs to.
fn fingerprints(said: &str) -> Vec<String> {
    let valid = said.lines().find_map(|line| line.strip_prefix("[GNUPG:] VALIDSIG "));
    let words: Vec<&str> = valid.unwrap_or_default().split_whitespace().collect();
    let primary = words.last().filter(|word| words.len() > 1 && word.len() == words[0].len() && *word != &words[0]);
    words.first().into_iter().chain(primary).map(|word| (*word).to_owned()).collect()
}

/// Why a signature of which gpgv says this does not count.
fn refusal(said: &str) -> Option<String> {
    let words = said.lines().filter_map(|line| line.strip_prefix("[GNUPG:] "));
    let words: Vec<&str> = words.collect();
    let named = |name: &str| words.iter().find(|line| line.split(' ').next() == Some(name));
    let key = |line: &&str| line.split(' ').nth(1).unwrap_or("unknown").to_owned();
    if let Some(line) = named("NO_PUBKEY") {
        return Some(format!("made by the key {}, which the policy does not name", key(line)));
    }
    if let Some(spoiled) = SPOILS.iter().find_map(|name| named(name)) {
        return Some(format!("gpgv says {spoiled:?}"));
    }
    match words.iter().filter(|line| line.starts_with("VALIDSIG ")).count() {
        1 if named("GOODSIG").is_some() => None,
        1 => Some("gpgv does not call it good".to_owned()),
        0 => Some("no signature is in it".to_owned()),
        more => Some(format!("{more} signatures are in it, expected one")),
    }
}

/// A key without its armour; `None` where it is no key.
fn binary(key: &[u8]) -> Option<Vec<u8>> {
    // The first byte of every packet has its top bit set; text has it never.
    if key.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Some(key.to_vec());
    }
    let text = std::str::from_utf8(key).ok()?;
    let mut ring = Vec::new();
    for block in text.split(ARMOUR_BEGIN).skip(1) {
        let (block, _) = block.split_once(ARMOUR_END)?;
        let lines = block.lines().map(str::trim).skip(1);
        // Headers end with an empty line; a checksum begins with `=`.
        let body = lines.skip_while(|line| line.contains(": ")).skip_while(|line| line.is_empty());
        let body: String = body.take_while(|line| !line.starts_with('=')).collect();
        ring.extend(STANDARD.decode(body).ok()?);
    }
    (!ring.is_empty()).then_some(ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, expect: Option<&str>) {
        let said: String = said.lines().map(|line| format!("[GNUPG:] {line}\ngpgv: words for people\n")).collect();
        let found = refusal(&said);
        match expect {
            None => assert_eq!(found, None, "{said}"),
            Some(expect) => assert!(found.as_ref().is_some_and(|found| found.contains(expect)), "{said}: {found:?}"),
        }
    }

    #[test]
    fn only_one_good_signature_of_a_living_key_counts() {
        check("NEWSIG\nGOODSIG 0123 Ship\nVALIDSIG ABCD 2026-01-01 1 0", None);
        check("NEWSIG\nERRSIG 0123 1 8 00 1 9\nNO_PUBKEY 0123", Some("made by the key 0123"));
        check("NEWSIG\nBADSIG 0123 Ship", Some("BADSIG"));
        check("NEWSIG\nEXPKEYSIG 0123 Ship\nVALIDSIG ABCD 2026-01-01 1 0", Some("EXPKEYSIG"));
        check("NEWSIG\nREVKEYSIG 0123 Ship\nVALIDSIG ABCD 2026-01-01 1 0", Some("REVKEYSIG"));
        let two = "GOODSIG 0123 Ship\nVALIDSIG ABCD 2026-01-01 1 0\nGOODSIG 4567 Boat\nVALIDSIG EF01 2026-01-01 1 0";
        check(two, Some("2 signatures"));
        check("NODATA 1", Some("no signature"));
        check("", Some("no signature"));
    }

    #[test]
    fn the_key_that_signed_and_the_one_above_it_are_told() {
        let (sub, main) = ("A".repeat(40), "B".repeat(40));
        let said = |first: &str| format!("[GNUPG:] VALIDSIG {first} 2026-01-01 1700000000 0 4 0 1 8 00 {main}\n");
        assert_eq!(fingerprints(&said(&sub)), [sub, main.clone()]);
        assert_eq!(fingerprints(&said(&main)), std::slice::from_ref(&main));
        assert!(fingerprints("").is_empty());
    }

    fn check_binary(key: &[u8], expect: Option<&[u8]>) {
        assert_eq!(binary(key).as_deref(), expect);
    }

    #[test]
    fn keys_come_with_and_without_armour() {
        check_binary(&[0x98, 1, 2], Some(&[0x98, 1, 2]));
        let armoured = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: a ship's\n\nmAEC\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        check_binary(armoured.as_bytes(), Some(&[0x98, 1, 2]));
        check_binary(format!("{armoured}text\n{armoured}").as_bytes(), Some(&[0x98, 1, 2, 0x98, 1, 2]));
        let bare = "-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\nmAEC\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n";
        check_binary(bare.as_bytes(), Some(&[0x98, 1, 2]));
        check_binary(b"ssh-rsa AAAA", None);
        check_binary(b"", None);
    }
}
