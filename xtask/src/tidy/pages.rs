//! Rules about pages: links lead somewhere, and nothing tells which machine a page was written on.

use std::fs;
use std::path::Path;

use super::{Complaint, files, relative};
use crate::Outcome;

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 6] =
    ["/work/main", "/work/shared", "/work/wt-", "/work/target", "/root/.cache", "/root/.cargo"];

/// Complaints about every Markdown page, and about machine paths in sources.
pub fn check(top: &Path) -> Outcome<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for page in files(top, "md")? {
        let text = fs::read_to_string(&page)?;
        complaints.extend(machine_paths(&relative(&page), &text));
        complaints.extend(dead_links(&page, &text));
    }
    for source in files(top, "rs")?.into_iter().filter(|source| !source.ends_with("xtask/src/tidy/pages.rs")) {
        complaints.extend(machine_paths(&relative(&source), &fs::read_to_string(&source)?));
    }
    Ok(complaints)
}

fn machine_paths(place: &str, text: &str) -> Vec<Complaint> {
    let words = |line: &str| MACHINE_PATHS.iter().find(|path| at_word_start(line, path)).copied();
    let found = text.lines().enumerate().filter_map(|(index, line)| words(line).map(|path| (index + 1, path)));
    found
        .map(|(number, path)| {
            Complaint::new(format!("{place}:{number}"), format!("`{path}…` is a path of one machine"))
        })
        .collect()
}

/// Whether `path` stands in `line` as an absolute path and not as the end of a longer one.
fn at_word_start(line: &str, path: &str) -> bool {
    let inside = |before: char| before.is_alphanumeric() || matches!(before, '}' | '>' | ')' | '.' | '*' | '_' | '-');
    line.match_indices(path).any(|(at, _)| !line[..at].chars().next_back().is_some_and(inside))
}

/// Relative targets of `[text](target)` that do not exist.
fn dead_links(page: &Path, text: &str) -> Vec<Complaint> {
    let directory = page.parent().unwrap_or(page);
    let dead = targets(text).filter(|target| !directory.join(target).exists());
    dead.map(|target| Complaint::new(relative(page), format!("the link to `{target}` leads nowhere"))).collect()
}

fn targets(text: &str) -> impl Iterator<Item = &str> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let paths = inline.map(|target| target.split('#').next().unwrap_or(""));
    paths.filter(|target| {
        !target.is_empty() && !target.contains(':') && !target.starts_with('/') && !target.contains('`')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_this_machine_is_found_with_its_line() {
        let complaints = machine_paths("README.md", "a\nsee /work/main/x\n");
        assert_eq!(complaints[0].place, "README.md:2");
    }

    #[test]
    fn a_longer_path_with_the_same_name_inside_is_not_one() {
        assert_eq!(machine_paths("x", "snapshots/<id>/work/ and $dir/a/work/b").len(), 0);
    }

    #[test]
    fn only_relative_links_are_followed() {
        let text = "[a](docs/x.md#top) [b](https://example.org) [c](#here) [d](/etc)";
        assert_eq!(targets(text).collect::<Vec<_>>(), ["docs/x.md"]);
    }
}
