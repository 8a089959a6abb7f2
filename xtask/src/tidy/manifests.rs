//! Every version of a dependency is chosen once, in the root manifest, so that there is never a second one beside it.

use std::fs;

use super::{Complaint, relative};
use crate::Outcome;
use crate::workspace::Workspace;

/// Complaints about every member's manifest.
pub fn check(workspace: &Workspace) -> Outcome<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        let text = fs::read_to_string(&package.manifest_path)?;
        let place = relative(&package.manifest_path);
        complaints.extend(
            own_versions(&text).map(|line| Complaint::new(&place, format!("`{line}`: say `workspace = true`"))),
        );
        if !text.contains("[lints]\nworkspace = true") {
            complaints.push(Complaint::new(&place, "the lints of the workspace are not taken over"));
        }
    }
    Ok(complaints)
}

/// Lines of dependency tables that do not refer to the workspace.
fn own_versions(manifest: &str) -> impl Iterator<Item = &str> {
    let mut in_dependencies = false;
    manifest.lines().filter(move |line| {
        if let Some(table) = line.trim().strip_prefix('[') {
            in_dependencies = table.trim_end_matches(']').ends_with("dependencies");
            return false;
        }
        in_dependencies
            && line.contains('=')
            && !line.starts_with('#')
            && !line.replace(' ', "").contains("workspace=true")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str) -> Vec<&str> {
        own_versions(manifest).collect()
    }

    #[test]
    fn a_version_of_its_own_is_found() {
        assert_eq!(check("[dependencies]\nserde.workspace = true\ntar = \"0.4\"\n"), ["tar = \"0.4\""]);
        assert_eq!(check("[target.x.dev-dependencies]\ntar = { version = \"1\" }\n").len(), 1);
    }

    #[test]
    fn features_may_be_added_to_the_workspaces_choice() {
        assert_eq!(check("[dependencies]\ntar = { workspace = true, features = [\"xattr\"] }\n").len(), 0);
    }

    #[test]
    fn other_tables_are_not_looked_at() {
        assert_eq!(check("[package]\nversion = \"1\"\n").len(), 0);
    }
}
