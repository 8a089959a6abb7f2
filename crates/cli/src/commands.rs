//! The table of commands, and how the words of a command line lead to one of its lines.

mod alter;
mod artifact;
mod attach;
mod budget;
mod check;
mod cleanup;
mod commit;
mod completion;
mod container_prune;
mod cp;
mod create;
mod df;
mod diff;
mod exec;
mod export;
mod hello;
mod history;
mod image_copy;
mod image_delete;
mod image_files;
mod image_look;
mod image_prune;
mod image_sync;
mod image_tree;
pub(crate) mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod layout;
mod list_tags;
mod load;
mod login;
mod logout;
mod logs;
mod manifest;
mod manifest_digest;
pub(crate) mod ps;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod sign;
mod start;
mod stop;
mod system_prune;
mod tag;
mod version;
mod wait;

use std::ffi::OsString;

use crate::failure::Failure;
use crate::verb::Entry;

/// Every command, as the help groups them. One without a line of help is for our own processes.
pub(crate) const GROUPS: &[(&str, &[Entry])] = &[
    (
        "Containers",
        &[
            Entry::of::<run::Run>(),
            Entry::of::<exec::Exec>(),
            Entry::of::<ps::Ps>(),
            Entry::of::<logs::Logs>(),
            Entry::of::<attach::Attach>(),
            Entry::of::<create::Create>(),
            Entry::of::<start::Start>(),
            Entry::of::<stop::Stop>(),
            Entry::of::<restart::Restart>(),
            Entry::of::<kill::Kill>(),
            Entry::of::<wait::Wait>(),
            Entry::of::<rm::Rm>(),
            Entry::of::<rename::Rename>(),
            Entry::of::<cp::Cp>(),
            Entry::of::<diff::Diff>(),
            Entry::of::<export::Export>(),
            Entry::of::<commit::Commit>(),
            Entry::of::<inspect::Inspect>(),
            Entry::of::<inspect::ContainerInspect>(),
            Entry::of::<container_prune::ContainerPrune>(),
            Entry::of::<cleanup::Cleanup>(),
        ],
    ),
    (
        "Images",
        &[
            Entry::of::<pull::Pull>(),
            Entry::of::<push::Push>(),
            Entry::of::<images::Images>(),
            Entry::of::<load::Load>(),
            Entry::of::<save::Save>(),
            Entry::of::<import::Import>(),
            Entry::of::<tag::Tag>(),
            Entry::of::<rmi::Rmi>(),
            Entry::of::<inspect::ImageInspect>(),
            Entry::of::<history::History>(),
            Entry::of::<image_tree::ImageTree>(),
            Entry::of::<diff::ImageDiff>(),
            Entry::of::<image_tree::ImageMount>(),
            Entry::of::<image_files::ImageFiles>(),
            Entry::of::<image_files::ImageCat>(),
            Entry::of::<layout::ImageInit>(),
            Entry::of::<layout::ImageNew>(),
            Entry::of::<layout::ImageUnpack>(),
            Entry::of::<layout::ImageRepack>(),
            Entry::of::<layout::ImageConfig>(),
            Entry::of::<layout::ImageInsert>(),
            Entry::of::<alter::ImageAppend>(),
            Entry::of::<alter::ImageMutate>(),
            Entry::of::<alter::ImageFlatten>(),
            Entry::of::<alter::ImageRebase>(),
            Entry::of::<alter::ImageExport>(),
            Entry::of::<image_prune::ImagePrune>(),
        ],
    ),
    (
        "Lists and artifacts",
        &[
            Entry::of::<manifest::ManifestCreate>(),
            Entry::of::<manifest::ManifestAdd>(),
            Entry::of::<manifest::ManifestAnnotate>(),
            Entry::of::<manifest::ManifestRemove>(),
            Entry::of::<manifest::ManifestInspect>(),
            Entry::of::<manifest::ManifestExists>(),
            Entry::of::<manifest::ManifestPush>(),
            Entry::of::<manifest::ManifestRm>(),
            Entry::of::<artifact::ArtifactAdd>(),
            Entry::of::<artifact::ArtifactPull>(),
            Entry::of::<artifact::ArtifactPush>(),
            Entry::of::<artifact::ArtifactLs>(),
            Entry::of::<artifact::ArtifactInspect>(),
            Entry::of::<artifact::ArtifactExtract>(),
            Entry::of::<artifact::ArtifactRm>(),
        ],
    ),
    (
        "Registries",
        &[
            Entry::of::<login::Login>(),
            Entry::of::<logout::Logout>(),
            Entry::of::<search::Search>(),
            Entry::of::<image_copy::ImageCopy>(),
            Entry::of::<image_sync::ImageSync>(),
            Entry::of::<list_tags::ListTags>(),
            Entry::of::<image_delete::ImageDelete>(),
            Entry::of::<manifest_digest::ManifestDigest>(),
            Entry::of::<sign::GenerateSigstoreKey>(),
            Entry::of::<sign::StandaloneSign>(),
            Entry::of::<sign::StandaloneVerify>(),
        ],
    ),
    (
        "System",
        &[
            Entry::of::<df::Df>(),
            Entry::of::<system_prune::SystemPrune>(),
            Entry::of::<budget::SystemBudget>(),
            Entry::of::<check::Check>(),
            Entry::of::<info::Info>(),
            Entry::of::<version::Version>(),
            Entry::of::<completion::Completion>(),
            Entry::of::<hello::Hello>(),
        ],
    ),
];

