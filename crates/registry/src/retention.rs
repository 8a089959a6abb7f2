//! Retention: which tags and manifests go.
//!
//! Law: pure. Rules and facts in, removals with their reasons out; what is removed is checked again, in one transaction, by
//! `metadata` (a tag that has moved meanwhile stays). An immutable tag stays whatever the rules say.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::clock::ago;
use crate::config::Settings;
use crate::config::content::Retention;
use crate::metadata::{ManifestFact, Removal, TagFact};

/// One thing that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub removal: Removal,
    pub why: &'static str,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.removal {
            Removal::Tag { name, .. } => write!(f, ":{name} ({})", self.why),
            Removal::Manifest { digest, .. } => write!(f, "@{digest} ({})", self.why),
        }
    }
}

/// Whether any rule speaks of the repository.
pub fn concerns(settings: &Settings, repository: &str) -> bool {
    settings.retention.iter().any(|rule| rule.repositories.matches(repository))
}

/// What goes from a repository now.
pub fn plan(settings: &Settings, repository: &str, tags: &[TagFact], manifests: &[ManifestFact]) -> Vec<Planned> {
    let rules: Vec<&Retention> =
        settings.retention.iter().filter(|rule| rule.repositories.matches(repository)).collect();
    let going = tags_to_go(&rules, tags, |tag| settings.is_immutable(repository, tag));
    let mut planned: Vec<Planned> = tags
        .iter()
        .filter(|tag| going.contains(tag.name.as_str()))
        .map(|tag| Planned {
            removal: Removal::Tag { name: tag.name.clone(), moved: tag.moved },
            why: "kept by no rule that names it",
        })
        .collect();
    planned.extend(untagged_to_go(&rules, tags, manifests));
    planned
}

fn tags_to_go<'a>(rules: &[&Retention], tags: &'a [TagFact], immutable: impl Fn(&str) -> bool) -> HashSet<&'a str> {
    let (mut named, mut kept) = (HashSet::new(), HashSet::new());
    for rule in rules {
        if rule.keep_last.is_none() && rule.keep_pushed_within.is_none() && rule.keep_pulled_within.is_none() {
            continue;
        }
        let mut matching: Vec<&TagFact> = tags.iter().filter(|tag| rule.tags.matches(&tag.name)).collect();
        matching.sort_by(|a, b| b.moved.cmp(&a.moved).then_with(|| b.name.cmp(&a.name)));
        for (rank, tag) in matching.into_iter().enumerate() {
            let recent = rule.keep_last.is_some_and(|count| rank < count);
            let pushed = rule.keep_pushed_within.is_some_and(|span| tag.moved >= ago(span.0));
            let pulled = rule.keep_pulled_within.is_some_and(|span| tag.pulled.unwrap_or(tag.moved) >= ago(span.0));
            named.insert(tag.name.as_str());
            if recent || pushed || pulled {
                kept.insert(tag.name.as_str());
            }
        }
    }
    named.into_iter().filter(|tag| !kept.contains(tag) && !immutable(tag)).collect()
}

