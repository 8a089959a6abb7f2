//! registries.d: where the signatures of images lie beside registries.
//!
//! Spec: containers-registries.d(5). `sigstore` is the old word for `lookaside`.
//! Law: pure but for [`read`]. Two files that speak of one scope contradict each other, and that is an error.

use std::path::Path;

use knarr_distribution::Lookaside;

use crate::yaml::{entries, scalar, tree};

/// What all `*.yaml` of `dir` say together; nothing where there is no such directory.
pub(crate) fn read(dir: &Path) -> Result<Lookaside, String> {
    let mut all = Lookaside::default();
    let mut files: Vec<_> = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    for path in files.iter().map(std::fs::DirEntry::path) {
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let said = |what: String| format!("{}: {what}", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| said(error.to_string()))?;
        merge(&mut all, &text).map_err(said)?;
    }
    Ok(all)
}

fn merge(all: &mut Lookaside, text: &str) -> Result<(), String> {
    let Some(document) = tree(text)? else { return Ok(()) };
    for (key, value) in entries(&document, "the file")? {
        match key.as_str() {
            "default-docker" => {
                let urls = urls(value)?;
                if (urls.read.is_some() && all.default.is_some())
                    || (urls.write.is_some() && all.staging_default.is_some())
                {
                    return Err("default-docker is in two files".to_owned());
                }
                (all.default, all.staging_default) =
                    (urls.read.or(all.default.take()), urls.write.or(all.staging_default.take()));
            }
            "docker" => {
                for (scope, value) in entries(value, "docker")? {
                    let urls = urls(value)?;
                    let read = urls.read.and_then(|url| all.scopes.insert(scope.clone(), url));
                    let write = urls.write.and_then(|url| all.staging.insert(scope.clone(), url));
                    if read.or(write).is_some() {
                        return Err(format!("{scope} is in two files"));
                    }
                }
            }
            other => return Err(format!("unknown key {other:?}")),
        }
    }
    Ok(())
}

/// Where signatures are read, and where they are written if that is another place.
#[derive(Default)]
struct Urls {
    read: Option<String>,
    write: Option<String>,
}

fn urls(value: &crate::yaml::Node) -> Result<Urls, String> {
    let mut found = Urls::default();
    for (key, value) in entries(value, "a scope")? {
        match key.as_str() {
            "lookaside" => found.read = Some(scalar(value, key)?),
            "sigstore" => found.read = found.read.or(Some(scalar(value, key)?)),
            "lookaside-staging" => found.write = Some(scalar(value, key)?),
            "sigstore-staging" => found.write = found.write.or(Some(scalar(value, key)?)),
            "use-sigstore-attachments" => {}
            other => return Err(format!("unknown key {other:?}")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(files: &[&str]) -> Result<Lookaside, String> {
        let mut found = Lookaside::default();
        files.iter().try_for_each(|text| merge(&mut found, text)).map(|()| found)
    }

    fn refuses(files: &[&str], expect: &str) {
        let error = merged(files).unwrap_err();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn scopes_and_the_default_come_from_all_files() {
        let one = "default-docker:\n  lookaside: file:///all\n  lookaside-staging: file:///staging\n";
        let two = "docker:\n  r.example/team:\n    sigstore: http://sigs.example\n  quiet.example:\n    use-sigstore-attachments: true\n";
        let found = merged(&[one, two]).unwrap();
        assert_eq!(found.default.as_deref(), Some("file:///all"));
        assert_eq!((found.staging_default.as_deref(), found.staging.len()), (Some("file:///staging"), 0));
        assert_eq!(
            found.scopes.into_iter().collect::<Vec<_>>(),
            [("r.example/team".into(), "http://sigs.example".into())]
        );
        assert_eq!(merged(&[]).unwrap(), Lookaside::default());
    }

    #[test]
    fn contradictions_and_unknown_words_are_errors() {
        let scope = "docker:\n  r.example:\n    lookaside: file:///x\n";
        refuses(&[scope, scope], "r.example is in two files");
        refuses(&["podman:\n  x: y\n"], "unknown key \"podman\"");
        refuses(&["docker:\n  r.example:\n    lookasid: file:///x\n"], "unknown key \"lookasid\"");
    }
}