/// skopeo's commands, by its names.
pub(crate) const SKOPEO: &[(&str, Entry)] = &[
    ("completion", Entry::of::<completion::SkopeoCompletion>()),
    ("copy", Entry::of::<image_copy::ImageCopy>()),
    ("delete", Entry::of::<image_delete::ImageDelete>()),
    ("generate-sigstore-key", Entry::of::<sign::GenerateSigstoreKey>()),
    ("inspect", Entry::of::<image_look::Inspect>()),
    ("list-tags", Entry::of::<list_tags::ListTags>()),
    ("login", Entry::of::<login::Login>()),
    ("logout", Entry::of::<logout::Logout>()),
    ("manifest-digest", Entry::of::<manifest_digest::ManifestDigest>()),
    ("standalone-sign", Entry::of::<sign::StandaloneSign>()),
    ("standalone-verify", Entry::of::<sign::StandaloneVerify>()),
    ("sync", Entry::of::<image_sync::ImageSync>()),
];

/// Words that only say what the next one is about.
pub(crate) const NOUNS: [&str; 5] = ["container", "image", "system", "manifest", "artifact"];

/// First words that the binary takes before this command line sees them, when nothing stands before them.
const FACES: [&str; 2] = ["registry", "runtime"];

/// The group of commands whose help `words` ask for: `image`, `image --help`.
pub(crate) fn group(words: &[OsString]) -> Option<&'static str> {
    let (noun, rest) = words.split_first()?;
    let noun = NOUNS.into_iter().find(|known| noun == known)?;
    match rest {
        [] => Some(noun),
        [word, ..] if word == "--help" || word == "-h" => Some(noun),
        _ => None,
    }
}

/// The verbs after `noun` and what each does; those with a line of help only.
pub(crate) fn verbs(noun: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let named = move |entry: &'static Entry| {
        let verb = entry.names.iter().find_map(|name| name.strip_prefix(noun)?.strip_prefix(' '))?;
        (!entry.about.is_empty()).then_some((verb, entry.about))
    };
    entries().filter_map(named)
}

/// The command that `words` begin with, and what follows its name.
pub(crate) fn find(words: &[OsString]) -> Result<(&'static Entry, &[OsString]), Failure> {
    let text = |index: usize| words.get(index).and_then(|word| word.to_str()).unwrap_or_default();
    let (name, used) = match NOUNS.contains(&text(0)) {
        true => (format!("{} {}", text(0), text(1)), 2.min(words.len())),
        false => (text(0).to_owned(), 1),
    };
    let entry = entries().find(|entry| entry.names.contains(&name.as_str()));
    entry.map(|entry| (entry, &words[used..])).ok_or_else(|| unknown(name.trim()))
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    GROUPS.iter().flat_map(|(_, entries)| entries.iter())
}

fn unknown(name: &str) -> Failure {
    let failure = Failure::usage(format!("unknown command: knarr {name}"));
    if FACES.contains(&name) {
        return failure.hint(format!("its options stand behind it; see `knarr {name} --help`"));
    }
    let near = entries().flat_map(|entry| entry.names.iter()).min_by_key(|known| distance(known, name));
    match near.filter(|near| distance(near, name) <= 2) {
        Some(near) => failure.hint(format!("did you mean `knarr {near}`?")),
        None => match name.split_once(' ') {
            Some((noun, _)) => failure.hint(format!("see `knarr {noun} --help`")),
            None => failure.hint("see `knarr --help`"),
        },
    }
}

/// How many letters must be changed, added or left out to get from one word to the other.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expect: Option<(&str, usize)>) {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let got = find(&words).ok().map(|(entry, rest)| (entry.name(), rest.len()));
        assert_eq!(got, expect, "{words:?}");
    }

    #[test]
    fn commands_are_found_by_each_of_their_names() {
        check(&["ps", "-a"], Some(("ps", 1)));
        check(&["container", "ls", "-a"], Some(("ps", 1)));
        check(&["image", "rm", "x"], Some(("rmi", 1)));
        check(&["system", "df"], Some(("system df", 0)));
    }

    #[test]
    fn unknown_words_are_no_command() {
        check(&["pss"], None);
        check(&["container"], None);
        check(&["container", "fly"], None);
        check(&[""], None);
    }

    fn check_group(words: &[&str], expect: Option<&str>) {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(group(&words), expect, "{words:?}");
    }

    #[test]
    fn a_noun_alone_or_with_help_asks_for_its_verbs() {
        check_group(&["image"], Some("image"));
        check_group(&["image", "--help"], Some("image"));
        check_group(&["artifact", "-h", "ls"], Some("artifact"));
        check_group(&["image", "ls", "--help"], None);
        check_group(&["ps", "--help"], None);
        assert!(NOUNS.iter().all(|noun| verbs(noun).count() > 2));
        assert!(verbs("artifact").any(|(verb, about)| verb == "push" && !about.is_empty()));
    }

    #[test]
    fn every_command_has_a_valid_parser_and_help() {
        for entry in entries() {
            entry.parser().debug_assert();
            assert!(entry.names.iter().all(|name| !name.is_empty()));
            assert!(entry.about.is_empty() || entry.example.starts_with("knarr "), "{}", entry.name());
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = entries().flat_map(|entry| entry.names.iter().copied()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
