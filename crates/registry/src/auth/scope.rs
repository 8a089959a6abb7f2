//! Scopes: what a token is asked for and what it grants.
//!
//! Spec: distribution's token.md, scope.md and jwt.md (`access`). Law: pure; what is malformed or unknown grants nothing.

use serde::{Deserialize, Serialize};

use super::policy::{Action, Policies, Subject};

/// Entries looked at in one request for a token. A build that mounts from many repositories asks for a dozen.
const SCOPES_MAX: usize = 64;

/// An entry of a token's `access`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which one.
    pub name: String,
    /// `pull`, `push`, `delete`, `*`.
    pub actions: Vec<String>,
}

impl Access {
    /// Whether this entry says that `action` is allowed on `repository`.
    pub fn grants(&self, action: Action, repository: &str) -> bool {
        self.kind == "repository" && self.name == repository && self.has(action.as_str())
    }

    /// Whether this entry says that the catalog may be seen.
    pub fn grants_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog" && self.has("*")
    }

    fn has(&self, word: &str) -> bool {
        self.actions.iter().any(|action| action == word || action == "*")
    }

    fn parse(text: &str) -> Option<Access> {
        // The name may hold colons (a host and a port), kind and actions cannot.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let kind = kind.split_once('(').map_or(kind, |(kind, _class)| kind);
        let actions = actions.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Some(Access { kind: kind.to_owned(), name: name.to_owned(), actions })
    }
}

/// Reads the scopes of a request: each value may hold several, divided by spaces.
pub fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Access> {
    values.flat_map(str::split_whitespace).filter_map(Access::parse).take(SCOPES_MAX).collect()
}

/// What of `asked` the policies grant `subject`. Entries of which nothing is left are left out.
pub fn granted(asked: &[Access], subject: &Subject, policies: &Policies) -> Vec<Access> {
    let entries = asked.iter().map(|access| {
        let actions = match (access.kind.as_str(), access.name.as_str()) {
            ("repository", name) => {
                let allowed = |action: &Action| access.has(action.as_str()) && policies.allow(subject, *action, name);
                Action::ALL.iter().filter(|action| allowed(action)).map(|action| action.as_str().to_owned()).collect()
            }
            ("registry", "catalog") if access.has("*") && policies.allow_somewhere(subject, Action::Pull) => {
                vec!["*".to_owned()]
            }
            _ => Vec::new(),
        };
        Access { actions, ..access.clone() }
    });
    entries.filter(|access| !access.actions.is_empty()).collect()
}

/// Written as they are asked for.
pub fn render(access: &[Access]) -> String {
    let entries = access.iter().map(|entry| format!("{}:{}:{}", entry.kind, entry.name, entry.actions.join(",")));
    entries.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_asked_for_is_cut_to_what_is_allowed() {
        let asked = parse(
            ["repository:a/b:pull,push,fly repository(plugin):c:*", "registry:catalog:* nonsense x:y"].into_iter(),
        );
        let named = Subject { name: Some("ship".into()), groups: Vec::new() };
        let text = |subject, policies: &Policies| render(&granted(&asked, subject, policies));
        assert_eq!(
            text(&named, &Policies::Named),
            "repository:a/b:pull,push repository:c:pull,push,delete registry:catalog:*"
        );
        assert_eq!(text(&Subject::default(), &Policies::Named), "");
    }

    #[test]
    fn a_name_may_hold_a_port() {
        let access = parse(["repository:host:5000/a:pull"].into_iter());
        assert_eq!((access[0].name.as_str(), access[0].grants(Action::Pull, "host:5000/a")), ("host:5000/a", true));
    }

    proptest! {
        #[test]
        fn nothing_that_is_asked_for_is_granted_to_who_may_nothing(text in "\\PC{0,300}") {
            let asked = parse([text.as_str()].into_iter());
            prop_assert!(asked.len() <= SCOPES_MAX);
            prop_assert_eq!(granted(&asked, &Subject::default(), &Policies::Named), vec![]);
        }

        #[test]
        fn what_is_granted_was_asked_for(actions in "[a-z,*]{0,30}", name in "[a-z/:]{1,20}") {
            let asked = parse([format!("repository:{name}:{actions}").as_str()].into_iter());
            for entry in granted(&asked, &Subject::default(), &Policies::Open) {
                for action in &entry.actions {
                    prop_assert!(actions.split(',').any(|word| word == action || word == "*"));
                }
            }
        }
    }
}
