//! The policy, case by case: `tests/golden/spec/<case>/wish.json` to `spec.json`, the text of `--dry-run=spec`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p knarr-engine --test golden` rewrites the expected files. The default seccomp profile is the seccomp
//! crate's to pin; here stands how many rules it has.

use std::fs;
use std::path::{Path, PathBuf};

use knarr_engine::container::dry_run::spec_text;
use knarr_engine::policy::{self, Basis, HostDevice, HostFacts, ResolvedMount};
use knarr_engine::userdb::UserFiles;
use knarr_engine::wanted::Wanted;
use knarr_spec::image::ContainerConfig;
use serde::Deserialize;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\n";
const GROUP: &[u8] = b"root:x:0:\nwww:x:34:\nlogs:x:40:web\n";

/// One case: all that goes into a document, everything else at its default.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Case {
    wanted: Wanted,
    image: ContainerConfig,
    host: HostFacts,
    mounts: Vec<ResolvedMount>,
    devices: Vec<HostDevice>,
}

fn render(case: &Case) -> String {
    let user = case.wanted.user.as_ref().unwrap_or(&case.image.user);
    let files = UserFiles { passwd: PASSWD, group: GROUP };
    let user = match files.resolve(user, &case.wanted.group_add) {
        Ok(user) => user,
        Err(error) => return format!("error: {error}\n"),
    };
    let basis = Basis {
        id: ID,
        dir: PathBuf::from("/state/containers").join(ID),
        wanted: &case.wanted,
        image: &case.image,
        host: &case.host,
        user: &user,
        mounts: &case.mounts,
        devices: &case.devices,
        init_binary: case.wanted.init.then(|| "/usr/bin/knarr".into()),
    };
    match policy::spec(&basis) {
        Ok(spec) => without_rules(&spec_text(&spec)),
        Err(error) => format!("error: {error}\n"),
    }
}

/// The same document with the rules of seccomp counted instead of listed.
fn without_rules(text: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    if let Some(rules) = value.pointer_mut("/linux/seccomp/syscalls") {
        *rules = rules.as_array().map_or(0, Vec::len).into();
    }
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

fn check(dir: &Path) -> Result<(), String> {
    let wish = fs::read_to_string(dir.join("wish.json")).map_err(|error| format!("{}: {error}", dir.display()))?;
    let case: Case = serde_json::from_str(&wish).map_err(|error| format!("{}: {error}", dir.display()))?;
    let (file, got) = (dir.join("spec.json"), render(&case));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(&file, got).map_err(|error| error.to_string());
    }
    let expect = fs::read_to_string(&file).unwrap_or_default();
    if got == expect {
        return Ok(());
    }
    let differ = got.lines().zip(expect.lines()).position(|(got, expect)| got != expect);
    let line = differ.unwrap_or(got.lines().count().min(expect.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("<end>").to_owned();
    Err(format!("{}:{}:\n  expected {}\n  got      {}", file.display(), line + 1, at(&expect), at(&got)))
}

#[test]
fn every_wish_becomes_the_document_beside_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spec");
    let mut cases: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let wrong: Vec<String> = cases.iter().filter_map(|dir| check(dir).err()).collect();
    assert!(cases.len() >= 15, "only {} cases in {}", cases.len(), root.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
