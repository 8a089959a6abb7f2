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
                if let Some(url) = url(value)? {
                    let twice = all.default.replace(url).is_some();
                    if twice {
                        return Err("default-docker is in two files".to_owned());
                    }
                }
            }
            "docker" => {
                for (scope, value) in entries(value, "docker")? {
                    let Some(url) = url(value)? else { continue };
                    if all.scopes.insert(scope.clone(), url).is_some() {
                        return Err(format!("{scope} is in two files"));
                    }
                }
            }
            other => return Err(format!("unknown key {other:?}")),
        }
    }
    Ok(())
}

/// Where signatures are read; where they are written is nothing to us.
fn url(value: &crate::yaml::Node) -> Result<Option<String>, String> {
    let mut found = None;
    for (key, value) in entries(value, "a scope")? {
        match key.as_str() {
            "lookaside" => found = Some(scalar(value, key)?),
            "sigstore" => found = found.or(Some(scalar(value, key)?)),
            "lookaside-staging" | "sigstore-staging" | "use-sigstore-attachments" => {}
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
