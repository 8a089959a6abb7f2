//! What a request needs: from its method and endpoint to actions on repositories.
//!
//! Spec: the scopes of distribution's token.md. Law: pure, and total: an endpoint that is not here cannot be added without
//! saying what it needs.

use axum::http::Method;

use super::policy::Action;
use crate::route::Endpoint;

/// What must be allowed before a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Required {
    /// Nothing but being let in at all.
    Entry,
    /// To see which repositories there are; what is shown is what may be pulled.
    Catalog,
    /// An action on a repository.
    On {
        /// Which.
        repository: String,
        /// What.
        action: Action,
    },
}

/// What `method` on `endpoint` needs.
pub fn required(method: &Method, endpoint: &Endpoint) -> Required {
    let on = |repository: &str, action| Required::On { repository: repository.to_owned(), action };
    let by_method = |repository: &str| match method.as_str() {
        "GET" | "HEAD" => on(repository, Action::Pull),
        "DELETE" => on(repository, Action::Delete),
        _ => on(repository, Action::Push),
    };
    match endpoint {
        Endpoint::Catalog => Required::Catalog,
        Endpoint::Extensions { name: Some(name) } => on(name, Action::Pull),
        Endpoint::Blob { name, .. } | Endpoint::Manifest { name, .. } => by_method(name),
        // Cancelling one's own upload is part of pushing.
        Endpoint::Uploads { name } | Endpoint::Upload { name, .. } => on(name, Action::Push),
        Endpoint::Tags { name } | Endpoint::Referrers { name, .. } => on(name, Action::Pull),
        Endpoint::Base | Endpoint::Extensions { name: None } | Endpoint::Nowhere => Required::Entry,
    }
}

impl Required {
    /// As a token server is asked for it. Who pushes also asks what is there already, so both are asked for at once.
    pub fn scope(&self, mount_from: Option<&str>) -> Option<String> {
        let scope = match self {
            Required::Entry => return None,
            Required::Catalog => return Some("registry:catalog:*".to_owned()),
            Required::On { repository, action: Action::Push } => format!("repository:{repository}:pull,push"),
            Required::On { repository, action } => format!("repository:{repository}:{}", action.as_str()),
        };
        Some(match mount_from {
            Some(from) => format!("{scope} repository:{from}:pull"),
            None => scope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route;

    fn check(method: &str, path: &str, expect: Option<&str>) {
        let required = required(&method.parse().unwrap(), &route::parse(path).unwrap());
        assert_eq!(required.scope(None).as_deref(), expect, "{method} {path}");
    }

    #[test]
    fn each_endpoint_needs_what_token_md_says() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        check("GET", "/v2/", None);
        check("GET", "/v2/_catalog", Some("registry:catalog:*"));
        check("HEAD", &format!("/v2/a/b/blobs/{digest}"), Some("repository:a/b:pull"));
        check("DELETE", &format!("/v2/a/blobs/{digest}"), Some("repository:a:delete"));
        check("POST", "/v2/a/blobs/uploads/", Some("repository:a:pull,push"));
        check("DELETE", &format!("/v2/a/blobs/uploads/{}", "0".repeat(32)), Some("repository:a:pull,push"));
        check("PUT", "/v2/a/manifests/t", Some("repository:a:pull,push"));
        check("DELETE", "/v2/a/manifests/t", Some("repository:a:delete"));
        check("GET", "/v2/a/tags/list", Some("repository:a:pull"));
        check("GET", &format!("/v2/a/referrers/{digest}"), Some("repository:a:pull"));
    }

    #[test]
    fn a_mount_asks_for_its_source_too() {
        let push = Required::On { repository: "a".into(), action: Action::Push };
        assert_eq!(push.scope(Some("b")).unwrap(), "repository:a:pull,push repository:b:pull");
    }
}
