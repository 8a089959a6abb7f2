//! The state of a container as hooks and agents are told it.
//!
//! Spec: runtime.md "State"; config-linux.md "The Container Process State".

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Plan;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made; the program does not run yet.
    Created,
    /// The program runs.
    Running,
    /// The program has ended.
    Stopped,
}

/// `state`, as runtime.md has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the document.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// The init's process id; missing when it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The bundle.
    pub bundle: PathBuf,
    /// Annotations.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SeccompMessage<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a State,
}

impl State {
    /// The state of a plan's container.
    pub fn of(plan: &Plan, pid: u32, status: Status) -> State {
        State {
            oci_version: plan.identity.version.clone(),
            id: plan.id.clone(),
            status,
            pid: Some(pid),
            bundle: plan.identity.bundle.clone(),
            annotations: plan.identity.annotations.clone(),
        }
    }

    /// As hooks read it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a state has string keys only")
    }

    pub(crate) fn seccomp_message(&self, plan: &Plan) -> String {
        // A process that joins is not the container's own: beside it stands the container's state.
        let state = plan.container.as_ref().unwrap_or(self);
        let message = SeccompMessage {
            oci_version: &state.oci_version,
            fds: ["seccompFd"],
            pid: self.pid.unwrap_or(0),
            metadata: &plan.identity.seccomp_metadata,
            state,
        };
        serde_json::to_string(&message).expect("a state has string keys only")
    }
}
