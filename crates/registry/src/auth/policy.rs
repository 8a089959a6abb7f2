//! Who may do what: rules over subjects and repositories, all of them grants.
//!
//! Law: pure. What no rule grants is not allowed. What everybody may do, those who gave a name may do as well.
//! Not here: who somebody is (`authenticate`), what a request needs (`required`).

use serde::{Deserialize, Serialize};

use super::htpasswd::ANONYMOUS;
use crate::config::values::Glob;

/// Marks a subject pattern that is about groups.
const GROUP: &str = "group:";

/// What can be done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read manifests, blobs, tags and referrers.
    Pull,
    /// Write manifests, blobs and tags.
    Push,
    /// Remove manifests, blobs and tags.
    Delete,
}

impl Action {
    /// All there are.
    pub const ALL: [Action; 3] = [Action::Pull, Action::Push, Action::Delete];

    /// The word of scopes and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Delete => "delete",
        }
    }
}

/// `[[policy]]`: a grant.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Patterns of the repositories it is about.
    pub repositories: Vec<Glob>,
    /// Whom it is for: `anonymous` is everybody, a pattern means names, `group:` and a pattern means groups.
    pub subjects: Vec<Glob>,
    /// What they may do.
    pub allow: Vec<Action>,
}

impl Default for Policy {
    fn default() -> Policy {
        let all = vec![Glob::new("**").expect("a pattern")];
        Policy { repositories: all.clone(), subjects: all, allow: vec![Action::Pull] }
    }
}

impl Policy {
    fn is_for(&self, subject: &Subject) -> bool {
        self.subjects.iter().any(|pattern| match pattern.as_str().strip_prefix(GROUP) {
            _ if pattern.as_str() == ANONYMOUS => true,
            Some(_) => subject.groups.iter().any(|group| pattern.matches(&format!("{GROUP}{group}"))),
            None => subject.name.as_ref().is_some_and(|name| pattern.matches(name)),
        })
    }
}

/// Somebody who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// `None` for who gave no name.
    pub name: Option<String>,
    /// What an issuer says they belong to.
    pub groups: Vec<String>,
}

impl Subject {
    /// For logs and records.
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(ANONYMOUS)
    }
}

/// The rules that hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Policies {
    /// Nobody is asked for a name: everybody may do everything.
    Open,
    /// Names are asked for, and whoever has one may do everything.
    Named,
    /// What the rules grant.
    Rules(Vec<Policy>),
}

impl Policies {
    /// Whether `subject` may do that.
    pub fn allow(&self, subject: &Subject, action: Action, repository: &str) -> bool {
        match self {
            Policies::Open => true,
            Policies::Named => subject.name.is_some(),
            Policies::Rules(rules) => rules.iter().any(|rule| {
                rule.allow.contains(&action)
                    && rule.is_for(subject)
                    && rule.repositories.iter().any(|pattern| pattern.matches(repository))
            }),
        }
    }

    /// Whether there is any repository to which `subject` may do that.
    pub fn allow_somewhere(&self, subject: &Subject, action: Action) -> bool {
        match self {
            Policies::Rules(rules) => rules.iter().any(|rule| rule.allow.contains(&action) && rule.is_for(subject)),
            _ => self.allow(subject, action, ""),
        }
    }

    /// Whether `subject` may do that to every repository there can be.
    pub fn allow_everywhere(&self, subject: &Subject, action: Action) -> bool {
        match self {
            Policies::Rules(rules) => rules.iter().any(|rule| {
                rule.allow.contains(&action)
                    && rule.is_for(subject)
                    && rule.repositories.iter().any(|pattern| pattern.as_str() == "**")
            }),
            _ => self.allow(subject, action, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Policies {
        #[derive(Deserialize)]
        struct File {
            policy: Vec<Policy>,
        }
        Policies::Rules(toml::from_str::<File>(text).unwrap().policy)
    }

    fn who(name: &str, groups: &[&str]) -> Subject {
        let name = (!name.is_empty()).then(|| name.to_owned());
        Subject { name, groups: groups.iter().map(|group| (*group).to_owned()).collect() }
    }

    const RULES: &str = r#"
        [[policy]]
        repositories = ["public/**"]
        subjects = ["anonymous"]
        allow = ["pull"]
        [[policy]]
        repositories = ["team/*"]
        subjects = ["ship*", "group:crew"]
        allow = ["pull", "push"]
        [[policy]]
        subjects = ["admin"]
        allow = ["pull", "push", "delete"]
    "#;

    #[test]
    fn only_what_a_rule_grants_is_allowed() {
        let rules = rules(RULES);
        let check = |subject: &Subject, action, repository, expect| {
            assert_eq!(rules.allow(subject, action, repository), expect, "{subject:?} {action:?} {repository}");
        };
        check(&who("", &[]), Action::Pull, "public/a/b", true);
        check(&who("", &[]), Action::Push, "public/a/b", false);
        check(&who("", &[]), Action::Pull, "team/a", false);
        check(&who("ship1", &[]), Action::Push, "team/a", true);
        check(&who("ship1", &[]), Action::Push, "team/a/b", false);
        check(&who("ship1", &[]), Action::Delete, "team/a", false);
        check(&who("boat", &["crew"]), Action::Push, "team/a", true);
        check(&who("boat", &["admin"]), Action::Delete, "team/a", false);
        check(&who("admin", &[]), Action::Delete, "any/thing", true);
        assert!(rules.allow_everywhere(&who("admin", &[]), Action::Pull));
        assert!(!rules.allow_everywhere(&who("ship1", &[]), Action::Pull));
        assert!(
            rules.allow_somewhere(&who("", &[]), Action::Pull) && !rules.allow_somewhere(&who("", &[]), Action::Push)
        );
    }

    #[test]
    fn what_everybody_may_do_the_named_may_do_too() {
        assert!(rules(RULES).allow(&who("stranger", &[]), Action::Pull, "public/x"));
    }

    #[test]
    fn a_name_that_looks_like_a_group_or_like_nobody_gains_nothing() {
        let rules = rules(RULES);
        assert!(!rules.allow(&who("crew", &[]), Action::Push, "team/a"));
        assert!(!rules.allow(&who("x", &["ship1"]), Action::Push, "team/a"));
    }
}
