//! registries.conf version 2: which endpoints stand behind a name.
//!
//! Spec: containers-registries.conf(5). Law: pure; text in, values out.

use serde::Deserialize;

/// A parsed registries.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Registries {
    /// Registries a name without one is looked for at; empty means Docker Hub alone.
    pub unqualified_search_registries: Vec<String>,
}