/// Manifests nothing leads to: no tag (whatever becomes of the tags now; what they leave goes in a later round), no index,
/// and no subject that is still there.
fn untagged_to_go(rules: &[&Retention], tags: &[TagFact], manifests: &[ManifestFact]) -> Vec<Planned> {
    let Some(span) = rules.iter().filter_map(|rule| rule.untagged_after).min() else { return Vec::new() };
    let here: HashMap<&str, &ManifestFact> = manifests.iter().map(|fact| (fact.digest.as_str(), fact)).collect();
    let tagged: HashSet<&str> = tags.iter().map(|tag| tag.digest.as_str()).collect();
    let used: HashSet<&str> = manifests.iter().flat_map(|fact| fact.uses.iter().map(String::as_str)).collect();
    let stays = |fact: &ManifestFact| {
        let digest = fact.digest.as_str();
        tagged.contains(digest)
            || used.contains(digest)
            || fact.subject.as_deref().is_some_and(|subject| here.contains_key(subject))
            || fact.pulled.unwrap_or(0).max(fact.pushed) >= ago(span.0)
    };
    let gone = manifests.iter().filter(|fact| !stays(fact));
    gone.map(|fact| Planned {
        removal: Removal::Manifest { digest: fact.digest.clone(), pushed: fact.pushed },
        why: "no tag, index or subject leads to it",
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::now;

    const DAY: i64 = 86_400;

    fn tag(name: &str, pushed_days: i64, pulled_days: Option<i64>) -> TagFact {
        let at = |days: i64| now() - days * DAY;
        TagFact { name: name.into(), digest: format!("m-{name}"), moved: at(pushed_days), pulled: pulled_days.map(at) }
    }

    fn manifest(digest: &str, days: i64, subject: Option<&str>, uses: &[&str]) -> ManifestFact {
        ManifestFact {
            digest: digest.into(),
            pushed: now() - days * DAY,
            pulled: None,
            subject: subject.map(str::to_owned),
            uses: uses.iter().map(|digest| (*digest).to_owned()).collect(),
        }
    }

    #[track_caller]
    fn check(rules: &str, tags: &[TagFact], manifests: &[ManifestFact], expect: &[&str]) {
        let settings = Settings::parse(rules, Path::new("r.toml")).unwrap();
        let planned = plan(&settings, "team/app", tags, manifests);
        let names: Vec<&str> = planned
            .iter()
            .map(|planned| match &planned.removal {
                Removal::Tag { name, .. } => name.as_str(),
                Removal::Manifest { digest, .. } => digest.as_str(),
            })
            .collect();
        assert_eq!(names, expect, "{rules}");
    }

    #[test]
    fn the_last_pushed_are_kept_of_those_the_pattern_names() {
        let tags = [tag("pr-1", 9, None), tag("pr-2", 8, None), tag("pr-3", 7, None), tag("v1", 99, None)];
        check("[[retention]]\ntags = \"pr-*\"\nkeep_last = 2", &tags, &[], &["pr-1"]);
        check("[[retention]]\nrepositories = \"other/*\"\nkeep_last = 1", &tags, &[], &[]);
    }

    #[test]
    fn what_was_pushed_or_pulled_lately_is_kept() {
        let tags = [tag("a", 50, Some(1)), tag("b", 50, Some(40)), tag("c", 2, None), tag("d", 50, None)];
        check("[[retention]]\nkeep_pushed_within = \"7d\"\nkeep_pulled_within = \"30d\"", &tags, &[], &["b", "d"]);
    }

    #[test]
    fn one_rule_that_keeps_is_enough() {
        let tags = [tag("v1", 50, None), tag("pr-1", 50, None)];
        let rules = "[[retention]]\nkeep_last = 0\n[[retention]]\ntags = \"v*\"\nkeep_last = 5";
        check(rules, &tags, &[], &["pr-1"]);
    }

    #[test]
    fn an_immutable_tag_stays() {
        let rules = "[[retention]]\nkeep_last = 0\n[[immutable]]\ntags = \"v*\"";
        check(rules, &[tag("v1", 50, None), tag("w1", 50, None)], &[], &["w1"]);
    }

    #[test]
    fn a_manifest_goes_when_nothing_leads_to_it() {
        let manifests = [
            manifest("m-v1", 50, None, &["blob"]),
            manifest("child", 50, None, &[]),
            manifest("index", 50, None, &["child"]),
            manifest("signature", 50, Some("m-v1"), &[]),
            manifest("orphan", 50, Some("gone"), &[]),
            manifest("fresh", 1, None, &[]),
        ];
        check("[[retention]]\nuntagged_after = \"7d\"", &[tag("v1", 50, None)], &manifests, &["index", "orphan"]);
        check("[[retention]]\nkeep_last = 1", &[tag("v1", 50, None)], &manifests, &[]);
    }
}
